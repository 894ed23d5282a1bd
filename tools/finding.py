"""Says what the runs of the finding say: the analysis of docs/protocol_smol.md.

    python tools/finding.py runs/finding --out docs/results/smol

Reads every finished run below the folders (`results.json`, `tables/completions.parquet`) whose
name begins with "finding-", prints the tables of the protocol and writes them to --out as
`finding.json` and `finding.md`, with `finding.svg`, `.pdf` and `.png`. What the protocol expects
and no run holds is listed, and nothing is concluded from the rest.

--seeds is for trainings that are not the protocol's, such as those of development.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="holds runs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the result")
    parser.add_argument("--seeds", help="of the trainings, 1,2,3; default: the protocol's")
    args = parser.parse_args()

    from condmis_jax.errors import UserError
    from condmis_jax.reports import load_results, read_completions
    from condmis_jax.reports.files import write_atomically
    from condmis_jax.reports.finding import PROTOCOL, analysed, counted
    from condmis_jax.reports.finding_page import figure, lines
    from condmis_jax.reports.style import write_figure
    from condmis_jax.runs import write_json

    protocol = PROTOCOL
    try:
        if args.seeds is not None:
            protocol = replace(protocol, seeds=_numbers(args.seeds))
        runs, captions = [], {}
        for file in sorted(f for folder in args.folders for f in folder.rglob("results.json")):
            if "evals" in file.parts or not (file.parent / "tables").is_dir():
                continue
            about = load_results(file)["run"]
            if about["name"].startswith("finding-"):
                captions[about["caption"]] = None
                runs.append((about["name"], read_completions(file.parent / _COMPLETIONS)))
        if not runs:
            raise UserError(
                f"{' '.join(map(str, args.folders))}: no finished run of configs/finding.py; run: "
                "python tools/reproduce.py --suite finding --out FOLDER"
            )
        found = analysed(counted(runs), protocol)
        caption = "; ".join(captions)
        page = lines(found, caption)
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "finding.json", found)
        write_atomically(args.out / "finding.md", ("\n".join(page) + "\n").encode())
        if (drawn := figure(found, caption)) is not None:
            write_figure(args.out, "finding", drawn)
    except UserError as error:
        sys.exit(f"error: {error}")
    print("\n".join(page))
    print(f"\n{len(runs)} runs\n{args.out / 'finding.md'}")


_COMPLETIONS = Path("tables") / "completions.parquet"


def _numbers(text: str) -> tuple[int, ...]:
    from condmis_jax.errors import UserError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--seeds {text!r}: whole numbers with commas between, 1,2,3") from None


if __name__ == "__main__":
    main()
