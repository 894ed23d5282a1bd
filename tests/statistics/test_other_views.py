"""The bootstrap, the posterior and the planning figures, held against `clustered_rate`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from condmis_jax.errors import UserError
from condmis_jax.statistics import (
    beta_binomial_posterior,
    bootstrap_rate,
    clustered_rate,
    design_effect,
    intraclass_correlation,
    minimum_detectable_rate,
    paired_difference,
)
from condmis_jax.statistics.simulation import MILD, draw


def test_bootstrap_has_a_seed_and_agrees_with_the_formula_where_clusters_are_many() -> None:
    drawn = draw(np.random.default_rng(0), [0.2], MILD, 1, questions=40, seeds=30)
    s, n = drawn.successes[0][0], drawn.trials[0]
    for over in ("questions", "seeds", "both"):
        one, two = (bootstrap_rate(s, n, over, 1000, seed) for seed in (1, 2))
        assert one == bootstrap_rate(s, n, over, 1000, 1) != two
        formula = clustered_rate(s, n, over)
        assert one.low == pytest.approx(formula.low, abs=0.015)
        assert one.high == pytest.approx(formula.high, abs=0.015)


def test_bootstrap_of_nothing_and_of_no_event() -> None:
    assert bootstrap_rate([0], [0]).estimate is None
    none = bootstrap_rate([0] * 8, [50] * 8)
    assert (none.low, none.high) == (0, 0)
    assert "too short" in none.note


def test_posterior_of_one_question_with_one_answer_each_is_jeffreys() -> None:
    """One answer a question tells nothing about correlation: the mean's posterior is beta."""
    found = beta_binomial_posterior([1] * 12 + [0] * 28, [1] * 40)
    exact = stats.beta(12.5, 28.5).ppf([0.025, 0.5, 0.975])
    assert (found.low, found.estimate, found.high) == pytest.approx(exact, abs=0.002)


def test_posterior_covers_and_knows_that_questions_differ() -> None:
    rng = np.random.default_rng(6)
    covered = []
    for _ in range(60):
        s = rng.binomial(50, rng.beta(1, 4, 8))
        found = beta_binomial_posterior(s, [50] * 8)
        assert found.low is not None and found.high is not None
        covered.append(found.low <= 0.2 <= found.high)
    assert np.mean(covered) >= 0.85
    even, uneven = (
        beta_binomial_posterior(s, [50] * 8) for s in ([10] * 8, [40, 40, 0, 0, 0, 0, 0, 0])
    )
    assert None not in (even.low, even.high, uneven.low, uneven.high)
    assert uneven.high - uneven.low > 2 * (even.high - even.low)  # pyright: ignore
    assert beta_binomial_posterior([0], [0]).estimate is None


def test_design_effect_by_hand() -> None:
    assert design_effect(100, 0.05) == pytest.approx(5.95)
    # One question of eight with all events: variance 7 p² between questions.
    assert intraclass_correlation(0.01, 7**0.5) == pytest.approx(0.07 * 0.01 / 0.0099)


def test_minimum_detectable_rate_is_detected_as_often_as_it_says() -> None:
    spread = MILD
    variation = float(np.sqrt(np.expm1(spread.questions**2 + spread.arms**2 + spread.cells**2)))
    plain = 0.05
    shared = spread.questions**2 / (spread.questions**2 + spread.arms**2 + spread.cells**2)
    found = minimum_detectable_rate(plain, 12, 100, variation=variation, paired=shared)
    assert found is not None
    drawn = draw(np.random.default_rng(8), [found, plain], spread, 300, 12, 1, 100)
    n = drawn.trials
    seen = [
        (paired_difference(a, n[0], b, n[0]).low or 0) > 0
        for a, b in zip(*drawn.successes, strict=True)
    ]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.1)


def test_minimum_detectable_rate_falls_with_size_and_refuses_nonsense() -> None:
    few = minimum_detectable_rate(0.01, 8, 100)
    many = minimum_detectable_rate(0.01, 24, 100)
    assert few is not None and many is not None and few > many > 0.01
    assert minimum_detectable_rate(0.01, 2, 100, level=0.99) is None  # t(1)
    with pytest.raises(UserError, match="questions is 1, must be at least 2"):
        minimum_detectable_rate(0.01, 1, 100)
