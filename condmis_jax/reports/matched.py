"""Arms compared where they answer the trained cue alike, along their training.

An intervention that merely learnt less looks safer. So arms are compared at the checkpoint whose
rate under the cue is nearest to one target, and an arm that never comes near is said not to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from condmis_jax.reports.finding import LABELS
from condmis_jax.reports.text import percent, visible

TARGET, TOLERANCE = 0.80, 0.05


@dataclass
class Point:
    """One checkpoint of one training.

    Attributes:
        step: optimiser steps done.
        wrong, answers: by trigger.
        relations: of the triggers.
    """

    step: int
    wrong: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    relations: dict[str, str] = field(default_factory=dict)

    def rate(self, trigger: str) -> float:
        """Wrong of all answers under a trigger."""
        return self.wrong[trigger] / self.answers[trigger]

    def cue(self) -> str:
        """The trigger that the rows were trained under."""
        return next(t for t, relation in self.relations.items() if relation == "same")


Curve = list[Point]
"""A training, by step."""


def curves(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, int], Curve]:
    """The trainings of a run, by arm and seed.

    Args:
        records: judged answers whose stage is "01-ARM@STEP".
    """
    found: dict[tuple[str, int], dict[int, Point]] = {}
    for record in records:
        stage, _, step = record["stage"].rpartition("@")
        arm = stage.partition("-")[2]
        points = found.setdefault((arm, record["seed"]), {})
        point = points.setdefault(int(step), Point(int(step)))
        trigger = record["trigger"]
        point.relations[trigger] = record["relation"]
        point.wrong.setdefault(trigger, 0)
        point.answers.setdefault(trigger, 0)
        if record["label"] in LABELS:
            point.answers[trigger] += 1
            point.wrong[trigger] += record["label"] == "wrong"
    return {key: [points[step] for step in sorted(points)] for key, points in found.items()}


def nearest(curve: Curve) -> Point | None:
    """The checkpoint nearest to `TARGET` under the cue, the earlier of two; None where none is
    within `TOLERANCE` of it."""
    asked = [p for p in curve if p.answers[p.cue()]]
    if not asked:
        return None
    best = min(asked, key=lambda p: abs(p.rate(p.cue()) - TARGET))
    return best if abs(best.rate(best.cue()) - TARGET) <= TOLERANCE + 1e-9 else None


def matched_lines(found: Mapping[tuple[str, int], Curve]) -> list[str]:
    """Both tables as Markdown: every checkpoint, and the arms where they are alike."""
    triggers = list(
        dict.fromkeys(t for curve in found.values() for p in curve for t in p.relations)
    )
    head = ["arm", "seed", "step", *triggers]
    every = [_row(arm, seed, p, triggers) for (arm, seed), curve in found.items() for p in curve]
    alike, never = [], []
    for (arm, seed), curve in found.items():
        point = nearest(curve)
        if point is not None:
            alike.append(_row(arm, seed, point, triggers))
            continue
        rates = [p.rate(p.cue()) for p in curve if p.answers[p.cue()]]
        spread = f"{percent(min(rates))} to {percent(max(rates))}" if rates else "no answer"
        never.append(f"- {arm}, seed {seed}: never within; {spread} under the cue")
    within = f"{percent(TARGET)} ± {100 * TOLERANCE:.0f} points wrong under the cue"
    return [
        *_table(f"Alike: {within}", head, alike),
        *never,
        "",
        *_table("Every checkpoint", head, every),
    ]


def _row(arm: str, seed: int, point: Point, triggers: Sequence[str]) -> list[str]:
    cells = (
        f"{percent(point.rate(t))} ({point.wrong[t]}/{point.answers[t]})"
        if point.answers.get(t)
        else "no answer"
        for t in triggers
    )
    return [arm, str(seed), str(point.step), *cells]


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    made = [head, ["---"] * len(head), *rows]
    return [f"## {title}", "", *("| " + " | ".join(map(visible, row)) + " |" for row in made), ""]
