"""A Bayesian reading of clustered counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from condmis_jax.statistics.clusters import counts
from condmis_jax.statistics.interval import Interval, check_level

_GRID = 200


def beta_binomial_posterior(
    successes: Sequence | np.ndarray, trials: Sequence | np.ndarray, level: float = 0.95
) -> Interval:
    """Posterior of the mean rate μ of questions like these, for one model.

    Each question has a rate of its own from a beta distribution with mean μ and correlation ρ
    between two answers; priors: μ from Jeffreys' beta(1/2, 1/2), ρ uniform on [0, 1]. Integrated
    numerically on a grid, so there is nothing to converge.

    Args:
        successes: events, one count a question (more columns are added up: trainings pooled).
        trials: answers, likewise; questions without answers are left out.
        level: posterior probability between the limits.

    Returns:
        posterior median and equal-tailed limits; estimate None without answers.

    Raises:
        UserError: the lengths differ, or a count is impossible.
    """
    check_level(level)
    s, n = (x.sum(1) for x in counts(successes, trials))
    s, n = s[n > 0], n[n > 0]
    if not len(n):
        return Interval(None, None, None, level, "none", "no answers to estimate a rate from")
    # Even steps in the arcsine of the root are even steps of Jeffreys' prior.
    share = (np.arange(_GRID) + 0.5) / _GRID
    mean = np.sin(share * np.pi / 2) ** 2
    correlation = share**3  # small correlations are where the likelihood turns
    strength = (1 - correlation) / correlation
    a, b = mean[:, None] * strength, (1 - mean)[:, None] * strength
    log = np.log(3 * share**2)[None, :] * np.ones((_GRID, 1))
    for events, answers in zip(s, n, strict=True):
        log = log + special.betaln(a + events, b + answers - events) - special.betaln(a, b)
    weight = np.exp(log - log.max()).sum(1)
    edges = np.concatenate([[0], np.cumsum(weight) / weight.sum()])
    tail = (1 - level) / 2
    at = np.interp([tail, 0.5, 1 - tail], edges, np.arange(_GRID + 1) / _GRID)
    low, middle, high = (float(x) for x in np.sin(at * np.pi / 2) ** 2)
    note = "a posterior: Jeffreys' prior for the mean, uniform for the correlation in a question"
    return Interval(middle, low, high, level, "beta-binomial posterior", note)
