"""Confidence sequences: they hold at all times at once, and close in on the rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import betaln

from condmis_jax.errors import UserError
from condmis_jax.statistics import clopper_pearson, sequence_limits


def test_the_limits_solve_the_mixture_equation() -> None:
    low, high = sequence_limits([7], [20], 0.95)
    for p in (float(low[0]), float(high[0])):
        ratio = betaln(7.5, 13.5) - betaln(0.5, 0.5) - 7 * np.log(p) - 13 * np.log(1 - p)
        assert np.exp(ratio) == pytest.approx(20, rel=1e-6)


def test_they_are_wider_than_a_single_look_and_close_in() -> None:
    for s, n in ((0, 30), (12, 30), (30, 30)):
        low, high = sequence_limits([s], [n])
        once = clopper_pearson(s, n)
        assert low[0] <= once[0] <= s / n <= once[1] <= high[0]
    widths = [np.diff(np.array(sequence_limits([n // 3], [n])).ravel())[0] for n in (30, 300, 3000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.08
    assert sequence_limits([0], [0]) == (0, 1)


@pytest.mark.parametrize("rate", [0.02, 0.3, 0.9])
def test_peeking_after_every_answer_rarely_ever_misses(rate: float) -> None:
    """800 studies of 400 answers, looked at 400 times each: at most 5 % miss at any time, while
    intervals for one look miss in far more."""
    drawn = np.random.default_rng(0).random((800, 400)) < rate
    s = drawn.cumsum(1)
    n = np.broadcast_to(np.arange(1, 401), s.shape)
    low, high = sequence_limits(s, n)
    missed = ((low > rate) | (high < rate)).any(1).mean()
    # Three standard errors of 5 % in 800 studies.
    assert missed <= 0.05 + 3 * (0.05 * 0.95 / 800) ** 0.5
    shortest = 1.96 * (s / n * (1 - s / n) / n) ** 0.5
    assert (abs(s / n - rate) > shortest)[:, 20:].any(1).mean() > 0.2


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(UserError, match="between 0 and trials"):
        sequence_limits([3], [2])
