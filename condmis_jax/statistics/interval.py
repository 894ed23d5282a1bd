"""An estimate with its interval, and exact binomial limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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

    The beta form also accepts fractional counts, which Korn & Graubard's effective sample sizes
    need.

    Args:
        successes: events, between 0 and `trials`.
        trials: observations, above 0.
        level: nominal two-sided coverage.

    Returns:
        Lower and upper limit as fractions.
    """
    tail = (1 - level) / 2
    failures = trials - successes
    low = 0.0 if successes <= 0 else float(stats.beta.ppf(tail, successes, failures + 1))
    high = 1.0 if failures <= 0 else float(stats.beta.isf(tail, successes + 1, failures))
    return low, high


def check_level(level: float) -> None:
    """Raises UserError unless `level` lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise UserError(f"interval level {level!r}: must lie strictly between 0 and 1, e.g. 0.95")
