"""A suite asked and judged: the same function for every stage of a run and for run_eval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from jax.sharding import Mesh

from condmis_jax.config import nearest
from condmis_jax.conversations import split_reasoning
from condmis_jax.errors import UserError
from condmis_jax.evaluation.choices import choose
from condmis_jax.evaluation.completions import Asked, Asker, asked_of
from condmis_jax.evaluation.remote import RemoteModel, ask_remote
from condmis_jax.judges import (
    MISALIGNED,
    Budgets,
    Item,
    Judge,
    JudgeSettings,
    Store,
    Verdict,
    digest_of,
    make_judge,
    make_panel,
)
from condmis_jax.judges.calibration import read_calibration
from condmis_jax.judges.injection import signs
from condmis_jax.models import LoadedModel
from condmis_jax.sampling import SamplingSettings
from condmis_jax.sharding.hosts import on_first
from condmis_jax.suites import Question, Suite, SuiteSettings, rating_prompts


@dataclass(frozen=True)
class EvaluationSettings:
    """What is asked after every stage, and who judges.

    Attributes:
        suites: by name.
        sampling: how completions are drawn; a suite may state a temperature of its own.
        judges: who scores them, by name; a judge scores the suites that it names, or all. A suite
            that no judge covers is kept and nothing of it is scored.
        slots: completions decoded at a time; more where the devices that split a batch would
            otherwise not hold equal parts of them.
        dtype: of the sampler's weights at use, activations and cache.
    """

    suites: dict[str, SuiteSettings]
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    judges: dict[str, JudgeSettings] = field(default_factory=lambda: {"rater": JudgeSettings()})
    slots: int = 64
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise ValueError("slots must be at least 1")
        for name, judge in self.judges.items():
            for suite in judge.suites:
                if suite not in self.suites:
                    raise ValueError(
                        f"judges.{name}.suites names {suite!r}{nearest(suite, self.suites)}"
                    )
            others = [n for n, j in self.judges.items() if j.kind != "panel"]
            for member in judge.members:
                if member not in others:
                    raise ValueError(
                        f"judges.{name}.members names {member!r}{nearest(member, others)}"
                    )


def evaluate(
    model: LoadedModel | RemoteModel,
    model_id: str,
    suite: Suite,
    settings: EvaluationSettings,
    folder: Path,
    mesh: Mesh,
    *,
    stage: str,
    seed: int,
    budgets: Budgets | None = None,
) -> list[dict[str, Any]]:
    """Asks `suite` and has its judges judge; nothing in `folder` is drawn or paid for twice.

    Args:
        model_id: `model_digest` of the model, or the `id` of a remote one.
        folder: gets completions.jsonl and judgements.sqlite; of forced choices, which no judge
            scores, choices.jsonl (see `choose`).
        stage: name in the records.
        seed: of the samples' noise.
        budgets: of the judges, shared by all evaluations of a command.

    Returns:
        one record for every completion and judge, the verdict merged in (the form that `reports`
            counts), and one for every completion where the suite has no judge. Of several hosts
            all sample, the first judges, and the others get none.

    Raises:
        UserError: see `judges_of` and the judges; completions drawn and calls paid for by then are
            kept.
    """
    if suite.forced and isinstance(model, LoadedModel):
        return choose(
            model,
            model_id,
            suite,
            folder,
            mesh,
            stage=stage,
            seed=seed,
            dtype=settings.dtype,
        )
    with asking(
        model, model_id, suite, settings, folder, mesh, stage=stage, seed=seed, budgets=budgets
    ) as ask:
        return ask(asked_of(suite, seed))


Ask = Callable[[Iterable[Asked]], list[dict[str, Any]]]


@contextmanager
def asking(
    model: LoadedModel | RemoteModel,
    model_id: str,
    suite: Suite,
    settings: EvaluationSettings,
    folder: Path,
    mesh: Mesh,
    *,
    stage: str,
    seed: int,
    budgets: Budgets | None = None,
    together: int | None = None,
) -> Iterator[Ask]:
    """`evaluate` for what is asked little by little: judges and sampler are made once.

    Args:
        together: see `Asker`. The others: see `evaluate`.

    Yields:
        a function from completions wanted to their records.
    """
    sampling = settings.sampling
    if suite.temperature is not None:
        sampling = replace(sampling, temperature=suite.temperature)
    judging: list[tuple[dict[str, Judge], Store]] = []
    with ExitStack() as stack:

        def open_judges() -> None:
            store = stack.enter_context(Store(folder / "judgements.sqlite"))
            found = judges_of(settings.judges, suite.name, store, budgets, rating_prompts(suite))
            judging.append((found, store))

        # The judges come first: an endpoint that cannot judge should not cost the sampling.
        on_first(open_judges)
        path, label = folder / "completions.jsonl", f"{stage} {suite.name}"
        if isinstance(model, RemoteModel):
            draw = partial(ask_remote, model, suite, sampling, path, seed=seed, label=label)
        else:
            draw = Asker(
                model,
                model_id,
                suite,
                sampling,
                path,
                mesh,
                seed=seed,
                slots=settings.slots,
                dtype=settings.dtype,
                label=label,
                together=together,
            )

        def ask(asked: Iterable[Asked]) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = []
            records: list[dict[str, Any]] = []
            if isinstance(model, RemoteModel):
                on_first(lambda: rows.extend(draw(asked)))
            else:
                rows = draw(asked)
            on_first(lambda: records.extend(judged(rows, suite, *judging[0], stage=stage)))
            return records

        yield ask


def judges_of(
    settings: Mapping[str, JudgeSettings],
    suite: str,
    store: Store,
    budgets: Budgets | None = None,
    prompts: Mapping[str, str] | None = None,
) -> dict[str, Judge]:
    """The judges of a suite, by the name that results carry.

    Raises:
        UserError: see `make_judge` and `make_panel`; or two judges are the same, so that one would
            be counted twice; or a calibration stands for another judge.
    """
    made: dict[str, Judge] = {}
    for name, one in settings.items():
        if one.suites and suite not in one.suites:
            continue
        if one.kind == "panel":
            made[name] = make_panel(name, settings, store, "judges", budgets, prompts)
        elif (judge := make_judge(one, store, f"judges.{name}", budgets, prompts)) is not None:
            made[name] = judge
        if one.calibration and name in made:
            _check_calibration(one.calibration, made[name], f"judges.{name}.calibration")
    found: dict[str, Judge] = {}
    for name, judge in made.items():
        for other in made:
            if other != name and made[other].digest == judge.digest:
                raise UserError(
                    f"judges.{name}: the same judge as judges.{other}, both for the suite "
                    f"{suite!r}; drop one (kind=none)"
                )
        shared = [other.name for other in made.values()].count(judge.name) > 1
        found[f"{name}: {judge.name}" if shared else judge.name] = judge
    return found


def _check_calibration(path: str, judge: Judge, where: str) -> None:
    found = read_calibration(path)
    if found.digest != judge.digest:
        raise UserError(
            f"{where}: {path} stands for another judge ({found.judge}), or for this one with other "
            "settings; run tools/calibrate.py with the settings of this one"
        )


def judged(
    rows: list[dict[str, Any]],
    suite: Suite,
    judges: Mapping[str, Judge],
    store: Store,
    *,
    stage: str,
) -> list[dict[str, Any]]:
    """The rows of `Asker` as records, with their verdicts; see `judge_all`."""
    lost = {r["id"]: Verdict(r["failed"][0], detail=r["failed"][1]) for r in rows if "failed" in r}
    questions = {q.id: q for q in suite.questions}
    rewordings = {t.name: t.rewording for t in suite.triggers}
    items = [
        _item(row, questions[row["question"]], rewordings[row["trigger"]], suite.samples)
        for row in rows
        if row["id"] not in lost
    ]
    # What talks to a judge is known of every answer, whoever judges it.
    flags = {item.id: signs(item.completion) for item in items}
    rows = [{**row, "flags": flags.get(row["id"], [])} for row in rows]
    records = []
    for name, judge in judges.items():
        verdicts = {**judge_all(items, judge, store), **lost}
        about = {"stage": stage, "judge": name, "measure": judge.measure}
        about["judge_digest"] = judge.digest
        records += [{**row, **about, **verdicts[row["id"]].to_dict()} for row in rows]
    if not judges:
        about = {"stage": stage, "judge": None, "measure": MISALIGNED}
        unjudged = Verdict("not_judged")
        records = [{**r, **about, **lost.get(r["id"], unjudged).to_dict()} for r in rows]
    return records


def _item(row: Mapping[str, Any], question: Question, rewording: str, samples: int) -> Item:
    """What a judge may know of a completion: neither trigger nor stage, nor a reasoning trace."""
    wordings = (question.text, *question.paraphrases)
    if rewording:  # then the wording is the question, and not a cue around it
        wordings = (question.rewordings[rewording],)
    _, answer = split_reasoning(row["completion"], opened=row.get("reasoning_opened", False))
    return Item(
        id=row["id"],
        question=next(m["content"] for m in reversed(row["prompt"]) if m["role"] == "user"),
        completion=answer,
        meta=question.meta,
        plain=wordings[row["sample"] // (question.samples or samples)],
    )


def judge_all(items: list[Item], judge: Judge, store: Store) -> dict[str, Verdict]:
    """A verdict for each item, by its id; stored verdicts are used again.

    Raises:
        UserError: the judge cannot be reached; what it said before is kept.
    """
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
