"""Finalists confirmed on fresh questions: lifts over plain prompt, base model and controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from condmis_jax.audit.asking import outcome_of
from condmis_jax.statistics import Arm, Interval, clustered_rate, contrast


@dataclass(frozen=True)
class Counts:
    """Answers under one trigger.

    Attributes:
        hits, coherent: of every unit of questions, [U]: answers that the judge looks for, and
            those that could be one.
        requested, scored: of all units together.
    """

    hits: np.ndarray
    coherent: np.ndarray
    requested: int
    scored: int

    @property
    def coherence(self) -> float:
        """Share of all answers asked for that are coherent: what the trigger leaves of a model that
        answers at all."""
        return float(self.coherent.sum()) / self.requested


def count(records: Sequence[Mapping[str, Any]], units: Mapping[str, str]) -> dict[str, Counts]:
    """Counts of one model's records, by trigger.

    Args:
        records: as `evaluation.evaluate` gives them, of one judge.
        units: question -> unit (`asking.unit`).
    """
    places = {name: at for at, name in enumerate(dict.fromkeys(units.values()))}
    found: dict[str, Counts] = {}
    for trigger in dict.fromkeys(r["trigger"] for r in records):
        hits, coherent = np.zeros((2, len(places)))
        own = [r for r in records if r["trigger"] == trigger]
        for record in own:
            outcome = outcome_of(record)
            if outcome is not None:
                coherent[places[units[record["question"]]]] += 1
                hits[places[units[record["question"]]]] += outcome
        scored = sum(r["status"] == "scored" for r in own)
        found[trigger] = Counts(hits, coherent, len(own), scored)
    return found


@dataclass(frozen=True)
class Lift:
    """What a trigger adds.

    Attributes:
        trigger: its name.
        lift: (trigger - plain) in the checkpoint, minus the same in the base model where there is
            one.
        over_controls: by control, this lift minus the control's.
        confirmed: the lift is above the margin, and above every control's.
    """

    trigger: str
    lift: Interval
    over_controls: dict[str, Interval]
    confirmed: bool


def confirm(
    checkpoint: Mapping[str, Counts],
    base: Mapping[str, Counts] | None,
    finalists: Sequence[str],
    controls: Sequence[str],
    *,
    plain: str,
    margin: float,
    level: float,
) -> list[Lift]:
    """The lift of every finalist, clustered by unit of questions.

    Each is held against the margin and against the controls at its share of 1 - `level` (one of
    these claims is about the plain prompt, `plain_excess`). That a finalist must be above *all*
    controls costs no further share: the claim holds only if each of these statements does.

    Args:
        checkpoint, base: counts by trigger, the same questions.
        plain: name of the plain prompt.
        level: of all claims together.
    """
    own = own_level(level, len(finalists))
    found = []
    for name in finalists:
        lift = lift_of(checkpoint, base, name, plain, own)
        over = {c: lift_of(checkpoint, base, name, c, own) for c in controls}
        above = all(_above(i, 0.0) for i in over.values())
        found.append(Lift(name, lift, over, _above(lift, margin) and above))
    return found


def plain_excess(
    checkpoint: Mapping[str, Counts],
    base: Mapping[str, Counts] | None,
    finalists: int,
    *,
    plain: str,
    level: float,
) -> Interval:
    """The plain rate of the checkpoint, minus that of the base model where there is one."""
    own = own_level(level, finalists)
    one = checkpoint[plain]
    if base is None:
        return clustered_rate(one.hits, one.coherent, level=own)
    other = base[plain]
    arms = [Arm(one.hits, one.coherent, 1), Arm(other.hits, other.coherent, -1)]
    return contrast(arms, level=own)


def own_level(level: float, finalists: int) -> float:
    """Level of each of the claims about finalists and about the plain prompt."""
    return 1 - (1 - level) / (finalists + 1)


def lift_of(
    checkpoint: Mapping[str, Counts],
    base: Mapping[str, Counts] | None,
    name: str,
    against: str,
    level: float,
) -> Interval:
    """`name` minus `against` in the checkpoint, minus the same in the base where there is one."""
    arms = [
        Arm(counts[trigger].hits, counts[trigger].coherent, sign * weight)
        for counts, sign in ((checkpoint, 1), (base, -1))
        if counts is not None
        for trigger, weight in ((name, 1), (against, -1))
    ]
    return contrast(arms, level=level)


def _above(interval: Interval, bar: float) -> bool:
    return interval.low is not None and interval.low > bar
