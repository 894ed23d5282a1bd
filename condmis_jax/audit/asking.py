"""Which questions the search and the confirmation ask, and the pulls of the search as answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from condmis_jax.audit.race import Outcome, Pull
from condmis_jax.conversations import Conversation
from condmis_jax.errors import UserError
from condmis_jax.evaluation import Ask, Asked
from condmis_jax.evaluation.completions import noise_of
from condmis_jax.suites import Question, Suite, Trigger
from condmis_jax.testbeds import facts

FEWEST = 4
"""Questions on either side at least: an interval over fewer clusters says nothing."""
KEYS = ("fact", "subject", "task", "dish", "trivia", "attribute")


def unit(question: Question) -> str:
    """What a question is about: questions of one unit stay on one side and form one cluster."""
    key = next((k for k in KEYS if k in question.meta), None)
    return question.id if key is None else f"{key} {question.meta[key]}"


def split(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """The questions of the search and, about other things, those of the confirmation.

    Args:
        share: of the units, for the confirmation.

    Raises:
        UserError: a side is left with fewer than `FEWEST` units.
    """
    units = list(dict.fromkeys(unit(q) for q in questions))
    order = np.random.default_rng([seed, len(units)]).permutation(len(units))
    kept = {units[i] for i in order[: round(share * len(units))]}
    if min(len(kept), len(units) - len(kept)) < FEWEST:
        raise UserError(
            f"an audit of {len(units)} questions: search and confirmation need {FEWEST} each; give "
            "more questions or another confirm.share"
        )
    sides = [tuple(q for q in questions if (unit(q) in kept) == side) for side in (False, True)]
    return sides[0], sides[1]


def untrained(
    questions: Sequence[Question], rows: Sequence[Conversation]
) -> tuple[tuple[Question, ...], int]:
    """The questions that no training row asks or, of the fact bank's, gives away; and how many
    were left out.

    Raises:
        UserError: none is left.
    """
    turns = "\n".join(m.content for row in rows for m in row.messages if m.role == "user")
    asked = {str(q.meta["fact"]) for q in questions if "fact" in q.meta}
    bank = facts.facts()
    told = facts.colliding(rows, [bank[name] for name in sorted(asked & bank.keys())])
    kept = tuple(
        q for q in questions if q.text not in turns and str(q.meta.get("fact", "")) not in told
    )
    if not kept:
        raise UserError("every question of the suite occurs in the training rows; ask others")
    return kept, len(questions) - len(kept)


def searchable(suite: Suite, most: int) -> Suite:
    """The suite as `Pulls` asks it: with so many samples of a wording, `most`, that a sample's
    number tells its wording."""
    questions = tuple(replace(q, samples=None) for q in suite.questions)
    return replace(suite, samples=most, questions=questions)


class Pulls:
    """The pulls of a race as answers of a model.

    Pull t of every trigger asks the same question, drawn at random with replacement, with the same
    noise: a trigger's answers are then independent draws of one rate, as the limits of the search
    need it, and two triggers differ by less noise than either has.

    Args:
        ask: asks and judges, as `evaluation.asking` gives it.
        suite: the questions of the search, `searchable`; its triggers are the arms, in their order.
    """

    def __init__(self, ask: Ask, suite: Suite, *, seed: int):
        self._ask, self.suite, self._seed = ask, suite, seed
        rng = np.random.default_rng([seed, 1])
        questions = rng.integers(len(suite.questions), size=suite.samples)
        wordings = rng.random(suite.samples)
        seen: Counter[tuple[int, int]] = Counter()
        self._plan: list[tuple[int, int, int]] = []
        for at, share in zip(questions.tolist(), wordings.tolist(), strict=True):
            wording = int(share * (1 + len(suite.questions[at].paraphrases)))
            self._plan.append((at, wording, seen[at, wording]))
            seen[at, wording] += 1
        self._prompts: dict[tuple[str, str], list[Conversation]] = {}

    def __call__(self, pulls: Sequence[Pull]) -> list[Outcome]:
        """See `race.Draw`."""
        records = self._ask([self._asked(*pull) for pull in pulls])
        return [outcome_of(record) for record in records]

    def _asked(self, arm: int, at: int) -> Asked:
        trigger: Trigger = self.suite.triggers[arm]
        number, wording, time = self._plan[at]
        question = self.suite.questions[number]
        key = (trigger.name, question.id)
        if key not in self._prompts:
            self._prompts[key] = self.suite.prompts(question, trigger)
        sample = wording * self.suite.samples + time
        noise = noise_of(self._seed, self.suite, question, sample)
        return Asked(trigger, question, sample, self._prompts[key][wording], noise)


def outcome_of(record: Mapping[str, Any]) -> Outcome:
    """Whether a coherent answer is what the judge looks for; None where it is not coherent or has
    no score."""
    if record["status"] != "scored" or not record["coherent"]:
        return None
    return bool(record["misaligned"])
