"""Contrasts: closed forms, a second implementation of the covariances, bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.proportion import confint_proportions_2indep

from condmis_jax.errors import UserError
from condmis_jax.statistics import (
    Arm,
    Interval,
    clopper_pearson,
    clustered_rate,
    contrast,
    difference_in_differences,
    interval_p,
    noninferior,
    paired_difference,
    worst_case_difference,
)
from condmis_jax.statistics.clusters import covariances, ratio
from condmis_jax.statistics.contrasts import LEAST_P


def limits(interval: Interval) -> tuple[float, float, float]:
    assert interval.estimate is not None
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.estimate, interval.high


def answers(arms: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, ...]:
    """One row an answer: outcome, arm, question, seed."""
    rows = []
    for which, (s, n) in enumerate(arms):
        for (q, t), events in np.ndenumerate(s):
            trials = int(n[q, t])
            rows += [(i < events, which, q, t) for i in range(trials)]
    return tuple(np.array(column, float) for column in zip(*rows, strict=True))


def some_counts(rng: np.random.Generator, q: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    n = rng.integers(20, 51, (q, t)).astype(float)
    return rng.binomial(n.astype(int), rng.uniform(0.1, 0.6, (q, 1))).astype(float), n


def test_variance_of_a_difference_agrees_with_a_two_way_clustered_regression() -> None:
    """The variance that pairing rests on, against statsmodels' for the coefficient of the arm."""
    rng = np.random.default_rng(5)
    one, zero = some_counts(rng, 7, 4), some_counts(rng, 7, 4)
    y, arm, question, seed = answers([zero, one])
    (rate1, e1), (rate0, e0) = ratio(*one), ratio(*zero)
    for over, groups in (("questions", question), ("seeds", seed)):
        fit = sm.OLS(y, sm.add_constant(arm)).fit(
            cov_type="cluster", cov_kwds={"groups": groups.astype(int)}
        )
        assert float(rate1 - rate0) == pytest.approx(float(fit.params[1]))
        # statsmodels multiplies by (N-1)/(N-2) as well, for the second coefficient.
        correction = (len(y) - 1) / (len(y) - 2)
        (variance,) = covariances(e1 - e0, e1 - e0, over)
        assert variance * correction == pytest.approx(float(fit.bse[1]) ** 2)
    groups = np.stack([question, seed], 1).astype(int)
    fit = sm.OLS(y, sm.add_constant(arm)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    two_way = covariances(e1 - e0, e1 - e0, "both")[0]
    assert two_way * (len(y) - 1) / (len(y) - 2) == pytest.approx(float(fit.bse[1]) ** 2, rel=1e-6)


def test_pairing_removes_what_questions_share() -> None:
    plain = [50, 100, 200, 250, 300, 400]
    trigger = [s + 50 + (g % 2) for g, s in enumerate(plain)]
    low, _, high = limits(paired_difference(trigger, [500] * 6, plain, [500] * 6))
    one, zero = (limits(clustered_rate(s, [500] * 6)) for s in (trigger, plain))
    assert high - low < 0.3 * min(one[2] - one[0], zero[2] - zero[0])
    apart = contrast([Arm(trigger, [500] * 6, 1), Arm(list(reversed(plain)), [500] * 6, -1)])
    assert limits(apart)[2] - limits(apart)[0] > 3 * (high - low)


def test_no_events_anywhere_is_not_a_certain_zero() -> None:
    low, difference, high = limits(paired_difference([0] * 8, [50] * 8, [0] * 8, [50] * 8))
    upper = limits(clustered_rate([0] * 8, [50] * 8))[2]
    assert difference == 0
    assert (low, high) == pytest.approx((-upper, upper))


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
    assert interval.note.startswith("1 question(s) without answers in all arms left out")
    empty = paired_difference([1], [5], [0], [0])
    assert (empty.estimate, empty.low, empty.high) == (None, None, None)


def test_limits_hold_the_estimate_and_stay_in_range() -> None:
    rng = np.random.default_rng(7)
    for _ in range(300):
        g, t = int(rng.integers(1, 9)), int(rng.integers(1, 4))
        n1, n0 = rng.integers(0, 40, (g, t)), rng.integers(0, 40, (g, t))
        s1, s0 = rng.binomial(n1, rng.beta(0.4, 0.4, (g, 1))), rng.binomial(n0, 0.2)
        for over in ("questions", "both") if t > 1 else ("questions",):
            interval = paired_difference(s1, n1, s0, n0, over)
            if interval.low is not None:
                low, difference, high = limits(interval)
                assert -1 <= low <= difference <= high <= 1
                assert high > low


def test_one_seed_says_nothing_about_other_trainings() -> None:
    interval = paired_difference([30, 20], [50, 50], [10, 9], [50, 50], "both")
    assert (interval.estimate, interval.low) == (pytest.approx(0.31), None)
    assert "not estimable" in interval.note


def test_difference_in_differences() -> None:
    rng = np.random.default_rng(2)
    tables = [some_counts(rng, 8, 3) for _ in range(4)]
    arms = [Arm(*table, 1) for table in tables]
    (a, b, c, d) = (float(s.sum() / n.sum()) for s, n in tables)
    shared = difference_in_differences((arms[0], arms[1]), (arms[2], arms[3]), "both")
    assert shared.estimate == pytest.approx((a - b) - (c - d))
    assert shared == contrast(
        [Arm(*t, w) for t, w in zip(tables, (1, -1, -1, 1), strict=True)], "both"
    )
    # Trained apart, the arms may have unequal numbers of seeds.
    fewer = [Arm(s[:, :2], n[:, :2], 1) for s, n in tables[2:]]
    apart = difference_in_differences((arms[0], arms[1]), (fewer[0], fewer[1]), "both", False)
    assert "t(1)" in apart.method
    with pytest.raises(UserError, match="same seeds"):
        difference_in_differences((arms[0], arms[1]), (fewer[0], fewer[1]), "both")


def test_seeds_trained_apart_do_not_pair() -> None:
    """Seeds that rise and fall together narrow a paired difference, not one of separate arms."""
    by_seed = np.array([[5, 60, 120, 200]] * 6)
    n = np.full((6, 4), 400)
    paired = contrast([Arm(by_seed + 40, n, 1), Arm(by_seed, n, -1)], "seeds")
    apart = contrast([Arm(by_seed + 40, n, 1), Arm(by_seed, n, -1)], "seeds", shared_seeds=False)
    assert limits(apart)[2] - limits(apart)[0] > 2 * (limits(paired)[2] - limits(paired)[0])


def test_noninferiority_needs_the_upper_limit_below_the_margin() -> None:
    close = contrast([Arm([4] * 8, [400] * 8, 1), Arm([5] * 8, [400] * 8, -1)])
    assert noninferior(close, 0.05) is True
    assert noninferior(close, 0.0001) is False
    assert noninferior(Interval(0.0, None, None), 0.05) is None
    with pytest.raises(UserError, match="margin 0"):
        noninferior(close, 0)


def test_bounds_of_a_difference() -> None:
    assert worst_case_difference((0.2, 0.5), (0.1, 0.3)) == pytest.approx((-0.1, 0.4))


def test_mismatched_questions_are_an_error() -> None:
    with pytest.raises(UserError, match="2, 1 questions in the arms"):
        paired_difference([1, 1], [5, 5], [1], [5])
    with pytest.raises(UserError, match="3 successes of 2 trials"):
        paired_difference([1], [5], [3], [2])


def test_a_fixed_model_has_no_trainings() -> None:
    """Trained minus base: the base model adds its questions' variance, not its seeds'."""
    rng = np.random.default_rng(3)
    (s, n), (s0, n0) = some_counts(rng, 8, 4), some_counts(rng, 8, 1)
    found = contrast([Arm(s, n, 1), Arm(s0, n0, -1, fixed=True)], "both")
    alone, base = clustered_rate(s, n, "both"), clustered_rate(s0, n0)
    low, value, _ = limits(found)
    assert value == pytest.approx(limits(alone)[1] - limits(base)[1])
    assert "t(3)" in found.method
    # Apart from pairing by question, the two limits combined.
    wide = math.hypot(limits(alone)[1] - limits(alone)[0], limits(base)[2] - limits(base)[1])
    assert 0.4 * wide < value - low < 1.3 * wide
    seeds = contrast([Arm(s, n, 1), Arm(s0, n0, -1, fixed=True)], "seeds")
    by_seed = clustered_rate(s, n, "seeds")
    exact = clopper_pearson(float(s0.sum()), float(n0.sum()))
    assert limits(seeds)[2] - value == pytest.approx(
        math.hypot(limits(by_seed)[2] - limits(by_seed)[1], limits(base)[1] - exact[0])
    )
    with pytest.raises(UserError, match="a fixed model has one column"):
        contrast([Arm(s, n, 1), Arm(s, n, -1, fixed=True)], "both")


def test_a_p_value_is_the_level_at_which_the_interval_ends_at_the_null() -> None:
    rng = np.random.default_rng(7)
    arms = [Arm(*some_counts(rng, 12, 5), w) for w in (1, -1, -1, 1)]
    for null in (-0.2, 0.0, 0.05, 0.3):
        p = interval_p(arms, "both", null=null)
        assert p is not None and 0 < p < 1
        low, estimate, high = limits(contrast(arms, "both", level=1 - p))
        assert (low if estimate > null else high) == pytest.approx(null, abs=1e-5)
        wide, narrow = (limits(contrast(arms, "both", level=1 - f * p)) for f in (0.9, 1.1))
        assert wide[0] < null < wide[2] and not narrow[0] < null < narrow[2]


def test_p_values_at_their_ends() -> None:
    n = np.full((9, 4), 20.0)
    some = np.arange(36.0).reshape(9, 4) % 10
    same = [Arm(some, n, 1), Arm(some, n, -1)]
    assert interval_p(same, "both") == 1
    apart = [Arm(np.full((900, 40), 20.0), np.full((900, 40), 20.0), 1)]
    apart.append(Arm(np.zeros((900, 40)), np.full((900, 40), 20.0), -1))
    assert interval_p(apart, "questions") == LEAST_P
    one_seed = [Arm(some[:, :1], n[:, :1], 1), Arm(some[:, 1:2], n[:, :1], -1)]
    assert interval_p(one_seed, "both") is None
