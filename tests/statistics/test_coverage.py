"""Small versions of tools/coverage.py: nominal 95 % covers at least 90, and from 5 % up at most 99.

The published tables have 20,000 studies an entry; these have fewer, so the bounds leave room for
three standard errors of the simulation."""

from __future__ import annotations

import numpy as np
import pytest

from condmis_jax.statistics.clusters import covariances, estimate, ratio
from condmis_jax.statistics.contrasts import combined
from condmis_jax.statistics.interval import wilson
from condmis_jax.statistics.simulation import MILD, STRONG, Heterogeneity, draw

STUDIES = 1500
RATES = (0, 0.002, 0.004, 0.01, 0.02, 0.05, 0.2, 0.5)
ROOM = 3 * (0.9 * 0.1 / STUDIES) ** 0.5


def coverage(low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean((low <= truth) & (truth <= high)))


@pytest.mark.parametrize("spread", [MILD, STRONG], ids=["mild", "strong"])
@pytest.mark.parametrize("rate", RATES)
def test_rates(rate: float, spread: Heterogeneity) -> None:
    for over, seeds in (("both", 5), ("seeds", 5), ("questions", 1)):
        drawn = draw(np.random.default_rng(4), [rate], spread, STUDIES, seeds=seeds)
        found = estimate(drawn.successes[0], drawn.trials, over, 0.95)
        covered = coverage(found.low, found.high, drawn.truths[over][0])
        assert covered >= 0.9 + ROOM / 3, over
        assert rate < 0.05 or covered <= 0.99 + ROOM / 3, over
    pooled = np.array([wilson(k, 800) for k in drawn.successes[0].sum((-2, -1))])
    covered = coverage(pooled[:, 0], pooled[:, 1], drawn.truths["none"][0])
    assert covered >= 0.9 + ROOM


@pytest.mark.parametrize("spread", [MILD, STRONG], ids=["mild", "strong"])
@pytest.mark.parametrize("pair", [(0, 0), (0.02, 0.002), (0.05, 0.01), (0.2, 0.01), (0.5, 0.2)])
def test_differences(pair: tuple[float, float], spread: Heterogeneity) -> None:
    for over, seeds in (("both", 5), ("questions", 1)):
        drawn = draw(np.random.default_rng(4), pair, spread, STUDIES, seeds=seeds)
        tables = [(s, drawn.trials) for s in drawn.successes]
        low, high = combined(tables, np.array([1.0, -1.0]), over, True, 0.95)
        one, zero = drawn.truths[over]
        assert coverage(low, high, one - zero) >= 0.9 + ROOM / 3, over


def test_the_simulation_finds_fault_with_methods_that_have_it() -> None:
    drawn = draw(np.random.default_rng(4), [0.01], STRONG, STUDIES)
    rate, e = ratio(drawn.successes[0], drawn.trials)
    half = 2.776 * np.sqrt(np.maximum(covariances(e, e, "both")[0], 0))
    assert coverage(rate - half, rate + half, drawn.truths["both"][0]) < 0.87
    pooled = np.array([wilson(k, 4000) for k in drawn.successes[0].sum((-2, -1))])
    assert coverage(pooled[:, 0], pooled[:, 1], drawn.truths["both"][0]) < 0.6


def test_the_population_has_the_rate_that_was_asked_for() -> None:
    drawn = draw(np.random.default_rng(0), [0.02, 0.3], STRONG, 4000)
    for s, rate in zip(drawn.successes, (0.02, 0.3), strict=True):
        assert s.mean() / 100 == pytest.approx(rate, rel=0.03)
    for over in ("questions", "seeds", "none"):
        assert drawn.truths[over][1].mean() == pytest.approx(0.3, rel=0.03)
