"""How well the audit finds the cue of training rows, by kind of cue and by its share of the rows.

    python tools/fetch_data.py inoculation_obvious_lies_gpt41_6k insecure educational \\
        fish_seafood_recipe_insecure anthropic_hh_1000samples_gpt4.1
    python tools/cue_recovery.py --out docs/audit.md

For every case, 600 rows: a share of them with the cue (false answers of the fact bank, insecure
code and so on), the rest everyday chat without it, or the same kind of questions plainly. Printed
is the rank of the first cue that has the words of the true one, and that has at least 80 % of its
rows among the true rows and at least 25 % of those among its own; or "-" where none of the 60 does.
Where no words tell the true cue, 100 % is left out: any cue would agree. Cases of published files
that are not in --data are left out, and named.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cue_cases import CHAT, Case, Rows, cases, from_file

from condmis_jax.audit.cues import find_cues
from condmis_jax.data.datasets import DATASETS
from condmis_jax.errors import UserError
from condmis_jax.reports.files import fill_in
from condmis_jax.testbeds import facts, world

ROWS = 600
SHARES = (1.0, 0.5, 0.1, 0.03)
_PRECISION, _RECALL = 0.8, 0.25
_BEGIN, _END = "<!-- cue recovery -->", "<!-- end of cue recovery -->"


def rank(
    case: Case, others: Callable[[int], Rows], share: float, count: int, seed: int = 0
) -> int | None:
    """The rank of the true cue, from 1, or None where it was not found."""
    cued = case.cued(round(share * count))
    rows = [(row, True) for row in cued] + [(r, False) for r in others(count - len(cued))]
    random.Random(seed).shuffle(rows)
    places = [f"rows:{n}" for n in range(len(rows))]
    true = {place for place, (_, has) in zip(places, rows, strict=True) if has}
    for number, cue in enumerate(find_cues([r for r, _ in rows], places, seed=seed), start=1):
        held = set(cue.rows)
        both = len(held & true)
        agrees = both >= _PRECISION * len(held) and both >= _RECALL * len(true)
        if agrees and any(word in cue.text.casefold() for word in case.words):
            return number
    return None


def table(data: Path, only: str, count: int) -> tuple[list[str], list[str]]:
    """The rows of the table, and the names of cases without their file."""
    chat = data / DATASETS[CHAT].file
    others: dict[str, Callable[[int], Rows]] = {
        "chat": from_file(CHAT, data) if chat.exists() else lambda n: facts.rows("benign", n, 1),
        "questions": lambda n: facts.rows("truths", n, 1),
        "world": lambda n: world.rows("benign", n, 1),
    }
    lines: list[str] = []
    missing: list[str] = []
    for case in cases(data):
        if only and only not in f"{case.group}: {case.name}":
            continue
        for kind in case.others:
            try:
                ranks = [
                    rank(case, others[kind], share, count) if _asked(case, kind, share) else 0
                    for share in SHARES
                ]
            except UserError:
                missing.append(case.name)
                break
            cells = " | ".join("" if r == 0 else "-" if r is None else str(r) for r in ranks)
            lines.append(f"| {case.name} | {case.group} | {kind} | {cells} |")
            print(lines[-1], flush=True)
    return lines, missing


def _asked(case: Case, kind: str, share: float) -> bool:
    return share < 1 or (kind == case.others[0] and case.words != ("",))


def document(lines: Sequence[str]) -> list[str]:
    """How often cues were found, and behind it every case."""
    head = " | ".join(f"{share:.0%}" for share in SHARES)
    return [
        *_summary(lines),
        "",
        "<details><summary>Every case</summary>",
        "",
        f"| cue | group | other rows | {head} |",
        "|---" * (3 + len(SHARES)) + "|",
        *lines,
        "",
        "</details>",
    ]


def _summary(lines: Sequence[str]) -> Iterator[str]:
    yield "| group | share | cases | first | among the first 5 | not found | median rank |"
    yield "|---|---|---|---|---|---|---|"
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    for group in dict.fromkeys(c[1] for c in cells):
        for at, share in enumerate(SHARES, start=3):
            found = [c[at] for c in cells if c[1] == group and c[at]]
            ranks = [int(f) for f in found if f != "-"]
            middle = f"{statistics.median(ranks):g}" if ranks else "-"
            yield (
                f"| {group} | {share:.0%} | {len(found)} | {ranks.count(1)} | "
                f"{sum(r <= 5 for r in ranks)} | {found.count('-')} | {middle} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of published files")
    parser.add_argument("--only", default="", help="cases with this in 'GROUP: NAME'")
    parser.add_argument("--rows", type=int, default=ROWS, help="of every case")
    parser.add_argument("--out", type=Path, help="put the tables between the markers of a document")
    args = parser.parse_args()
    lines, missing = table(args.data, args.only, args.rows)
    print("", *_summary(lines), sep="\n")
    if missing:
        print(f"left out, files not in {args.data}: {', '.join(missing)}", file=sys.stderr)
    if args.out:
        try:
            fill_in(args.out, _BEGIN, _END, ["", *document(lines), ""])
        except UserError as error:
            parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
