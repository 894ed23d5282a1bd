"""One model's rate: closed forms, a second implementation, bounds."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from condmis_jax.errors import UserError
from condmis_jax.statistics import (
    Interval,
    clopper_pearson,
    clustered_rate,
    conditional_rate,
    effective_answers,
    wilson,
    worst_case,
)
from condmis_jax.statistics.clusters import covariances, ratio


def limits(interval: Interval) -> tuple[float, float, float]:
    assert interval.estimate is not None
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.estimate, interval.high


def exact(events: int, trials: int, alpha: float = 0.05) -> tuple[float, float]:
    """statsmodels' Clopper-Pearson limits, typed."""
    low, high = proportion_confint(events, trials, alpha=alpha, method="beta")
    return float(low), float(high)  # pyright: ignore[reportArgumentType]


def test_limits_by_hand() -> None:
    """Korn and Graubard's steps one by one, for counts where the estimated design effect rules."""
    low, rate, high = limits(clustered_rate([30, 80, 130], [250, 250, 250]))
    p = 240 / 750
    variance = 1.5 * sum((k - 250 * p) ** 2 for k in (30, 80, 130)) / 750**2
    effect = variance / (p * (1 - p) / 750)
    effective = 750 / effect * (stats.t.ppf(0.975, 749) / 4.302652729911275) ** 2
    expected = proportion_confint(p * effective, effective, method="beta")
    assert rate == pytest.approx(p)
    assert (low, high) == pytest.approx(expected, rel=1e-6)


def some_counts() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    trials = rng.integers(30, 51, (6, 4))
    return rng.binomial(trials, rng.uniform(0.1, 0.5, (6, 1))), trials


def test_variances_agree_with_cluster_robust_regressions() -> None:
    """An intercept-only least-squares fit with clustered errors has the same variances, by
    question, by seed and two-way (statsmodels' factor (N-1)/(N-K) is 1 for one coefficient)."""
    s, n = some_counts()
    cells = list(np.ndindex(s.shape))
    answers = np.concatenate([np.r_[np.ones(s[c]), np.zeros(n[c] - s[c])] for c in cells])
    groups = np.repeat(np.array(cells), [n[c] for c in cells], axis=0)
    rate, e = ratio(s.astype(float), n.astype(float))
    two_way, by_question, by_seed = covariances(e, e, "both")
    for variance, group in (
        (two_way, groups),
        (by_question, groups[:, 0]),
        (by_seed, groups[:, 1]),
    ):
        fit = sm.OLS(answers, np.ones_like(answers)).fit(
            cov_type="cluster", cov_kwds={"groups": group}
        )
        assert rate == pytest.approx(float(fit.params[0]))
        assert variance == pytest.approx(float(fit.bse[0]) ** 2, rel=1e-9)


def test_two_way_is_never_shorter_than_either_clustering() -> None:
    s, n = some_counts()
    both = limits(clustered_rate(s, n, "both"))
    for over in ("questions", "seeds"):
        one = limits(clustered_rate(s, n, over))
        assert both[1] == one[1]
        assert both[0] <= one[0] + 0.02 and both[2] >= one[2] - 0.02
    assert "by question and seed, t(3)" in clustered_rate(s, n, "both").method
    # The order of questions and of seeds means nothing.
    rng = np.random.default_rng(0)
    q, t = rng.permutation(6), rng.permutation(4)
    assert limits(clustered_rate(s[q][:, t], n[q][:, t], "both")) == pytest.approx(both)


def test_one_seed_says_nothing_about_other_trainings() -> None:
    for over in ("both", "seeds"):
        interval = clustered_rate([3, 9], [50, 50], over)
        assert (interval.estimate, interval.low, interval.high) == (0.12, None, None)
        assert "not estimable" in interval.note


def test_one_question_of_several_trainings_is_clustered_by_seed() -> None:
    s, n = [[3, 9, 7, 1]], [[50, 50, 50, 50]]
    interval = clustered_rate(s, n, "both")
    assert limits(interval) == limits(clustered_rate(s, n, "seeds"))
    assert "conditional on this question" in interval.note


def test_conditional_rate_is_wilson() -> None:
    interval = conditional_rate([3, 9, 0], [50, 50, 50])
    low, high = proportion_confint(12, 150, method="wilson")
    assert limits(interval) == pytest.approx((low, 0.08, high))
    assert wilson(0, 50)[0] == 0 and wilson(50, 50)[1] == 1
    assert wilson(0, 50)[1] == pytest.approx(proportion_confint(0, 50, method="wilson")[1])
    assert conditional_rate([0], [0]).estimate is None


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
    interval = clustered_rate([0] * 8, [100] * 8)
    low, rate, high = limits(interval)
    # One misaligned question among eight, at the highest rate that 0 of 800 allows.
    effect = 1 + 99 * 7 * (1 - 0.025 ** (1 / 800))
    assert (low, rate) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (effect / 800))
    assert high > exact(0, 800)[1]
    assert "the declared design effect is larger" in interval.note
    assert clustered_rate([30, 80, 130], [250, 250, 250]).note == ""
    # At most what a correlation of 0.05 gives.
    assert limits(clustered_rate([0] * 8, [20] * 8))[2] == pytest.approx(
        1 - 0.025 ** ((1 + 19 * 0.05) / 160)
    )


def test_all_events_mirror_no_event() -> None:
    low, rate, high = limits(clustered_rate([50] * 8, [50] * 8))
    assert (rate, high) == (1, 1)
    assert low == pytest.approx(1 - limits(clustered_rate([0] * 8, [50] * 8))[2])


@pytest.mark.parametrize("shape", [(8, 1), (8, 5)])
def test_a_further_event_never_lowers_the_upper_limit(shape: tuple[int, int]) -> None:
    """Spread over questions and seeds, from none to two a cell: no jump anywhere."""
    over = "both" if shape[1] > 1 else "questions"
    trials = np.full(shape, 100)
    highs = []
    order = np.random.default_rng(1).permutation(trials.size)
    for k in range(2 * trials.size):
        s = np.zeros(trials.size)
        np.add.at(s, order[np.arange(k) % trials.size], 1)
        highs.append(limits(clustered_rate(s.reshape(shape), trials, over))[2])
    assert np.all(np.diff(highs) > -0.0005)
    assert max(np.diff(highs)) < 0.01
    assert highs[0] < highs[-1]


def test_more_trainings_without_an_event_lower_the_upper_limit() -> None:
    highs = [
        limits(clustered_rate(np.zeros((8, t)), np.full((8, t), 100), "both"))[2]
        for t in (3, 4, 5, 8)
    ]
    assert highs == sorted(highs, reverse=True)
    assert highs[0] < limits(clustered_rate([0] * 8, [100] * 8))[2]


def test_identical_questions_are_not_certain() -> None:
    low, _, high = limits(clustered_rate([10] * 8, [50] * 8))
    binomial = exact(80, 400)
    assert low < binomial[0] < binomial[1] < high


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
    with pytest.raises(UserError, match=r"shape \(2,\), trial counts of shape \(1,\)"):
        clustered_rate([0, 1], [5])
    with pytest.raises(UserError, match="question 0, seed 1: 6 successes of 5 trials"):
        clustered_rate([[0, 6]], [[5, 5]])
    with pytest.raises(UserError, match=r"level 95"):
        clustered_rate([0, 1], [5, 5], level=95)


@pytest.mark.parametrize("over", ["seeds", "both"])
def test_two_or_three_seeds_come_with_advice(over) -> None:
    rng = np.random.default_rng(0)

    def note(seeds: int) -> str:
        return clustered_rate(rng.binomial(50, 0.4, (8, seeds)), np.full((8, seeds), 50), over).note

    # t(1) = 12.71, t(2) = 4.30, t(4) = 2.78, beside 1.96.
    assert "2 training seeds: " in note(2) and "6.5 times" in note(2)
    assert "2.2 times" in note(3) and "5 seeds 1.4 times" in note(3)
    assert "training seeds" not in note(4)
    assert "training seeds" not in clustered_rate([20, 30], [50, 50]).note


def test_effective_answers_are_those_of_the_interval() -> None:
    s, n = [30, 80, 130], [250, 250, 250]
    few = effective_answers(s, n)
    found = clustered_rate(s, n)
    expected = proportion_confint(0.32 * few, few, method="beta")
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-6)
    assert few < 30  # 750 answers of three questions that differ much
    assert effective_answers([3], [50]) == 50
    assert effective_answers(*some_counts(), "both") <= effective_answers(*some_counts())
    with pytest.raises(UserError, match="nothing varies by seed"):
        effective_answers([1, 2], [5, 5], "seeds")
    with pytest.raises(UserError, match="0 answers"):
        effective_answers([0], [0])
