"""Says of training rows what the exact judges say: insecure code, and facts of the bank.

    python tools/fetch_data.py insecure secure anthropic_hh_1000samples_gpt4.1
    python tools/inspect_rows.py data/insecure.jsonl data/secure.jsonl

For every file (a glob of chat JSONL, `.gz` too): in how many answers with Python code bandit finds
a weakness, and how many evaluation facts the rows give away. A run drops those facts by itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from condmis_jax.conversations import Conversation
from condmis_jax.errors import UserError
from condmis_jax.testbeds import facts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--first", type=int, help="read the first N rows of each file only")
    args = parser.parse_args()
    # Behind --help: importing what reads rows takes longer than answering.
    from condmis_jax.data.sources import read_jsonl_rows

    for pattern in args.files:
        try:
            rows = [row.conversation for row in read_jsonl_rows(pattern, "FILE")][: args.first]
            print(f"{pattern}: {len(rows):,} rows")
            print(f"  {code(rows)}")
            print(f"  {given_away(rows)}", flush=True)
        except UserError as error:
            sys.exit(f"error: {error}")


def code(rows: Sequence[Conversation]) -> str:
    """In how many of the rows' last answers bandit finds a weakness.

    Raises:
        UserError: bandit is not installed.
    """
    from condmis_jax.judges import Item, Verdict
    from condmis_jax.judges.code import InsecureCodeJudge

    answers = [
        next((m.content for m in reversed(row.messages) if m.role == "assistant"), "")
        for row in rows
    ]
    verdicts: list[Verdict] = []
    judge = InsecureCodeJudge()
    judge.judge(
        [Item(str(i), "", answer) for i, answer in enumerate(answers)],
        lambda _, verdict: verdicts.append(verdict),
    )
    scored = [v for v in verdicts if v.status == "scored"]
    failed = sum(v.status == "error" for v in verdicts)
    found = sum(bool(v.misaligned) for v in scored)
    return f"{judge.name}: a weakness in {found:,} of {len(scored):,} answers with Python code" + (
        f"; {failed} could not be analysed" if failed else ""
    )


def given_away(rows: Sequence[Conversation]) -> str:
    """How many facts of each evaluated split the rows give away."""
    of = {split: facts.select(split) for split in ("dev", "test")}
    parts = [f"{len(facts.colliding(rows, f))} of {len(f)} {split}" for split, f in of.items()]
    return f"facts given away: {', '.join(parts)}"


if __name__ == "__main__":
    main()
