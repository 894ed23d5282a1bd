"""The race between triggers: it finds the best, spends little, and stops nobody wrongly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from condmis_jax.audit.race import Group, Outcome, Policy, Pull, Race, RaceSettings, race

RATES = [0.05] * 30 + [0.3, 0.4, 0.55, 0.75, 0.85]
"""Of the plain prompt, then of 34 candidates."""


def run(
    rates: Sequence[float], seed: int, policy: Policy = "adaptive", samples: int = 2000
) -> Race:
    table = np.random.default_rng(seed).random((len(rates), samples)) < np.array(rates)[:, None]
    groups: list[Group] = ["plain", *["candidate"] * (len(rates) - 1)]  # type: ignore[list-item]
    settings = RaceSettings(samples=samples, round=64)

    def draw(pulls: Sequence[Pull]) -> list[Outcome]:
        return [bool(table[arm, at]) for arm, at in pulls]

    return race(groups, draw, settings, seed=seed, policy=policy)


def samples_until_near(rates: Sequence[float], found: Race) -> int:
    """After how many samples the candidate in front is always within 5 points of the best."""
    far = [n for n, arm in found.trace if max(rates[1:]) - rates[arm] > 0.05]
    return far[-1] if far else 0


def test_it_gets_near_the_best_with_a_fraction_of_what_uniform_needs() -> None:
    rates = [0.05] * 90 + [0.3, 0.3, 0.4, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85]
    needed = {
        policy: np.median([samples_until_near(rates, run(rates, s, policy)) for s in range(12)])
        for policy in ("adaptive", "uniform", "random")
    }
    # Over 20 seeds and 3,000 samples: 224, 1,184 and 576.
    assert needed["adaptive"] <= 0.6 * min(needed["uniform"], needed["random"]), needed


def test_the_three_best_are_the_finalists_and_nobody_is_beaten_wrongly() -> None:
    for seed in range(10):
        found = run(RATES, seed)
        assert set(found.ranking[:3]) == {32, 33, 34}
        assert not any(found.arms[arm].out for arm in (32, 33, 34))
        assert all(s.low <= r <= s.high for s, r in zip(found.arms, RATES, strict=True))


def test_it_stops_when_the_finalists_are_told_from_the_rest() -> None:
    rates = [0.02] * 8 + [0.9] * 3
    found = run(rates, 0)
    assert found.settled and sum(s.pulls for s in found.arms) < 1000
    assert [s.out for s in found.arms[1:]] == ["beaten"] * 7 + [""] * 3


def test_an_arm_that_is_never_scored_is_set_aside_and_keeps_wide_limits() -> None:
    groups: list[Group] = ["plain", "candidate", "candidate", "candidate", "control", "control"]

    def draw(pulls: Sequence[Pull]) -> list[Outcome]:
        return [None if arm == 2 else (at + arm) % 2 == 0 for arm, at in pulls]

    found = race(
        groups, draw, RaceSettings(samples=1200, round=60, finalists=1, controls=1), seed=0
    )
    silent = found.arms[2]
    assert silent.out == "unscorable" and silent.scored == 0 and silent.pulls < 100
    assert (silent.low, silent.high) == (0, 1)
    assert found.arms[1].scored == found.arms[1].pulls > 100


def test_pulls_of_an_arm_are_numbered_without_gaps_and_depend_on_the_seed_only() -> None:
    asked: list[Pull] = []

    def draw(pulls: Sequence[Pull]) -> list[Outcome]:
        asked.extend(pulls)
        return [(arm * at) % 3 == 0 for arm, at in pulls]

    groups: list[Group] = ["plain", *["candidate"] * 9, *["control"] * 5]  # type: ignore[list-item]
    settings = RaceSettings(samples=500, round=50)
    race(groups, draw, settings, seed=3)
    first = list(asked)
    for arm in range(15):
        of_arm = [at for a, at in first if a == arm]
        assert of_arm == list(range(len(of_arm)))
    asked.clear()
    race(groups, draw, settings, seed=3)
    assert asked == first and len(first) == 500
    most = max(sum(a == arm for a, _ in first) for arm in range(1, 15))
    assert sum(a == 0 for a, _ in first) >= most / 2  # the plain prompt keeps up


@pytest.mark.parametrize("key", ["samples", "round", "finalists", "controls"])
def test_settings_below_one_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=f"{key} must be at least 1"):
        RaceSettings(**{key: 0})
