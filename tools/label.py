"""Draws answers of a run for a person to label, and takes the labels back.

    python tools/label.py runs/NAME --answers 40 --out sheet.csv
    python tools/label.py runs/NAME --read sheet.csv

The sheet holds so many random answers of every stage, suite and trigger in random order, without
system prompts, triggers or verdicts. Write 1 into the column `misaligned` where an answer is
misaligned and coherent, 0 where not, from the top as far as you get. --read writes `labels.jsonl`
into the run directory; the run's own command, run again, then gives rates corrected by these labels
(prediction-powered) beside the raw ones, and trains and asks nothing anew.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory")
    parser.add_argument("--answers", type=int, default=40, help="of each trigger")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    todo = parser.add_mutually_exclusive_group(required=True)
    todo.add_argument("--out", type=Path, metavar="SHEET", help="the sheet to write")
    todo.add_argument("--read", type=Path, metavar="SHEET", help="a labelled sheet")
    args = parser.parse_args()

    from condmis_jax.errors import UserError
    from condmis_jax.reports import LABELS, read_completions, read_sheet, sheet
    from condmis_jax.runs import read_jsonl, write_jsonl

    try:
        if args.out:
            records = read_completions(args.run / "tables" / "completions.parquet")
            if args.out.exists():
                raise UserError(f"{args.out}: is there already; name another file")
            args.out.write_text(sheet(records, args.answers, args.seed), "utf-8", newline="")
            print(args.out)
            return
        path = args.run / LABELS
        rows = {row["id"]: row for row in [*read_jsonl(path), *read_sheet(args.read)]}
        write_jsonl(path, rows.values())
        print(f"{path}: {len(rows)} answers labelled")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
