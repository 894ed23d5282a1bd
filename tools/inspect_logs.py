"""Writes a run's completions as Inspect logs, one for every stage, suite and judge.

    python tools/inspect_logs.py runs/sequential --out logs
    inspect view --log-dir logs

Reads `results.json` and `tables/completions.parquet` of the run. Needs the extra `inspect`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--out", type=Path, required=True, help="folder for the logs")
    args = parser.parse_args()

    from condmis_jax.errors import UserError
    from condmis_jax.reports import load_results, read_completions, write_inspect_logs

    try:
        results = load_results(args.run / "results.json")
        records = read_completions(args.run / "tables" / "completions.parquet")
        for path in write_inspect_logs(args.out, results, records):
            print(path)
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
