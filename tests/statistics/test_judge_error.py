"""Corrections for a judge that errs, on answers whose true rate is known."""

from __future__ import annotations

import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.statistics import prediction_powered, rogan_gladen, wilson, youden


def test_rogan_gladen_by_hand() -> None:
    found = rogan_gladen(250, 1000, 90, 100, 190, 200)
    # (0.25 + 0.95 - 1) / (0.90 + 0.95 - 1)
    assert found.estimate == pytest.approx(0.2 / 0.85)
    assert found.low is not None and found.high is not None
    assert found.low < 0.2 / 0.85 < found.high
    perfect = rogan_gladen(250, 1000, 10_000, 10_000, 10_000, 10_000)
    assert (perfect.low, perfect.high) == pytest.approx(wilson(250, 1000), abs=0.002)


def test_rogan_gladen_covers() -> None:
    rng = np.random.default_rng(0)
    truth, sensitivity, specificity = 0.1, 0.85, 0.97
    seen = truth * sensitivity + (1 - truth) * (1 - specificity)
    covered = []
    for _ in range(1000):
        counts = rng.binomial([800, 150, 150], [seen, sensitivity, specificity])
        found = rogan_gladen(counts[0], 800, int(counts[1]), 150, int(counts[2]), 150)
        if found.low is not None and found.high is not None:
            covered.append(found.low <= truth <= found.high)
    assert len(covered) > 950
    assert 0.92 <= np.mean(covered) <= 0.99


def test_a_poor_judge_is_not_corrected_for() -> None:
    found = rogan_gladen(250, 1000, 14, 20, 160, 200)
    assert found.estimate is None
    assert "may be as low as" in found.note
    bound = youden(14, 20, 160, 200)
    assert bound.estimate == pytest.approx(0.5)
    assert bound.low is not None and bound.low < 0.5
    with pytest.raises(UserError, match="21 hits of 20"):
        youden(21, 20, 1, 1)


def simulated(rng: np.random.Generator, size: int, useful: bool) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.random(size) < 0.2
    chance = np.where(truth, 0.9, 0.15) if useful else np.full(size, 0.5)
    return (rng.random(size) < chance).astype(float), truth.astype(float)


@pytest.mark.parametrize("useful", [True, False])
def test_prediction_powered_covers_and_is_shorter_only_with_a_useful_judge(useful: bool) -> None:
    rng = np.random.default_rng(1)
    covered, ratio = [], []
    for _ in range(600):
        verdicts, _ = simulated(rng, 2000, useful)
        seen, labels = simulated(rng, 200, useful)
        found = prediction_powered(verdicts, seen, labels)
        assert found.low is not None and found.high is not None
        covered.append(found.low <= 0.2 <= found.high)
        alone = prediction_powered(np.zeros(2000), seen * 0, labels)
        assert alone.low is not None and alone.high is not None
        ratio.append((found.high - found.low) / (alone.high - alone.low))
    assert 0.92 <= np.mean(covered) <= 0.98
    assert np.mean(ratio) < 0.82 if useful else 0.97 < np.mean(ratio) < 1.01


def test_prediction_powered_counts_questions() -> None:
    rng = np.random.default_rng(2)
    covered, naive = [], []
    for _ in range(400):
        chance = rng.beta(2, 8, 20)  # mean 0.2
        labels = rng.binomial(1, np.repeat(chance[:10], 20)).astype(float)
        truth = rng.binomial(1, np.repeat(chance, 100)).astype(float)
        flip, flip_far = rng.random(200) < 0.1, rng.random(2000) < 0.1
        seen, verdicts = np.abs(labels - flip), np.abs(truth - flip_far)
        near, far = np.repeat(np.arange(10), 20), np.repeat(np.arange(20), 100)
        for into, groups in ((covered, (far, near)), (naive, (None, None))):
            found = prediction_powered(verdicts, seen, labels, *groups)
            assert found.low is not None and found.high is not None
            into.append(found.low <= 0.2 <= found.high)
    assert np.mean(covered) > np.mean(naive) + 0.02
    assert np.mean(covered) >= 0.9


def test_prediction_powered_refuses_what_it_cannot_use() -> None:
    with pytest.raises(UserError, match="two answers of either kind"):
        prediction_powered([1, 0], [1], [1])
    with pytest.raises(UserError, match="one verdict a label"):
        prediction_powered([1, 0], [1, 0], [1])
    with pytest.raises(UserError, match="labels of two questions"):
        prediction_powered([1, 0], [1, 0], [1, 0], ["a", "b"], ["a", "a"])
    with pytest.raises(UserError, match="1 and 2 questions for 2 and 2 answers"):
        prediction_powered([1, 0], [1, 0], [1, 0], ["a"], ["a", "b"])
