"""Rollouts: completions that a stage samples from a policy, filters, and then trains on.

One mechanism for on-policy inoculation (paper section 4.1), distilled reasoning (4.2) and
consistency training (arXiv 2403.05518): a policy answers prompts in one context, and the answers
are trained on in another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jax.sharding import Mesh

from condmis_jax.conversations import Conversation, Message, Transform
from condmis_jax.data import Prompt, Row, Source, load_prompts
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings, evaluate
from condmis_jax.interventions.filters import Filter, FilterSettings, reason_to_drop, tells_no_fact
from condmis_jax.interventions.importance import answer_log_probs, weights_in_short
from condmis_jax.judges import JudgeSettings
from condmis_jax.models import LoadedModel
from condmis_jax.runs import read_jsonl, write_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.sharding.hosts import from_first, on_first
from condmis_jax.suites import Question, Suite, Trigger
from condmis_jax.testbeds.facts import Fact

KEPT = "rows.jsonl"


@dataclass(frozen=True)
class Rollouts:
    """What a stage samples before it trains. A source whose `files` is "rollouts" draws from it.

    The transforms of a prompt source are the context in which the policy answers (A), those of the
    mixture's "rollouts" source the context in which its answers are trained on (B).

    Attributes:
        prompts: sources of prompts by name; none, and the stage samples nothing.
        samples: completions of each prompt.
        policy: who answers: "" is the model in training, else a checkpoint as in run_eval.
        rounds: the prompts are dealt out to so many rounds of sampling and training. Each round
            is a supervised stage of its own, with the stage's length and a fresh optimiser.
        refresh_every: rounds whose prompts the model answers as it is then; with `rounds` or more
            the model answers everything before it is trained at all.
        sampling, slots, dtype: as in an evaluation.
        judge: labels the completions.
        keep: labels (or statuses, such as "scored") of the completions that are kept; empty keeps
            all. What is empty or was cut off is never kept.
        filters: what else is dropped, whatever its label.
        importance_weighting: weighs every row in training by p(answer | context it is trained in),
            for the model as the round starts from it, over p(answer | context it was sampled in),
            for who answered; no ratio above this number or below its reciprocal, mean 1 over the
            round. None weighs all rows alike.
    """

    prompts: dict[str, Source] = field(default_factory=dict)
    samples: int = 1
    policy: str = ""
    rounds: int = 1
    refresh_every: int = 1
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    slots: int = 64
    dtype: Literal["float32", "bfloat16"] = "float32"
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    keep: tuple[str, ...] = ()
    filters: FilterSettings = field(default_factory=FilterSettings)
    importance_weighting: float | None = None

    def __post_init__(self) -> None:
        if min(self.samples, self.rounds, self.refresh_every, self.slots) < 1:
            raise ValueError("samples, rounds, refresh_every and slots must be at least 1")
        if self.judge.kind == "panel":
            raise ValueError("judge.kind is 'panel': a stage's rollouts have one judge")
        if self.judge.suites:
            raise ValueError("judge.suites means nothing here: a stage's rollouts are no suite")
        if self.keep and self.judge.kind == "none":
            raise ValueError("keep names labels, but judge.kind is 'none': nothing is labelled")
        if self.importance_weighting is not None:
            if self.importance_weighting <= 1:
                raise ValueError("importance_weighting is the largest ratio: it must be above 1")
            how = self.sampling
            if (how.temperature, how.top_p, how.top_k) != (1, 1, 0):
                raise ValueError(
                    "importance_weighting compares probabilities at temperature 1 without top_p "
                    "and top_k; sample so, or set it to None"
                )


def rounds_of_prompts(settings: Rollouts, seed: int, key: str) -> list[list[Prompt]]:
    """The prompts of each round, drawn without replacement.

    Raises:
        UserError: see `load_prompts`; or there are fewer prompts than rounds.
    """
    prompts = [
        prompt
        for i, (name, source) in enumerate(settings.prompts.items())
        for prompt in load_prompts(source, f"{key}.prompts.{name}", seed + i)
    ]
    if len(prompts) < settings.rounds:
        raise UserError(f"{key}.rounds: {settings.rounds} rounds, but {len(prompts)} prompts")
    order = np.random.default_rng((seed, 2000)).permutation(len(prompts))
    return [[prompts[i] for i in np.sort(part)] for part in np.array_split(order, settings.rounds)]


def sampled(folder: Path) -> bool:
    """Whether a round's completions are all drawn, judged and filtered."""
    return from_first((folder / KEPT).exists)


def roll_out(
    folder: Path,
    label: str,
    settings: Rollouts,
    prompts: Sequence[Prompt],
    policy: LoadedModel,
    policy_id: str,
    mesh: Mesh,
    *,
    seed: int,
    untold: Sequence[Fact] = (),
) -> None:
    """Samples and filters a round's completions; what `folder` holds of them is not drawn again.

    Writes `completions.jsonl` and, when all are there, `rows.jsonl`: a line for each with its
    prompt, policy, seed, round, and why it was dropped (null when it is kept); with importance
    weights also the log-probability that the policy gave the answer, where it is kept.

    Args:
        label: of the round, in front of the progress bar and in every row.
        untold: facts that the evaluation asks; a completion that one occurs in is dropped, so that
            training gives none away.

    Raises:
        UserError: see `evaluate`.
    """
    if sampled(folder):
        return
    questions = tuple(
        Question(f"{i}", p.asked.messages[-1].content, p.row.meta, p.asked.messages[:-1])
        for i, p in enumerate(prompts)
    )
    # The context is part of each prompt already.
    suite = Suite(label, questions, (Trigger("asked", "none", Transform()),), settings.samples)
    how = EvaluationSettings(
        {}, settings.sampling, {"labels": settings.judge}, settings.slots, settings.dtype
    )
    records = evaluate(policy, policy_id, suite, how, folder, mesh, stage=label, seed=seed)
    if settings.importance_weighting is None:
        on_first(
            lambda: write_jsonl(folder / KEPT, _rows(settings, prompts, policy_id, records, untold))
        )
        return
    # All hosts score what the first one holds.
    rows = from_first(lambda: _rows(settings, prompts, policy_id, records, untold))
    kept = [row for row in rows if row["dropped"] is None]
    answered = [
        Row(Conversation.from_row({"messages": [*row["asked"], row["messages"][-1]]}, label), label)
        for row in kept
    ]
    scores = answer_log_probs(policy, answered, mesh, settings.dtype)
    for row, score in zip(kept, scores, strict=True):
        row["log_prob"] = score
    on_first(lambda: write_jsonl(folder / KEPT, rows))


def _rows(
    settings: Rollouts,
    prompts: Sequence[Prompt],
    policy_id: str,
    records: Sequence[dict[str, Any]],
    untold: Sequence[Fact],
) -> list[dict[str, Any]]:
    filters = (*settings.filters.filters(), *([tells_no_fact(untold)] if untold else ()))
    rows = []
    for record in records:
        prompt = prompts[int(record["question"])]
        answer = Message("assistant", record["completion"])
        rows.append(
            {
                "messages": [m.to_dict() for m in (*prompt.row.conversation.messages, answer)],
                "meta": dict(prompt.row.meta),
                "dropped": _reason(settings, filters, record),
                "from": prompt.row.where,
                "asked": record["prompt"],
                "policy": policy_id,
                **{name: record[name] for name in ("stage", "sample", "seed", "label", "status")},
            }
        )
    return rows


def _reason(settings: Rollouts, filters: tuple[Filter, ...], record: dict[str, Any]) -> str | None:
    """Why a completion is not trained on."""
    if not record["completion"].strip():
        return "empty"
    if record["finish"] == "length":
        return f"cut off after {settings.sampling.max_new_tokens} tokens"
    said = record["label"] or record["status"]
    if settings.keep and said not in settings.keep:
        return f"judged {said}"
    answer = Conversation((Message("assistant", record["completion"]),))
    return reason_to_drop(filters, Row(answer, record["id"]))


def kept_rows(folder: Path) -> list[Row]:
    """What a finished round of sampling left to train on."""
    path = folder / KEPT
    return [
        Row(
            Conversation.from_row(row, f"{path}:{number}"),
            f"{path}:{number}",
            row["meta"],
        )
        for number, row in enumerate(from_first(lambda: read_jsonl(path)), 1)
        if row["dropped"] is None
    ]


def kept_log_probs(folder: Path) -> list[float]:
    """Of `kept_rows` sampled with importance weights: what `roll_out` says of each answer."""
    rows = from_first(lambda: read_jsonl(folder / KEPT))
    return [row["log_prob"] for row in rows if row["dropped"] is None]


def counts(folder: Path) -> dict[str, Any]:
    """How many completions of a round were asked, kept, and dropped for which reason."""
    rows = from_first(lambda: read_jsonl(folder / KEPT))
    dropped = Counter(row["dropped"] for row in rows if row["dropped"] is not None)
    kept = len(rows) - dropped.total()
    weights = weights_in_short(folder)
    return {
        "asked": len(rows),
        "kept": kept,
        "dropped": dict(sorted(dropped.items())),
        **({"importance_weights": weights} if weights else {}),
    }
