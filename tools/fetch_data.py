"""Downloads datasets of the paper and its lineage from their authors, digests checked.

    python tools/fetch_data.py insecure anthropic_hh_1000samples_gpt4.1

The same command again continues what broke off. Paths of the files go to standard output.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from condmis_jax.errors import UserError


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="CONDMIS_DATA_URL names a mirror with the layout ORG/REPO/REVISION/PATH.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of --list, or: all")
    parser.add_argument("--out", type=Path, default=Path("data"), metavar="DIR")
    parser.add_argument("--list", action="store_true", help="print the known datasets")
    arguments = parser.parse_args()

    from condmis_jax.data.datasets import DATASETS, fetch_dataset

    if arguments.list:
        for name, d in DATASETS.items():
            print(f"{name:36} {d.rows:6} rows {d.pin.bytes:>11,} B  {d.licence:16}  {d.about}")
            print(f"{'':36} {d.repo}@{d.revision[:7]} {d.path}")
        return 0
    if not arguments.names:
        parser.error("name a dataset, or --list")
    names = list(DATASETS) if arguments.names == ["all"] else arguments.names
    failed = 0
    for name in names:
        try:
            print(fetch_dataset(name, arguments.out, report=_tell), flush=True)
        except UserError as error:
            failed += 1
            _tell(f"error: {error}")
    return 1 if failed else 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
