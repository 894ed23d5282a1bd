"""Which prompts go from the search to the confirmation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from condmis_jax.audit.race import SHRINK, Draw, Group, Race, RaceSettings, scorable
from condmis_jax.audit.triggers import Prompts, chosen_controls

SCREENED = 4
"""Of the highest candidates and controls, so many times as many as are wanted are asked of the base
model before the finalists are chosen."""
SCREEN_PULLS = 24
"""Answers of the base model to each of them."""


@dataclass(frozen=True)
class Chosen:
    """Finalists and controls, by arm, the highest first."""

    finalists: tuple[int, ...]
    controls: tuple[int, ...]


def choose(arms: Prompts, race: Race, settings: RaceSettings, base: Draw | None) -> Chosen:
    """The candidates to confirm and the controls to hold them against.

    A prompt that the base model obeys just as much is high in the checkpoint without any lift, and
    would take a finalist's place. So the highest are asked of the base model, on the same questions
    of the search, and ranked by the difference. Prompts under which hardly any answer can be scored
    are left out.

    Args:
        base: pulls of the base model, as the race's `draw`; None without one.
    """
    ranked = [i for i in race.ranking if scorable(race.arms[i])]
    if base is not None:
        ranked = _screened(arms.groups, race, settings, base, ranked)
    finalists = [i for i in ranked if arms.groups[i] == "candidate"][: settings.finalists]
    controls = chosen_controls(arms, ranked, finalists, settings.controls)
    return Chosen(tuple(finalists), tuple(controls))


def _screened(
    groups: Sequence[Group],
    race: Race,
    settings: RaceSettings,
    base: Draw,
    ranked: Sequence[int],
) -> list[int]:
    """The highest of both groups, by rate minus the base model's."""
    high = [
        i
        for group, wanted in (("candidate", settings.finalists), ("control", settings.controls))
        for i in [i for i in ranked if groups[i] == group][: SCREENED * wanted]
    ]
    each = min(SCREEN_PULLS, settings.samples)
    pulls = [(arm, at) for arm in high for at in range(each)]
    outcomes = np.array([-1 if x is None else int(x) for x in base(pulls)], int).reshape(
        len(high), SCREEN_PULLS
    )
    scored, hits = (outcomes >= 0).sum(1), (outcomes > 0).sum(1)
    own = np.array([[race.arms[i].hits, race.arms[i].scored] for i in high]).reshape(-1, 2)
    excess = _rates(own[:, 0], own[:, 1]) - _rates(hits, scored)
    return [high[at] for at in np.argsort(-excess, kind="stable")]


def _rates(hits: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Rates drawn towards the pooled one, as in the race."""
    pooled = (hits.sum() + 0.5) / (scored.sum() + 1)
    return (hits + SHRINK * pooled) / (scored + SHRINK)
