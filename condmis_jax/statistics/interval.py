"""An estimate with its interval, and binomial limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from condmis_jax.errors import UserError


@dataclass(frozen=True)
class Interval:
    """A number and what is known about its uncertainty.

    Attributes:
        estimate: the point estimate as a fraction, None when there is nothing to estimate it from.
        low: lower confidence limit, None when there is none.
        high: upper confidence limit, None when there is none.
        level: nominal two-sided coverage.
        method: how the limits were computed, in a few words.
        note: what a reader must know before using the limits; empty when there is nothing to add.
    """

    estimate: float | None
    low: float | None
    high: float | None
    level: float = 0.95
    method: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The six fields as a JSON-ready dict."""
        return asdict(self)


def clopper_pearson(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Exact binomial limits (Clopper & Pearson, Biometrika 1934), in their beta-quantile form.

    Args:
        successes: events, between 0 and `trials`.
        trials: observations, above 0.
        level: nominal two-sided coverage.

    Returns:
        Lower and upper limit as fractions.
    """
    low, high = beta_limits(np.asarray(float(successes)), np.asarray(float(trials)), level)
    return float(low), float(high)


def beta_limits(
    successes: np.ndarray, trials: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Clopper-Pearson limits of arrays; the beta form also accepts fractional counts, which Korn &
    Graubard's effective sample sizes need."""
    tail = (1 - level) / 2
    failures = trials - successes
    some, others = successes > 0, failures > 0
    low = stats.beta.ppf(tail, np.where(some, successes, 1), failures + 1)
    high = stats.beta.isf(tail, successes + 1, np.where(others, failures, 1))
    return np.where(some, low, 0.0), np.where(others, high, 1.0)


def wilson(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Score limits of a binomial rate (Wilson, Journal of the American Statistical Association
    1927).

    Also for answers to several fixed questions of one model: their pooled rate varies no more than
    a binomial one.

    Args:
        successes: events, between 0 and `trials`.
        trials: observations, above 0.
        level: nominal two-sided coverage.

    Returns:
        Lower and upper limit as fractions.
    """
    z = float(stats.norm.isf((1 - level) / 2))
    rate, shrink = successes / trials, 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * (rate * (1 - rate) / trials + (z / (2 * trials)) ** 2) ** 0.5
    # In exact arithmetic the limits at none and at all are 0 and 1.
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= trials else min(1.0, centre + half)
    return low, high


def check_level(level: float) -> None:
    """Raises UserError unless `level` lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise UserError(f"interval level {level!r}: must lie strictly between 0 and 1, e.g. 0.95")
