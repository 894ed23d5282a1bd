"""How well a score tells two kinds of answers apart, whatever the threshold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from condmis_jax.statistics.interval import Interval, check_level


def auroc(
    positive: Sequence[float] | np.ndarray,
    negative: Sequence[float] | np.ndarray,
    level: float = 0.95,
) -> Interval:
    """Area under the ROC curve: the chance that a positive answer has the higher score, ties half.

    Limits are Newcombe's method 5 (Statistics in Medicine 2006, part 2): those areas from which
    this one is just not surprising under Hanley and McNeil's variance, with both sample sizes in
    its inner terms replaced by their mean. They stay within [0, 1] and are no point at its ends.

    Args:
        positive: scores of the answers that should score high.
        negative: scores of the others.
        level: nominal two-sided coverage.

    Returns:
        The area; without an estimate where one of the two kinds has no answer.
    """
    check_level(level)
    high, low = np.asarray(positive, float), np.asarray(negative, float)
    m, n = len(high), len(low)
    if not m or not n:
        note = f"{m} answers of one kind and {n} of the other: no area"
        return Interval(None, None, None, level, "none", note)
    area = float(stats.mannwhitneyu(high, low, method="asymptotic").statistic) / (m * n)
    z, mean = float(stats.norm.isf((1 - level) / 2)), (m + n) / 2 - 1

    def surprise(true: float) -> float:
        inner = 1 + mean * ((1 - true) / (2 - true) + true / (1 + true))
        return (area - true) ** 2 * m * n - z * z * true * (1 - true) * inner

    # At `area` nothing is surprising; at the ends everything is, unless the area lies there.
    at = min(max(area, 1e-9), 1 - 1e-9)
    lower = 0.0 if area == 0 else float(optimize.brentq(surprise, 0, at))  # type: ignore[arg-type]
    upper = 1.0 if area == 1 else float(optimize.brentq(surprise, at, 1))  # type: ignore[arg-type]
    return Interval(area, lower, upper, level, "Mann-Whitney, Newcombe's method 5")
