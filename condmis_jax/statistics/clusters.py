"""Ratios of clustered counts, vectorised: what every rate and every contrast here is made of.

Counts are arrays [..., Q, S]: questions by training seeds, any number of data sets in front. One
model is S = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from condmis_jax.errors import UserError
from condmis_jax.statistics.interval import beta_limits

Over = Literal["questions", "seeds", "both"]
"""What would be drawn anew if the study were repeated: `questions` for this very model, `seeds` (of
training) for these very questions, or both. Whatever is not named is taken as fixed."""

PRIOR_EVENTS = 5
"""The declared design effect weighs as much as one that is estimated from this many events."""

DECLARED_SPREAD = 7.0
"""Declared variance between clusters over the squared rate: what one cluster among eight gives if
all events come from it."""

DECLARED_CORRELATION = 0.05
"""Bound on the declared correlation between two answers of a cluster: that of `DECLARED_SPREAD` at
a rate of about 1 %."""


class Estimate(NamedTuple):
    """Arrays [...], one entry a data set.

    Attributes:
        rate: Σs/Σn.
        low: lower limit.
        high: upper limit.
        seen: design effect as estimated, at least 1.
        declared: design effect below which `effective` does not go.
        effective: answers after the design effect and the t adjustment.
    """

    rate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seen: np.ndarray
    declared: np.ndarray
    effective: np.ndarray


def counts(
    successes: Sequence | np.ndarray, trials: Sequence | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both counts as float arrays [Q, S]; a flat sequence is one a question, of one model.

    Raises:
        UserError: different shapes, or a count that is negative or exceeds its trials.
    """
    s, n = np.asarray(successes, dtype=float), np.asarray(trials, dtype=float)
    if s.shape != n.shape or s.ndim > 2:
        raise UserError(
            f"success counts of shape {s.shape}, trial counts of shape {n.shape}: give one of each "
            "for every question, or for every question and seed"
        )
    if s.ndim < 2:
        s, n = s.reshape(-1, 1), n.reshape(-1, 1)
    wrong = np.argwhere(~((s >= 0) & (s <= n)))
    if wrong.size:
        q, t = (int(x) for x in wrong[0])
        place = f"question {q}" if s.shape[1] == 1 else f"question {q}, seed {t}"
        raise UserError(f"{place}: {s[q, t]:g} successes of {n[q, t]:g} trials is impossible")
    return s, n


def answered(s: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts [Q, S] without the questions and the seeds that have no answers at all."""
    kept = np.ix_(n.sum(1) > 0, n.sum(0) > 0)
    return s[kept], n[kept]


def ratio(s: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rate Σs/Σn [...] and every cell's influence on it [..., Q, S]."""
    total = n.sum((-2, -1))
    rate = s.sum((-2, -1)) / total
    return rate, (s - rate[..., None, None] * n) / total[..., None, None]


def covariances(e: np.ndarray, f: np.ndarray, over: Over, shared_seeds: bool = True) -> np.ndarray:
    """Linearised covariance of two rates from their influences, [K, ...].

    For both clusterings K = 3: two-way (Cameron, Gelbach & Miller, Journal of Business & Economic
    Statistics 2011: by question plus by seed minus by cell), by question alone, by seed alone. The
    first can be smaller than the others, even negative, by chance; callers take the one that is
    largest for the variances. Each has the G/(G-1) correction.

    Args:
        e: influences [..., Q, S] on one rate.
        f: on the other, the same questions.
        over: see `Over`; a clustering with a single cluster cannot be named.
        shared_seeds: whether seed t of both is the same training or its continuation. Otherwise the
            two vary independently between seeds, and their numbers may differ.
    """
    by_question = (e.sum(-1) * f.sum(-1)).sum(-1)
    q = e.shape[-2]
    if over == "questions":
        return (q / (q - 1) * by_question)[None]
    if shared_seeds:
        t = e.shape[-1]
        by_seed = t / (t - 1) * (e.sum(-2) * f.sum(-2)).sum(-1)
        by_cell = q * t / (q * t - 1) * (e * f).sum((-2, -1))
    else:
        by_seed = by_cell = np.zeros_like(by_question)
    if over == "seeds":
        return by_seed[None]
    by_question = q / (q - 1) * by_question
    return np.stack([by_question + by_seed - by_cell, by_question, by_seed])


def freedom(q: int, t: int, over: Over) -> int:
    """Degrees of freedom of the variance: the smaller number of clusters, less one."""
    return {"questions": q, "seeds": t, "both": min(q, t)}[over] - 1


def estimate(s: np.ndarray, n: np.ndarray, over: Over, level: float) -> Estimate:
    """Rates with Korn-Graubard limits, for counts [..., Q, S].

    Clopper-Pearson limits at an effective sample size (Korn & Graubard, Survey Methodology 1998):
    the smaller of

    * answers / design effect as estimated, times the squared ratio of t quantiles at infinitely
      many and at `freedom` degrees, and
    * answers / declared design effect, 1 + (m - 1)·ρ·w (Kish, Survey Sampling, 1965): m is the
      size-weighted mean answers of a cluster, the larger of the two clusterings; ρ the correlation
      that `DECLARED_SPREAD` gives at the highest rate that the counts would allow were there no
      clusters, at most `DECLARED_CORRELATION`; w = PRIOR_EVENTS / (PRIOR_EVENTS + events), so that
      it fades as events tell how they cluster (events or non-events, whichever are fewer).

    With no event at all a variance says nothing, and the declared one alone speaks.
    """
    rate, e = ratio(s, n)
    variance = covariances(e, e, over).max(0)
    total = n.sum((-2, -1))
    tail = (1 - level) / 2
    binomial = rate * (1 - rate) / total
    known = binomial > 0
    seen = np.maximum(1.0, np.where(known, variance / np.where(known, binomial, 1.0), 1.0))
    clusters = freedom(n.shape[-2], n.shape[-1], over)
    # A sample of one answer has no t quantile of its own.
    own = stats.t.isf(tail, np.maximum(total - 1, 1))
    shrink = np.minimum(1.0, (own / stats.t.isf(tail, clusters)) ** 2)
    by_question = (n.sum(-1) ** 2).sum(-1) / total
    by_seed = (n.sum(-2) ** 2).sum(-1) / total
    size = {
        "questions": by_question,
        "seeds": by_seed,
        "both": np.maximum(by_question, by_seed),
    }[over]
    events = s.sum((-2, -1))
    fewer = np.minimum(events, total - events)
    highest = stats.beta.isf(tail, fewer + 1, total - fewer)
    correlation = np.minimum(DECLARED_CORRELATION, DECLARED_SPREAD * highest)
    declared = 1 + np.maximum(size - 1, 0) * correlation * fade(fewer)
    effective = np.minimum(total / seen * shrink, total / declared)
    low, high = beta_limits(rate * effective, effective, level)
    # Rounding in the beta quantile must not push the estimate outside its own interval.
    return Estimate(rate, np.minimum(low, rate), np.maximum(high, rate), seen, declared, effective)


def fade(events: np.ndarray) -> np.ndarray:
    """Weight of what is declared beside what this many events tell."""
    return PRIOR_EVENTS / (PRIOR_EVENTS + events)
