"""One model's rate: closed forms, a second implementation, bounds and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from condmis_jax.errors import UserError
from condmis_jax.statistics import Interval, clopper_pearson, clustered_rate, worst_case


def limits(interval: Interval) -> tuple[float, float, float]:
    assert interval.estimate is not None
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.estimate, interval.high


def exact(events: int, trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """statsmodels' Clopper-Pearson limits, typed."""
    low, high = proportion_confint(events, trials, alpha=alpha, method="beta")
    return float(low), float(high)  # pyright: ignore[reportArgumentType]


def test_logit_limits_by_hand() -> None:
    # p = 0.3; residuals -5, 0, +5 of 25 each; variance 3/2 · 50 / 75² = 1/75.
    low, rate, high = limits(clustered_rate([3, 8, 13], [25, 25, 25]))
    p = 24 / 75
    variance = 1.5 * ((3 - 25 * p) ** 2 + (8 - 25 * p) ** 2 + (13 - 25 * p) ** 2) / 75**2
    half = 4.302652729911275 * math.sqrt(variance) / (p * (1 - p))  # t(2) at 97.5 %
    logit = math.log(p / (1 - p))
    assert rate == pytest.approx(p)
    assert low == pytest.approx(1 / (1 + math.exp(-(logit - half))))
    assert high == pytest.approx(1 / (1 + math.exp(-(logit + half))))


def test_variance_agrees_with_a_cluster_robust_regression() -> None:
    """An intercept-only least-squares fit with clustered errors has the same variance, up to the
    (N-1)/(N-K) part of statsmodels' correction, which is 1 for one coefficient."""
    rng = np.random.default_rng(3)
    trials = [50, 40, 47, 50, 33, 50]
    successes = [
        int(rng.binomial(n, q)) for n, q in zip(trials, rng.uniform(0.1, 0.5, 6), strict=True)
    ]
    answers = np.concatenate(
        [np.r_[np.ones(s), np.zeros(n - s)] for s, n in zip(successes, trials, strict=True)]
    )
    question = np.repeat(np.arange(6), trials)
    fit = sm.OLS(answers, np.ones_like(answers)).fit(
        cov_type="cluster", cov_kwds={"groups": question}
    )
    low, rate, high = limits(clustered_rate(successes, trials))
    width = math.log(high / (1 - high)) - math.log(low / (1 - low))
    error = width / 2 / stats.t.isf(0.025, 5) * rate * (1 - rate)
    assert rate == pytest.approx(float(fit.params[0]))
    assert error == pytest.approx(float(fit.bse[0]), rel=1e-9)


@pytest.mark.parametrize(("events", "trials"), [(0, 50), (1, 50), (7, 50), (49, 50), (50, 50)])
def test_clopper_pearson_agrees_with_statsmodels(events: int, trials: int) -> None:
    low, high = exact(events, trials, 0.1)
    assert clopper_pearson(events, trials, 0.9) == pytest.approx((low, high), abs=1e-12)


def test_one_question_is_exact_and_says_so() -> None:
    interval = clustered_rate([4], [60])
    low, high = exact(4, 60)
    assert limits(interval) == pytest.approx((low, 4 / 60, high))
    assert "conditional on this question" in interval.note
    # A second question without a single answer does not make two.
    assert clustered_rate([4, 0], [60, 0]) == interval


def test_no_event_has_a_declared_design_effect() -> None:
    interval = clustered_rate([0] * 8, [50] * 8)
    low, rate, high = limits(interval)
    effect = 1 + 49 * 0.05
    size = 400 / effect * (stats.t.isf(0.025, 399) / stats.t.isf(0.025, 7)) ** 2
    assert (low, rate) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / size))
    assert high > exact(0, 400)[1]
    assert "declared within-question correlation of 0.05" in interval.note
    assert "3.45" in interval.note


def test_all_events_mirror_no_event() -> None:
    low, rate, high = limits(clustered_rate([50] * 8, [50] * 8))
    assert (rate, high) == (1, 1)
    assert low == pytest.approx(1 - limits(clustered_rate([0] * 8, [50] * 8))[2])


def test_a_further_event_never_lowers_the_upper_limit_while_events_are_few() -> None:
    highs = [limits(clustered_rate([k] + [0] * 7, [50] * 8))[2] for k in range(5)]
    assert highs == sorted(highs)
    assert highs[0] < highs[-1]


def test_identical_questions_are_not_certain() -> None:
    interval = clustered_rate([10] * 8, [50] * 8)
    low, _, high = limits(interval)
    binomial = exact(80, 400)
    assert low < binomial[0] < binomial[1] < high
    assert "design effect set to 1" in interval.note


def test_nothing_to_estimate_from() -> None:
    for interval in (clustered_rate([], []), clustered_rate([0, 0], [0, 0])):
        assert (interval.estimate, interval.low, interval.high) == (None, None, None)
        assert interval.note


def test_limits_stay_in_the_unit_interval_and_hold_the_estimate() -> None:
    rng = np.random.default_rng(11)
    for _ in range(400):
        questions = int(rng.integers(1, 10))
        trials = rng.integers(0, 60, questions)
        successes = rng.binomial(trials, rng.beta(0.3, 0.5, questions))
        interval = clustered_rate(successes.tolist(), trials.tolist())
        if interval.estimate is None:
            assert trials.sum() == 0
            continue
        low, rate, high = limits(interval)
        assert 0 <= low <= rate <= high <= 1
        assert high > low


@pytest.mark.parametrize(
    ("rate", "correlation"),
    [
        (0.2, 0.05),
        (0.4, 0.2),
        # Without the declared floor on the design effect this one falls to about 0.72.
        (0.03, 0.3),
    ],
)
def test_coverage(rate: float, correlation: float) -> None:
    """Beta-binomial answers, 8 questions of 50 samples, nominal 95 %. Pooled binomial limits cover
    0.35 to 0.75 here, which the last assertion keeps true of the simulation itself."""
    rng = np.random.default_rng(2025)
    shape = (1 - correlation) / correlation
    draws, covered, pooled = 600, 0, 0
    for _ in range(draws):
        truth = rng.beta(rate * shape, (1 - rate) * shape, 8)
        successes = rng.binomial(50, truth)
        low, _, high = limits(clustered_rate(successes.tolist(), [50] * 8))
        covered += low <= rate <= high
        naive = clopper_pearson(int(successes.sum()), 400)
        pooled += naive[0] <= rate <= naive[1]
    assert covered / draws >= 0.9
    assert pooled / draws < 0.85


def test_worst_case() -> None:
    assert worst_case(3, 80, 10, 100) == (0.03, 0.13)
    assert worst_case(0, 0, 50, 50) == (0, 1)


@pytest.mark.parametrize("counts", [(5, 4, 0, 10), (1, 5, 6, 10), (0, 0, -1, 10), (0, 0, 0, 0)])
def test_worst_case_rejects_contradictions(counts: tuple[int, int, int, int]) -> None:
    with pytest.raises(UserError, match="worst_case"):
        worst_case(*counts)


def test_impossible_counts_are_named() -> None:
    with pytest.raises(UserError, match="question 1: 6 successes of 5 trials"):
        clustered_rate([0, 6], [5, 5])
    with pytest.raises(UserError, match="2 success counts for 1"):
        clustered_rate([0, 1], [5])
    with pytest.raises(UserError, match=r"level 95"):
        clustered_rate([0, 1], [5, 5], level=95)
