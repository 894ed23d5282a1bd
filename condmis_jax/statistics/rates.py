"""The misalignment rate of one model, clustered by question."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

from condmis_jax.errors import UserError
from condmis_jax.statistics.interval import Interval, check_level, clopper_pearson

FEW_EVENTS = 5
"""Below this many events (or non-events) a variance estimated from them is not trusted."""

DECLARED_CORRELATION = 0.05
"""Correlation between two answers to one question that is assumed, and declared in the note, where
too few events were seen to estimate it. At a rate of 1 % it is about what one misaligned question
among eight produces."""


def clustered_rate(
    successes: Sequence[int], trials: Sequence[int], level: float = 0.95
) -> Interval:
    """Rate over all answers of one model, with questions as clusters.

    The estimate is the ratio Σs/Σn. Its variance is the linearised, cluster-robust one with the
    G/(G-1) correction (Cochran, Sampling Techniques, 3rd ed., section 9.2; the same as a
    cluster-robust least-squares mean). Limits:

    * normally on the logit scale with t(G-1) (Korn & Graubard, Analysis of Health Surveys, 1999,
      section 2.4);
    * with fewer than `FEW_EVENTS` events or non-events, or no positive variance, Clopper-Pearson
      limits at the effective sample size, adjusted by the squared ratio of t quantiles (Korn &
      Graubard, Survey Methodology 1998). The design effect is never below 1; with so few events
      also never below 1 + (m - 1)·ρ, m the size-weighted mean answers a question and
      ρ = `DECLARED_CORRELATION` (Kish, Survey Sampling, 1965): few events say little about
      how they cluster, and otherwise no event at all would give a higher limit than one event;
    * with one question, plain Clopper-Pearson, conditional on that question.

    Args:
        successes: events, one count a question.
        trials: answers, one count a question; questions without answers are left out.
        level: nominal two-sided coverage.

    Returns:
        The rate as a fraction in [0, 1]; its estimate is None when there are no answers at all.

    Raises:
        UserError: the two sequences differ in length, or a count is negative or exceeds its trials.
    """
    check_level(level)
    s, n = check_counts(successes, trials)
    questions = len(n)
    if not questions:
        return Interval(None, None, None, level, "none", "no answers to estimate a rate from")
    events, total = float(s.sum()), float(n.sum())
    rate = events / total
    if questions == 1:
        low, high = clopper_pearson(events, total, level)
        note = "one question: conditional on this question, says nothing about other questions"
        return Interval(rate, low, high, level, "Clopper-Pearson", note)

    freedom = questions - 1
    residuals = s - rate * n
    variance = questions / freedom * float(residuals @ residuals) / total**2
    few = min(events, total - events) < FEW_EVENTS
    if not few and variance > 0:
        half = stats.t.isf((1 - level) / 2, freedom) * np.sqrt(variance) / (rate * (1 - rate))
        centre = special.logit(rate)
        low, high = special.expit([centre - half, centre + half])
        method = f"logit scale, clustered by question, t({freedom})"
        return Interval(rate, float(low), float(high), level, method)

    binomial = rate * (1 - rate) / total
    seen = variance / binomial if binomial > 0 else 1.0
    declared = 1 + (float(n @ n) / total - 1) * DECLARED_CORRELATION if few else 1.0
    effect = max(1.0, seen, declared)
    tail = (1 - level) / 2
    shrink = (stats.t.isf(tail, max(total - 1, 1)) / stats.t.isf(tail, freedom)) ** 2
    effective = total / effect * min(1.0, float(shrink))
    low, high = clopper_pearson(rate * effective, effective, level)
    if few:
        note = (
            f"fewer than {FEW_EVENTS} events or non-events: design effect {effect:.2f}, at least "
            f"what a declared within-question correlation of {DECLARED_CORRELATION:g} gives"
        )
    else:
        note = "no variation between questions beyond the counts: design effect set to 1"
    method = f"Korn-Graubard, clustered by question, t({freedom})"
    # Rounding in the beta quantile must not push the estimate outside its own interval.
    return Interval(rate, min(low, rate), max(high, rate), level, method, note)


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


def check_counts(successes: Sequence[int], trials: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Both counts as float arrays, without the questions that have no trials.

    Raises:
        UserError: different lengths, or a count that is negative or exceeds its trials.
    """
    if len(successes) != len(trials):
        raise UserError(
            f"{len(successes)} success counts for {len(trials)} trial counts: give one of each "
            "for every question"
        )
    s, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    wrong = np.flatnonzero(~((s >= 0) & (s <= n)))
    if wrong.size:
        at = int(wrong[0])
        raise UserError(
            f"question {at}: {successes[at]} successes of {trials[at]} trials is impossible"
        )
    return s[n > 0], n[n > 0]
