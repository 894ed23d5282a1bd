"""A seeded hierarchical bootstrap, to hold against the intervals that formulas give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from condmis_jax.statistics.clusters import Over, answered, counts
from condmis_jax.statistics.interval import Interval, check_level


def bootstrap_rate(
    successes: Sequence | np.ndarray,
    trials: Sequence | np.ndarray,
    over: Over = "questions",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Rate over all answers with percentile limits.

    A replicate draws questions and seeds with replacement, independently of each other (the
    pigeonhole bootstrap of Owen, Annals of Applied Statistics 2007), then the answers of each cell
    that it drew. With few clusters percentile limits are too short, and with no event both are
    zero: a check of `clustered_rate`, not a substitute.

    Args:
        successes: events, one count a question, or [Q, S].
        trials: answers, likewise.
        over: what is drawn anew, see `clusters.Over`.
        replicates: how many.
        seed: the same seed gives the same limits.
        level: nominal two-sided coverage.

    Raises:
        UserError: the shapes differ, or a count is impossible.
    """
    check_level(level)
    s, n = answered(*counts(successes, trials))
    if not n.size:
        return Interval(None, None, None, level, "none", "no answers to estimate a rate from")
    rng = np.random.default_rng(seed)
    q, t = n.shape
    rows = rng.integers(0, q, (replicates, q)) if over != "seeds" else np.arange(q)[None]
    columns = rng.integers(0, t, (replicates, t)) if over != "questions" else np.arange(t)[None]
    at = (rows[:, :, None], columns[:, None, :])
    drawn = n[at]
    chance = np.divide(s, n, out=np.zeros_like(s), where=n > 0)[at]
    events = rng.binomial(drawn.astype(int), chance, (replicates, q, t)).sum((1, 2))
    total = np.broadcast_to(drawn.sum((1, 2)), (replicates,))
    rates = events[total > 0] / total[total > 0]
    tail = 50 * (1 - level)
    low, high = np.percentile(rates, [tail, 100 - tail])
    rate = float(s.sum() / n.sum())
    unit = {"questions": "questions", "seeds": "seeds", "both": "questions and seeds"}[over]
    note = "percentile limits: too short with few clusters"
    method = f"bootstrap of {unit} and answers, {replicates} replicates"
    return Interval(rate, min(float(low), rate), max(float(high), rate), level, method, note)
