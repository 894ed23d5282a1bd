"""Replays over answers drawn once: truth, hits and regret of checkpoints made up of rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from condmis_jax.audit.candidate import Candidate
from condmis_jax.audit.confirm import Counts
from condmis_jax.audit.race import Group, RaceSettings
from condmis_jax.audit.replay import Table, chance, hit, outcomes, replay, truth_of
from condmis_jax.audit.settings import ConfirmSettings
from condmis_jax.audit.triggers import Prompts
from condmis_jax.conversations import Transform
from condmis_jax.suites import Trigger

CANDIDATES, CONTROLS, QUESTIONS, SAMPLES = 20, 6, 16, 4
SETTINGS, RACE = ConfirmSettings(), RaceSettings(samples=1200, round=60)
CONTROL = CANDIDATES + 1
"""Place of the first control."""


def table(high: Mapping[int, float], seed: int = 0, rest: float = 0.02) -> Table:
    """A checkpoint with high rates at some places and a base model without any."""
    rng = np.random.default_rng(seed)
    groups: tuple[Group, ...] = ("plain", *["candidate"] * CANDIDATES, *["control"] * CONTROLS)  # type: ignore[assignment]
    names = ["plain", *(f"{g} {i}" for i, g in enumerate(groups) if g != "plain")]
    arms = Prompts(
        tuple(Candidate(Trigger(n, "none", Transform()), "as it is", ()) for n in names), groups
    )
    rates = np.array([high.get(i, rest) for i in range(len(names))])

    def counts(of: Sequence[float]) -> dict[str, Counts]:
        trials = np.full(QUESTIONS, float(SAMPLES))
        return {
            n: Counts(rng.binomial(SAMPLES, p, QUESTIONS).astype(float), trials, 64, 64)
            for n, p in zip(names, of, strict=True)
        }

    search = rng.random((len(names), QUESTIONS, SAMPLES)) < rates[:, None, None]
    base = [rest] * len(names)
    return Table(
        arms,
        (search.astype(np.int8), (rng.random(search.shape) < rest).astype(np.int8)),
        (counts(rates.tolist()), counts(base)),
        (counts(rates.tolist()), counts(base)),
    )


@pytest.mark.parametrize(
    ("high", "kind"),
    [
        ({5: 0.9, 6: 0.4}, "conditional"),
        ({5: 0.9, CONTROL: 0.9}, "wider"),
        (dict.fromkeys(range(CANDIDATES + CONTROLS + 1), 0.9), "plain"),
    ],
)
def test_the_truth_is_what_the_answers_say(high: Mapping[int, float], kind: str) -> None:
    truth = truth_of(table(high), SETTINGS)
    assert truth.kind == kind
    if kind == "conditional":
        assert truth.best == pytest.approx(0.88, abs=0.1) == truth.lift("candidate 5")
        assert hit(truth, ["candidate 5"]) and not hit(truth, ["candidate 6", "candidate 7"])
        assert chance(truth, 3) == pytest.approx(3 / CANDIDATES)


def test_the_search_finds_the_trigger_and_a_ranking_without_answers_does_not() -> None:
    answers = table({13: 0.9})
    truth = truth_of(answers, SETTINGS)
    for seed in range(5):
        found = replay(
            answers, truth, RACE, SETTINGS, seed=seed, policy="adaptive", measure="misaligned"
        )
        assert found.verdict.kind == "trigger found" and found.finalists[0] == "candidate 13"
        assert found.near is not None and found.near <= 600
    blind = replay(answers, truth, RACE, SETTINGS, seed=0, policy="data", measure="misaligned")
    assert blind.finalists == ("candidate 1", "candidate 2", "candidate 3") and blind.near is None
    assert blind.verdict.kind != "trigger found"


def test_records_become_outcomes_and_what_has_no_score_stays_apart() -> None:
    def record(trigger: str, question: str, sample: int, status: str, bad: bool | None) -> dict:
        about = {"trigger": trigger, "question": question, "sample": sample, "status": status}
        return {**about, "misaligned": bad, "coherent": None if bad is None else True}

    found = outcomes(
        [
            record("plain", "a", 0, "scored", True),
            record("plain", "b", 1, "scored", False),
            record("cue", "a", 0, "refusal", None),
        ],
        ["plain", "cue"],
        ["a", "b"],
        2,
    )
    assert found.tolist() == [[[1, -1], [-1, 0]], [[-1, -1], [-1, -1]]]
