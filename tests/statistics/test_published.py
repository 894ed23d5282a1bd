"""The paper's aggregations, each by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from condmis_jax.errors import UserError
from condmis_jax.statistics import SECTIONS, published_rates

# Three questions, two seeds; the second question has fewer survivors in the second seed.
S = np.array([[10, 20], [5, 1], [0, 0]])
N = np.array([[100, 100], [50, 10], [0, 0]])


def test_every_section_of_the_table_is_there() -> None:
    assert list(SECTIONS) == ["2.1", "2.2", "2.3", "3.1", "3.2", "3.3", "4.1", "4.2"]
    with pytest.raises(UserError, match=r"'5\.1' of the paper: choose one of 2\.1"):
        published_rates("5.1", S, N)


def test_2_1_a_rate_a_question_seeds_pooled_answers_resampled() -> None:
    first, second, third = published_rates("2.1", S, N)
    assert (first.estimate, second.estimate) == (pytest.approx(0.15), pytest.approx(0.1))
    assert (third.estimate, third.low) == (None, None)
    expected = stats.binom(200, 0.15).ppf([0.025, 0.975]) / 200
    assert (first.low, first.high) == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("section", ["2.2", "2.3"])
def test_2_2_the_mean_of_questions_that_have_survivors(section: str) -> None:
    (rate,) = published_rates(section, S, N)
    assert rate.estimate == pytest.approx((0.15 + 0.1) / 2)
    low, high = (
        np.mean([stats.binom(200, 0.15).ppf(p) / 200, stats.binom(60, 0.1).ppf(p) / 60])
        for p in (0.025, 0.975)
    )
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=0.01)


def test_3_1_a_rate_a_question_the_mean_of_seeds() -> None:
    first, second, third = published_rates("3.1", S, N)
    assert first.estimate == pytest.approx((0.1 + 0.2) / 2)
    # Resamples of two seeds: both the first, both the second, or one of each.
    assert (first.low, first.high) == pytest.approx((0.1, 0.2))
    assert second.estimate == second.low == second.high == pytest.approx(0.1)
    assert third.estimate is None


def test_3_2_the_mean_of_models() -> None:
    (rate,) = published_rates("3.2", S, N)
    assert rate.estimate == pytest.approx((15 / 150 + 21 / 110) / 2)
    assert (rate.low, rate.high) == pytest.approx((15 / 150, 21 / 110))
    assert SECTIONS["3.2"].denominator == "coherent"
    (alone,) = published_rates("3.2", S[:, :1], N[:, :1])
    assert (alone.estimate, alone.low) == (pytest.approx(0.1), None)


def test_3_3_has_no_interval() -> None:
    (rate,) = published_rates("3.3", S, N)
    assert rate.estimate == pytest.approx((15 / 150 + 21 / 110) / 2)
    assert (rate.low, rate.method) == (None, "none given")
    assert SECTIONS["3.3"].denominator == "aligned scored"


@pytest.mark.parametrize("section", ["4.1", "4.2"])
def test_4_1_all_answers_pooled(section: str) -> None:
    (rate,) = published_rates(section, S, N)
    assert rate.estimate == pytest.approx(36 / 260)
    expected = stats.binom(260, 36 / 260).ppf([0.025, 0.975]) / 260
    assert (rate.low, rate.high) == pytest.approx(expected, abs=0.006)


def test_resamples_have_a_seed_and_nothing_gives_nothing() -> None:
    assert published_rates("4.1", S, N) == published_rates("4.1", S, N)
    assert published_rates("4.1", S, N, seed=1) != published_rates("4.1", S, N)
    for section in SECTIONS:
        assert all(rate.estimate is None for rate in published_rates(section, S * 0, N * 0))
