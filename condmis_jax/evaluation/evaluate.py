"""A suite asked and judged: the same function for every stage of a run and for run_eval."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jax.sharding import Mesh

from condmis_jax.evaluation.completions import ask
from condmis_jax.judges import (
    MISALIGNED,
    Item,
    Judge,
    JudgeSettings,
    Store,
    Verdict,
    digest_of,
    make_judge,
)
from condmis_jax.models import LoadedModel
from condmis_jax.sampling import SamplingSettings
from condmis_jax.sharding.hosts import on_first
from condmis_jax.suites import Suite, SuiteSettings


@dataclass(frozen=True)
class EvaluationSettings:
    """What is asked after every stage, and who judges.

    Attributes:
        suites: by name.
        sampling: how completions are drawn.
        judge: who scores them.
        slots: completions decoded at a time; more where the devices that split a batch would
            otherwise not hold equal parts of them.
        dtype: of the sampler's weights at use, activations and cache.
    """

    suites: dict[str, SuiteSettings]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    slots: int = 64
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError("slots must be at least 1")


def evaluate(
    model: LoadedModel,
    model_id: str,
    suite: Suite,
    settings: EvaluationSettings,
    folder: Path,
    mesh: Mesh,
    *,
    stage: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Asks `suite` and has it judged; what is already in `folder` is neither drawn nor paid again.

    Args:
        model_id: `model_digest` of the model.
        folder: gets completions.jsonl and judgements.sqlite.
        stage: name in the records.
        seed: of the samples' noise.

    Returns:
        one record for every completion, its verdict merged in (the form that `reports` counts).
            Of several hosts all sample, the first judges, and the others get none.

    Raises:
        UserError: see the judge; completions drawn and calls paid for by then are kept.
    """
    judging: list[tuple[Judge | None, Store]] = []
    records: list[dict[str, Any]] = []
    with ExitStack() as stack:

        def open_judge() -> None:
            store = stack.enter_context(Store(folder / "judgements.sqlite"))
            judging.append((make_judge(settings.judge, store), store))

        # The judge comes first: an endpoint that cannot judge should not cost the sampling.
        on_first(open_judge)
        rows = ask(
            model,
            model_id,
            suite,
            settings.sampling,
            folder / "completions.jsonl",
            mesh,
            seed=seed,
            slots=settings.slots,
            dtype=settings.dtype,
            label=f"{stage} {suite.name}",
        )
        on_first(lambda: records.extend(judged(rows, suite, *judging[0], stage=stage)))
    return records


def judged(
    rows: list[dict[str, Any]], suite: Suite, judge: Judge | None, store: Store, *, stage: str
) -> list[dict[str, Any]]:
    """The rows of `ask` as records, with their verdicts; see `judge_all`."""
    meta = {q.id: q.meta for q in suite.questions}
    items = [
        Item(
            id=row["id"],
            question=next(m["content"] for m in reversed(row["prompt"]) if m["role"] == "user"),
            completion=row["completion"],
            meta=meta[row["question"]],
        )
        for row in rows
    ]
    verdicts = judge_all(items, judge, store)
    about = {
        "stage": stage,
        "judge": judge.name if judge else None,
        "measure": judge.measure if judge else MISALIGNED,
    }
    return [{**row, **about, **verdicts[row["id"]].to_dict()} for row in rows]


def judge_all(items: list[Item], judge: Judge | None, store: Store) -> dict[str, Verdict]:
    """A verdict for each item, by its id; stored verdicts are used again.

    Raises:
        UserError: the judge cannot be reached; what it said before is kept.
    """
    if judge is None:
        return {item.id: Verdict("not_judged") for item in items}
    keys = {item.id: digest_of([judge.digest, item.id]) for item in items}
    verdicts: dict[str, Verdict] = {}
    missing = []
    for item in items:
        stored = store.get(keys[item.id])
        if stored is None:
            missing.append(item)
        else:
            verdicts[item.id] = Verdict(**stored)

    def keep(item: Item, verdict: Verdict) -> None:
        verdicts[item.id] = verdict
        if verdict.status != "error":
            store.put(keys[item.id], "verdict", verdict.to_dict())

    judge.judge(missing, keep)
    return verdicts
