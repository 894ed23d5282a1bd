"""Trigger minus plain: closed forms, a second implementation, bounds and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from condmis_jax.errors import UserError
from condmis_jax.statistics import Interval, clopper_pearson, clustered_rate, paired_difference


def limits(interval: Interval) -> tuple[float, float, float]:
    assert interval.estimate is not None
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.estimate, interval.high


def test_equal_trials_give_the_paired_t_interval() -> None:
    """With equal trials the ratio is a mean, so the textbook paired t interval must come out."""
    trigger, plain = np.array([20, 8, 31, 15, 22, 9]), np.array([6, 5, 9, 2, 12, 3])
    interval = paired_difference(trigger.tolist(), [50] * 6, plain.tolist(), [50] * 6)
    differences = (trigger - plain) / 50
    mean, error = differences.mean(), differences.std(ddof=1) / math.sqrt(6)
    half = stats.t.isf(0.025, 5) * error
    assert limits(interval) == pytest.approx((mean - half, mean, mean + half))
    assert "2/2^6 = 0.031" in interval.note


def test_unequal_trials_agree_with_a_cluster_robust_regression() -> None:
    trigger, n1 = [20, 8, 31, 15, 22, 9], [50, 33, 47, 50, 41, 50]
    plain, n0 = [6, 5, 9, 2, 12, 3], [49, 50, 50, 28, 50, 44]
    answers, arm, question = [], [], []
    for g in range(6):
        for s, n, which in ((trigger[g], n1[g], 1), (plain[g], n0[g], 0)):
            answers += [1.0] * s + [0.0] * (n - s)
            arm += [which] * n
            question += [g] * n
    fit = sm.OLS(np.array(answers), sm.add_constant(np.array(arm, float))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(question)}
    )
    low, difference, high = limits(paired_difference(trigger, n1, plain, n0))
    # statsmodels multiplies by (N-1)/(N-2) as well, for the second coefficient.
    correction = math.sqrt((len(answers) - 1) / (len(answers) - 2))
    assert difference == pytest.approx(float(fit.params[1]))
    assert (high - low) / 2 / stats.t.isf(0.025, 5) * correction == pytest.approx(
        float(fit.bse[1]), rel=1e-9
    )


def test_pairing_removes_what_questions_share() -> None:
    plain = [5, 10, 20, 25, 30, 40]
    trigger = [s + 5 + (g % 2) for g, s in enumerate(plain)]
    low, _, high = limits(paired_difference(trigger, [50] * 6, plain, [50] * 6))
    one, zero = (limits(clustered_rate(s, [50] * 6)) for s in (trigger, plain))
    assert high - low < 0.1 * min(one[2] - one[0], zero[2] - zero[0])


def test_no_events_anywhere_is_not_a_certain_zero() -> None:
    interval = paired_difference([0] * 8, [50] * 8, [0] * 8, [50] * 8)
    low, difference, high = limits(interval)
    upper = limits(clustered_rate([0] * 8, [50] * 8))[2]
    assert difference == 0
    assert (low, high) == pytest.approx((-upper, upper))
    assert "fewer than 5 events or non-events: trigger and plain" in interval.note


def test_same_shift_in_every_question_is_not_certain() -> None:
    interval = paired_difference([15, 20, 25], [50] * 3, [5, 10, 15], [50] * 3)
    low, difference, high = limits(interval)
    assert difference == pytest.approx(0.2)
    assert low < 0.2 < high


def test_one_question_combines_exact_limits() -> None:
    interval = paired_difference([30], [50], [10], [50])
    (low1, high1), (low0, high0) = (clopper_pearson(s, 50) for s in (30, 10))
    expected = (
        0.4 - math.hypot(0.6 - low1, high0 - 0.2),
        0.4,
        0.4 + math.hypot(high1 - 0.6, 0.2 - low0),
    )
    assert limits(interval) == pytest.approx(expected)
    assert "conditional on this question" in interval.note
    # The same construction with Wilson limits is statsmodels' "newcomb": close, not equal.
    near = confint_proportions_2indep(30, 50, 10, 50, method="newcomb")
    assert limits(interval)[::2] == pytest.approx(tuple(near), abs=0.03)


def test_questions_missing_from_one_arm_are_left_out_of_both() -> None:
    interval = paired_difference([20, 8, 31, 9], [50, 50, 50, 50], [6, 5, 9, 0], [50, 50, 50, 0])
    shorter = paired_difference([20, 8, 31], [50] * 3, [6, 5, 9], [50] * 3)
    assert limits(interval) == limits(shorter)
    assert interval.note.startswith("1 question(s) without answers in both arms left out")
    empty = paired_difference([1], [5], [0], [0])
    assert (empty.estimate, empty.low, empty.high) == (None, None, None)


def test_limits_hold_the_estimate_and_stay_in_range() -> None:
    rng = np.random.default_rng(7)
    for _ in range(400):
        g = int(rng.integers(1, 9))
        n1, n0 = rng.integers(0, 40, g), rng.integers(0, 40, g)
        s1, s0 = rng.binomial(n1, rng.beta(0.4, 0.4, g)), rng.binomial(n0, rng.beta(0.4, 1, g))
        interval = paired_difference(s1.tolist(), n1.tolist(), s0.tolist(), n0.tolist())
        if interval.estimate is not None:
            low, difference, high = limits(interval)
            assert -1 <= low <= difference <= high <= 1
            assert high > low


@pytest.mark.parametrize(("rate1", "rate0"), [(0.3, 0.1), (0.2, 0.005)])
def test_coverage(rate1: float, rate0: float) -> None:
    """Questions differ in how much they provoke, under the trigger and without alike."""
    rng = np.random.default_rng(99)
    draws, covered = 500, 0
    for _ in range(draws):
        provoking = rng.gamma(4, 0.25, 8)
        s1 = rng.binomial(50, np.minimum(rate1 * provoking, 1))
        s0 = rng.binomial(50, np.minimum(rate0 * provoking, 1))
        interval = paired_difference(s1.tolist(), [50] * 8, s0.tolist(), [50] * 8)
        low, _, high = limits(interval)
        # min() above trims well under 0.1 % of the mass, so the nominal difference is the truth.
        covered += low <= rate1 - rate0 <= high
    assert covered / draws >= 0.9


def test_mismatched_questions_are_an_error() -> None:
    with pytest.raises(UserError, match="2 questions with the trigger, 1 without"):
        paired_difference([1, 1], [5, 5], [1], [5])
    with pytest.raises(UserError, match="3 successes of 2 trials"):
        paired_difference([1], [5], [3], [2])
