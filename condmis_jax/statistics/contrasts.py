"""Differences between rates: trigger effects, interventions, differences in differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import optimize

from condmis_jax.errors import UserError
from condmis_jax.statistics.clusters import (
    Over,
    counts,
    covariances,
    estimate,
    fade,
    freedom,
    ratio,
)
from condmis_jax.statistics.interval import Interval, beta_limits, check_level, clopper_pearson

LEAST_P = 1e-9
"""No p-value of `interval_p` is below this."""


@dataclass(frozen=True)
class Arm:
    """One condition of a contrast.

    Attributes:
        successes: events, one count a question, or [Q, S], questions by seeds.
        trials: answers, likewise. All arms of a contrast have the same questions in one order.
        weight: its coefficient.
        fixed: one model whatever the seeds of the others, such as the base model; it has a single
            column and does not vary between trainings.
    """

    successes: Sequence | np.ndarray
    trials: Sequence | np.ndarray
    weight: float
    fixed: bool = False


def contrast(
    arms: Sequence[Arm],
    over: Over = "questions",
    shared_seeds: bool = True,
    level: float = 0.95,
) -> Interval:
    """A weighted sum of rates, such as trigger minus plain, with its interval.

    The limits of the single rates (`clusters.estimate`) are combined by variance recovery (Zou &
    Donner, Statistics in Medicine 2008), with correlations between the rates: those of the
    linearised cluster-robust estimates, which is what pairing by question and by seed means, shrunk
    towards none where the rarer arm has few events. A t interval for the difference covered only 84
    to 87 % at rates of 1 to 5 % in the simulation of docs/statistics.md; this one 93 % and more.

    Args:
        arms: two or more.
        over: what would be drawn anew, see `clusters.Over`.
        shared_seeds: whether seed t of all arms is one training or its continuation; False for arms
            that were trained apart. Not asked for with `over` "questions".
        level: nominal two-sided coverage.

    Returns:
        The sum, within the range that fractions allow; its estimate is None when no question has
        answers in all arms, its limits are None where seeds should vary and an arm has one.

    Raises:
        UserError: the arms differ in questions (or, with shared seeds, in seeds), or a count is
            impossible.
    """
    check_level(level)
    tables = [counts(arm.successes, arm.trials) for arm in arms]
    weights = np.array([arm.weight for arm in arms])
    if len({n.shape[0] for _, n in tables}) > 1:
        raise UserError(
            f"contrast: {', '.join(str(n.shape[0]) for _, n in tables)} questions in the arms; "
            "give the same questions in the same order"
        )
    fixed = [arm.fixed for arm in arms]
    if any(f and n.shape[1] > 1 for f, (_, n) in zip(fixed, tables, strict=True)):
        raise UserError("contrast: a fixed model has one column of counts")
    if all(fixed):
        over = "questions"
    trained = [n for f, (_, n) in zip(fixed, tables, strict=True) if not f]
    if shared_seeds and len({n.shape[1] for n in trained}) > 1:
        raise UserError("contrast: arms with shared seeds must have the same seeds in one order")
    kept = np.logical_and.reduce([n.sum(1) > 0 for _, n in tables])
    notes = []
    if dropped := int((~kept).sum()):
        notes.append(f"{dropped} question(s) without answers in all arms left out")
    tables = [(s[kept], n[kept]) for s, n in tables]
    seeds = [n.sum(0) > 0 for _, n in tables]
    if shared_seeds and trained:
        both = np.logical_and.reduce([used for used, f in zip(seeds, fixed, strict=True) if not f])
        seeds = [used if f else both for used, f in zip(seeds, fixed, strict=True)]
    tables = [(s[:, used], n[:, used]) for (s, n), used in zip(tables, seeds, strict=True)]
    if not all(n.size and (n.sum(1) > 0).all() for _, n in tables):
        return Interval(None, None, None, level, "none", "no question has answers in all arms")
    questions = int(kept.sum())
    value = float(weights @ [s.sum() / n.sum() for s, n in tables])
    least = min((n.shape[1] for f, (_, n) in zip(fixed, tables, strict=True) if not f), default=1)
    if over != "questions" and least == 1:
        note = "one training seed: how the difference varies between trainings is not estimable"
        return Interval(value, None, None, level, "none", note)
    if questions == 1 and over == "both":
        over = "seeds"
        notes.append("one question: conditional on this question")
    if questions == 1 and over == "questions":
        notes.append("one question: conditional on this question, no pairing is possible")
        rates = np.array([s.sum() / n.sum() for s, n in tables])
        limits = [clopper_pearson(float(s.sum()), float(n.sum()), level) for s, n in tables]
        low, high = recovered(weights, rates, np.array(limits), np.eye(len(tables)))
        method = "Clopper-Pearson limits combined (Zou-Donner)"
    else:
        low, high = combined(tables, weights, over, shared_seeds, level, fixed)
        unit = {"questions": "question", "seeds": "seed", "both": "question and seed"}[over]
        degrees = freedom(questions, least, over)
        method = f"Korn-Graubard limits combined (Zou-Donner), by {unit}, t({degrees})"
    # Rounding must not push the estimate outside, nor the limits beyond what fractions allow.
    low = max(float(weights[weights < 0].sum()), min(float(low), value))
    high = min(float(weights[weights > 0].sum()), max(float(high), value))
    return Interval(value, low, high, level, method, "; ".join(notes))


def interval_p(
    arms: Sequence[Arm],
    over: Over = "questions",
    shared_seeds: bool = True,
    null: float = 0.0,
) -> float | None:
    """The p-value that goes with `contrast`: one minus the highest level whose interval leaves
    `null` out. So p is below 0.05 exactly where the 95 % interval does not hold `null`.

    Args:
        arms, over, shared_seeds: see `contrast`.
        null: the value tested, two-sided.

    Returns:
        between `LEAST_P` and 1; None where there is no interval.

    Raises:
        UserError: see `contrast`.
    """

    def distance(log_p: float) -> float | None:
        """How far the interval of level 1 - p ends from `null`, on the estimate's side of it."""
        found = contrast(arms, over, shared_seeds, 1 - math.exp(log_p))
        if found.estimate is None or found.low is None or found.high is None:
            return None
        return found.low - null if found.estimate > null else null - found.high

    low, high = math.log(LEAST_P), math.log(0.999)
    least, most = distance(low), distance(high)
    if least is None or most is None:
        return None
    if most <= 0:
        return 1.0
    if least >= 0:
        return LEAST_P
    return math.exp(cast(float, optimize.brentq(distance, low, high, xtol=1e-6)))


def combined(
    tables: Sequence[tuple[np.ndarray, np.ndarray]],
    weights: np.ndarray,
    over: Over,
    shared_seeds: bool,
    level: float,
    fixed: Sequence[bool] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Limits [...] of `contrast` for counts [..., Q, S] of K arms, all of them answered."""
    fixed = fixed or [False] * len(tables)
    rates, limits = [], []
    for (s, n), one in zip(tables, fixed, strict=True):
        if one and over == "seeds":  # neither its questions nor its training are drawn anew
            rate = s.sum((-2, -1)) / n.sum((-2, -1))
            low, high = beta_limits(s.sum((-2, -1)), n.sum((-2, -1)), level)
        else:
            rate, low, high, *_ = estimate(s, n, "questions" if one else over, level)
        rates.append(rate)
        limits.append(np.stack([low, high], -1))
    correlations = _correlations(tables, over, shared_seeds, fixed)
    return recovered(weights, np.stack(rates, -1), np.stack(limits, -2), correlations)


def recovered(
    weights: np.ndarray,
    rates: np.ndarray,
    limits: np.ndarray,
    correlations: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of Σw·rate from those of the K rates: rates [..., K], limits [..., K, 2],
    correlations [..., K, K]."""
    value = rates @ weights
    down, up = rates - limits[..., 0], limits[..., 1] - rates
    sides = []
    for sign in (-1, 1):
        distance = weights * np.where(sign * weights > 0, up, down)
        square = np.einsum("...i,...ij,...j->...", distance, correlations, distance)
        sides.append(value + sign * np.sqrt(np.maximum(square, 0)))
    return sides[0], sides[1]


def _correlations(
    tables: Sequence[tuple[np.ndarray, np.ndarray]],
    over: Over,
    shared_seeds: bool,
    fixed: Sequence[bool],
) -> np.ndarray:
    """Correlations [..., K, K] of the rates of K arms, for counts [..., Q, S]."""
    influences = [ratio(s, n)[1] for s, n in tables]
    arms = range(len(tables))

    def between(i: int, j: int) -> np.ndarray:
        shared = not fixed[i] and not fixed[j] and (shared_seeds or i == j)
        return covariances(influences[i], influences[j], over, shared)

    found = np.stack([np.stack([between(i, j) for j in arms], -1) for i in arms], -2)
    # The clustering with the largest variances, for all arms alike: a correlation needs one.
    largest = np.einsum("...ii->...", found).argmax(0)
    found = np.take_along_axis(found, largest[None, ..., None, None], 0)[0]
    errors = np.sqrt(np.maximum(np.einsum("...ii->...i", found), 0))
    product = errors[..., :, None] * errors[..., None, :]
    safe = np.where(product > 0, product, 1.0)
    correlation = np.where(product > 0, np.clip(found / safe, -1, 1), 0.0)
    events = np.stack([np.minimum(s.sum((-2, -1)), (n - s).sum((-2, -1))) for s, n in tables], -1)
    fewer = np.minimum(events[..., :, None], events[..., None, :])
    correlation = correlation * (1 - fade(fewer))
    own = np.eye(len(tables), dtype=bool)
    return np.where(own, 1.0, correlation)


def paired_difference(
    s1: Sequence | np.ndarray,
    n1: Sequence | np.ndarray,
    s0: Sequence | np.ndarray,
    n0: Sequence | np.ndarray,
    over: Over = "questions",
    level: float = 0.95,
) -> Interval:
    """Rate with the trigger minus rate without, same models, paired by question (and seed).

    Args:
        s1: events under the trigger, one count a question, or [Q, S].
        n1: answers under the trigger.
        s0: events without the trigger, the same questions and seeds in the same order.
        n0: answers without the trigger.
        over: see `contrast`.
        level: nominal two-sided coverage.

    Raises:
        UserError: see `contrast`.
    """
    return contrast([Arm(s1, n1, 1), Arm(s0, n0, -1)], over, level=level)


def difference_in_differences(
    one: tuple[Arm, Arm],
    other: tuple[Arm, Arm],
    over: Over = "questions",
    shared_seeds: bool = True,
    level: float = 0.95,
) -> Interval:
    """(trigger - plain) in one arm minus (trigger - plain) in another: does an intervention change
    what a trigger does?

    Args:
        one: trigger and plain of one arm; their weights are not looked at.
        other: trigger and plain of the other.
        over: see `contrast`.
        shared_seeds: whether the arms are continuations of the same trainings.
        level: nominal two-sided coverage.

    Returns:
        a value in [-2, 2].

    Raises:
        UserError: see `contrast`.
    """
    signs = (1, -1, -1, 1)
    arms = [Arm(arm.successes, arm.trials, w) for arm, w in zip((*one, *other), signs, strict=True)]
    return contrast(arms, over, shared_seeds, level)


def noninferior(difference: Interval, margin: float) -> bool | None:
    """Whether a rate is shown to be at most `margin` above the other one.

    A one-sided test at half of 1 - level: the upper limit lies below the margin. That it does not
    is no sign of a difference. None where there is no upper limit.

    Args:
        difference: rate minus the rate to compare with.
        margin: the largest difference that does not matter, fixed before looking, above 0.

    Raises:
        UserError: the margin is not above 0.
    """
    if not margin > 0:
        raise UserError(f"non-inferiority margin {margin!r}: must be above 0, e.g. 0.01")
    return None if difference.high is None else difference.high < margin
