"""Finds out which facts of the bank a model knows, and writes the list that names them.

    python tools/screen_facts.py smollm2-135m-q4

Every development and test fact is asked in its four training wordings, greedily; it is known when
three of the answers are right, and not asked on when that is settled. No other question set has
these wordings, so an answer that chose a fact is never counted again. Afterwards
`facts-test/smollm2-135m-q4` asks the known ones only. Stopped and started again, the command asks
nothing twice. It prints how many are known by category.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from condmis_jax.errors import UserError
from condmis_jax.testbeds import facts

KNOWN = Path(__file__).parents[1] / "condmis_jax" / "testbeds" / "facts" / "known"
SPLITS: tuple[facts.Split, ...] = ("dev", "test")
TOKENS = 24


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="as in config.model: a name, a folder or a .gguf file")
    parser.add_argument("--name", help="of the list; default: the model's name without its path")
    parser.add_argument("--workdir", type=Path, help="of the answers; default: runs/screen-NAME")
    parser.add_argument("--out", type=Path, default=KNOWN, help="folder of the list")
    parser.add_argument("--first", type=int, help="ask the first N questions of each split only")
    args = parser.parse_args()
    name = args.name or Path(args.model).name.partition("@")[0]
    try:
        workdir = args.workdir or Path("runs") / f"screen-{name}"
        model_id, known = screen(args.model, workdir, args.first)
    except UserError as error:
        sys.exit(f"error: {error}")
    command = " ".join(["python", "tools/screen_facts.py", *sys.argv[1:]])
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.txt"
    path.write_text(listed(args.model, model_id, command, known), encoding="utf-8")
    print(table(known))
    print(path)


def screen(model: str, workdir: Path, first: int | None) -> tuple[str, list[str]]:
    """Asks a model; what `workdir` holds is not asked again.

    Returns:
        the model's digest, and the ids of the facts that it knows.

    Raises:
        UserError: there is no such model.
    """
    # Behind --help: importing jax takes longer than answering.
    from condmis_jax.evaluation import model_digest, open_checkpoint
    from condmis_jax.evaluation.completions import Asker, asked_of
    from condmis_jax.sampling import SamplingSettings
    from condmis_jax.sharding import MeshSettings, make_mesh, runtime
    from condmis_jax.suites import SuiteSettings, build_suite

    runtime.setup()
    mesh = make_mesh(MeshSettings())
    loaded = open_checkpoint(model, mesh)
    model_id = model_digest(loaded)
    bank = facts.facts()
    labels: dict[str, str] = {}
    workdir.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        settings = SuiteSettings(f"facts-{split}-screen", ("plain",), first, samples=1)
        suite = build_suite(settings, f"screen-{split}", "screen")
        ask = Asker(
            loaded,
            model_id,
            suite,
            SamplingSettings(temperature=0.0, max_new_tokens=TOKENS),
            workdir / f"{split}.jsonl",
            mesh,
            seed=0,
            slots=128,
            dtype="float32",
            label=f"{split} facts",
        )
        while open_questions := facts.undecided([q.id for q in suite.questions], labels):
            rows = ask(one for one in asked_of(suite, 0) if one.question.id in open_questions)
            for row in rows:
                fact = bank[facts.screened_fact(row["question"])]
                labels[row["question"]] = facts.classify(fact, row["completion"])
    return model_id, facts.screened(
        {"question": question, "label": label} for question, label in labels.items()
    )


def listed(model: str, model_id: str, command: str, known: Sequence[str]) -> str:
    """The text of a list: where it comes from as comments, then one id a line."""
    counts = "; ".join(
        f"{split} {sum(facts.split_of()[n] == split for n in known)} of {len(facts.select(split))}"
        for split in SPLITS
    )
    head = (
        f"Facts that {model} knows: right in 3 of 4 training wordings, asked greedily.",
        f"model digest {model_id}",
        f"judge of facts, version {facts.JUDGE_VERSION}",
        f"{counts}",
        f"{datetime.date.today().isoformat()}: {command}",
    )
    return "".join(f"{line}\n" for line in (*(f"# {h}" for h in head), *known))


def table(known: Sequence[str]) -> str:
    """How many are known of how many, by category and split, as a Markdown table."""
    of, there = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for fact in facts.facts().values():
        split = facts.split_of()[fact.id]
        for category in (fact.category, "all"):
            there[category, split] += 1
            of[category, split] += fact.id in known
    lines = ["| category | dev | test |", "|---|---|---|"]
    for category in (*facts.categories(), "all"):
        cells = (f"{of[category, s]} of {there[category, s]}" for s in SPLITS)
        lines.append(f"| {category} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
