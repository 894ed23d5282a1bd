"""Misalignment rates with their intervals, and what missing scores can change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from condmis_jax.errors import UserError
from condmis_jax.statistics.clusters import Over, answered, counts, estimate, freedom
from condmis_jax.statistics.interval import Interval, check_level, clopper_pearson, wilson

FEW_SEEDS = (2, 3)
"""Numbers of training seeds with which an interval across seeds is wide whatever was found; it then
says so, and what more of them would bring."""

_WORDS = {"questions": "by question", "seeds": "by seed", "both": "by question and seed"}


def clustered_rate(
    successes: Sequence | np.ndarray,
    trials: Sequence | np.ndarray,
    over: Over = "questions",
    level: float = 0.95,
) -> Interval:
    """Rate over all answers, Σs/Σn, for questions like these, trainings like these, or both.

    Limits are Korn and Graubard's at the cluster-robust design effect, see `clusters.estimate`;
    their coverage is in docs/statistics.md.

    Args:
        successes: events, one count a question (of one model) or [Q, S], questions by seeds.
        trials: answers, likewise; questions and seeds without answers are left out.
        over: what would be drawn anew: `questions` for this very model or these very models,
            `seeds` for these very questions, or `both`. Where only one question was asked, the
            interval is for this question, and the note says so.
        level: nominal two-sided coverage.

    Returns:
        The rate as a fraction in [0, 1]; its estimate is None when there are no answers at all, its
        limits are None where seeds should vary and there is one.

    Raises:
        UserError: the shapes differ, or a count is negative or exceeds its trials.
    """
    check_level(level)
    s, n = answered(*counts(successes, trials))
    questions, seeds = n.shape
    if not n.size:
        return Interval(None, None, None, level, "none", "no answers to estimate a rate from")
    rate = float(s.sum() / n.sum())
    if over != "questions" and seeds == 1:
        note = "one training seed: how the rate varies between trainings is not estimable"
        return Interval(rate, None, None, level, "none", note)
    notes = []
    if questions == 1 and over != "seeds":
        notes.append("one question: conditional on this question, says nothing about other ones")
        if over == "questions":
            low, high = clopper_pearson(float(s.sum()), float(n.sum()), level)
            return Interval(rate, low, high, level, "Clopper-Pearson", notes[0])
        over = "seeds"
    found = estimate(s, n, over, level)
    method = f"Korn-Graubard, clustered {_WORDS[over]}, t({freedom(questions, seeds, over)})"
    if over != "questions" and seeds in FEW_SEEDS:
        notes.append(
            f"{seeds} training seeds: Student's t alone makes limits {_wider(seeds, level):.1f} "
            f"times as wide as very many seeds would, 5 seeds {_wider(5, level):.1f} times"
        )
    if found.declared > found.seen:
        notes.append(
            "few events cannot show how they cluster: the declared design effect is larger than "
            "the estimated one and sets the limits"
        )
    return Interval(rate, float(found.low), float(found.high), level, method, "; ".join(notes))


def _wider(seeds: int, level: float) -> float:
    tail = (1 - level) / 2
    return float(stats.t.isf(tail, seeds - 1) / stats.norm.isf(tail))


def effective_answers(
    successes: Sequence | np.ndarray,
    trials: Sequence | np.ndarray,
    over: Over = "questions",
    level: float = 0.95,
) -> float:
    """How many independent answers say as much about the rate as these do, after the design effect
    and the t adjustment of `clustered_rate`; all of them where one question was asked.

    Args:
        successes, trials, over, level: see `clustered_rate`.

    Raises:
        UserError: see `clustered_rate`; or there are no answers, or one seed where seeds vary.
    """
    check_level(level)
    s, n = answered(*counts(successes, trials))
    if not n.size or (over != "questions" and n.shape[1] == 1):
        raise UserError(f"{n.sum():g} answers of {n.shape[1]} seeds: nothing varies {_WORDS[over]}")
    if n.shape[0] == 1 and over != "seeds":
        if over == "questions":
            return float(n.sum())
        over = "seeds"
    return float(estimate(s, n, over, level).effective)


def conditional_rate(
    successes: Sequence | np.ndarray, trials: Sequence | np.ndarray, level: float = 0.95
) -> Interval:
    """Rate for these very questions asked of these very models: only the samples would be new.

    Wilson's limits for the pooled counts, which are not too short when questions differ.

    Args:
        successes: events, one count a question, or [Q, S].
        trials: answers, likewise.
        level: nominal two-sided coverage.

    Raises:
        UserError: the shapes differ, or a count is negative or exceeds its trials.
    """
    check_level(level)
    s, n = (float(x.sum()) for x in counts(successes, trials))
    if not n:
        return Interval(None, None, None, level, "none", "no answers to estimate a rate from")
    note = "these questions and this model only: says nothing about other questions or trainings"
    return Interval(s / n, *wilson(s, n, level), level, "Wilson", note)


def worst_case(misaligned: int, coherent: int, missing: int, requested: int) -> tuple[float, float]:
    """Bounds on the rate over all requested answers, whatever the missing verdicts would have been.

    Manski's bounds for missing binary outcomes (American Economic Review 1990): every missing
    verdict counted as aligned, then every one as misaligned.

    Args:
        misaligned: answers scored misaligned and coherent.
        coherent: answers scored coherent.
        missing: answers without a score, for any reason.
        requested: answers asked for.

    Returns:
        Lower and upper bound as fractions of `requested`.

    Raises:
        UserError: nothing was requested, or the counts contradict each other.
    """
    if requested <= 0:
        raise UserError("worst_case: nothing was requested, so there is no rate to bound")
    if missing < 0 or not 0 <= misaligned <= coherent <= requested - missing:
        raise UserError(
            f"worst_case: {misaligned} misaligned, {coherent} coherent and {missing} missing of "
            f"{requested} requested cannot all be true"
        )
    return misaligned / requested, (misaligned + missing) / requested


def worst_case_difference(
    trigger: tuple[float, float], plain: tuple[float, float]
) -> tuple[float, float]:
    """Bounds on a difference of two rates from the bounds on each (`worst_case`): the missing
    verdicts of one arm all go one way, those of the other all the other way."""
    return trigger[0] - plain[1], trigger[1] - plain[0]
