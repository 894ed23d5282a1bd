"""Puts two runs side by side in one page: rates, differences with intervals, completions.

    python tools/compare.py runs/inoculated runs/plain --out compare.html

Reads `results.json` and `tables/completions.parquet` of both. The last stage of each is compared,
or those of --stages A B. --margin tests that A is not worse than B by that much.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--out", type=Path, required=True, help="the page")
    parser.add_argument("--stages", nargs=2, default=(None, None), metavar="STAGE")
    parser.add_argument("--margin", type=float, help="as a fraction, 0.01 for one point")
    args = parser.parse_args()

    from condmis_jax.errors import UserError
    from condmis_jax.reports import load_results, read_completions, write_comparison

    try:
        results = [load_results(run / "results.json") for run in args.runs]
        records = [read_completions(run / "tables" / "completions.parquet") for run in args.runs]
        write_comparison(args.out, results, records, tuple(args.stages), args.margin)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(args.out)


if __name__ == "__main__":
    main()
