"""Area under the ROC curve: by hand, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from condmis_jax.statistics import auroc


def test_area_by_hand_with_ties() -> None:
    # 3 wins against all three, 2 against two and ties with one: 5.5 of 6 pairs.
    assert auroc([3, 2], [1, 2, 0]).estimate == pytest.approx(5.5 / 6)


@pytest.mark.parametrize(("high", "low", "area"), [([2, 3], [0, 1], 1.0), ([0, 1], [2, 3], 0.0)])
def test_a_perfect_order_keeps_an_interval(high, low, area) -> None:
    found = auroc(high, low)
    assert found.estimate == area and found.low is not None and found.high is not None
    assert (found.low, found.high)[int(area)] == area
    assert 0.3 < found.high - found.low < 1


def test_no_answers_of_a_kind_have_no_area() -> None:
    found = auroc([], [1.0])
    assert found.estimate is None and "0 answers of one kind" in found.note


@pytest.mark.parametrize("apart", [0.0, 1.2, 2.5])
def test_the_interval_covers(apart: float) -> None:
    rng = np.random.default_rng(0)
    truth = float(stats.norm.cdf(apart / 2**0.5))
    covered = []
    for _ in range(500):
        found = auroc(rng.normal(apart, 1, 14), rng.normal(0, 1, 20))
        assert found.low is not None and found.high is not None
        covered.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.99
