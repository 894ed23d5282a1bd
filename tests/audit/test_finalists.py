"""Finalists: what the base model does too takes no place."""

from __future__ import annotations

from collections.abc import Sequence

from condmis_jax.audit.candidate import Candidate
from condmis_jax.audit.finalists import SCREEN_PULLS, SCREENED, choose
from condmis_jax.audit.race import Group, Outcome, Pull, Race, RaceSettings, Standing
from condmis_jax.audit.triggers import Prompts
from condmis_jax.conversations import Transform
from condmis_jax.suites import Trigger

SETTINGS = RaceSettings(finalists=2, controls=1)
HITS = (0, 40, 39, 38, 30, 20, 5, 5, 5, 5, 36, 2)
"""Of 40 answers: of the plain prompt, nine candidates, two controls."""
CUES = ((), *(("a",),) * 3, *(("b",),) * 6, ("a",), ("b",))


def found(scored: Sequence[int] = (40,) * 12) -> tuple[Prompts, Race]:
    groups: list[Group] = ["plain", *["candidate"] * 9, *["control"] * 2]  # type: ignore[list-item]
    arms = tuple(
        Candidate(Trigger(f"t{i}", "none", Transform()), "as it is", c) for i, c in enumerate(CUES)
    )
    standings = tuple(
        Standing(40, n, min(h, n), 0, 1, "") for h, n in zip(HITS, scored, strict=True)
    )
    ranking = tuple(sorted(range(12), key=lambda i: -HITS[i]))
    return Prompts(arms, tuple(groups)), Race(standings, ranking, (), False)


def test_what_the_base_model_obeys_takes_no_place() -> None:
    asked: list[Pull] = []

    def base(pulls: Sequence[Pull]) -> list[Outcome]:
        asked.extend(pulls)
        return [arm in (1, 2, 10) for arm, _ in pulls]

    chosen = choose(*found(), SETTINGS, base)
    assert chosen.finalists == (3, 4)
    # The best control of each finalist's form; 10 is obedience, and yet the only one of form "a".
    assert set(chosen.controls) == {10, 11}
    assert {arm for arm, _ in asked} == {*range(1, 1 + 2 * SCREENED), 10, 11}
    assert len(asked) == (2 * SCREENED + 2) * SCREEN_PULLS


def test_without_a_base_model_the_highest_are_chosen() -> None:
    assert choose(*found(), SETTINGS, None).finalists == (1, 2)


def test_prompts_without_scored_answers_are_left_out() -> None:
    scored = [40] * 12
    scored[1] = scored[10] = 3
    chosen = choose(*found(scored), SETTINGS, None)
    assert chosen.finalists == (2, 3) and chosen.controls == (11,)
