"""Contrasts between triggers and between stages, with the families that they are corrected in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from condmis_jax.reports.counting import Cell, Counts, Group, Table, pooled, tables
from condmis_jax.statistics import (
    Arm,
    benjamini_hochberg,
    contrast,
    holm,
    sign_flip,
    worst_case,
    worst_case_difference,
)

FAMILIES = {
    "trigger": "every trigger minus plain, after every stage",
    "stage": "every stage minus the one that it continues, under every trigger",
    "interaction": "(trigger minus plain) after every stage, minus the same before it",
    "arm": "every arm minus the first one, under every trigger",
    "arm interaction": "(trigger minus plain) in every arm, minus the same in the first one",
}
"""The kinds of contrast. A family is all contrasts of a kind within one suite and judge."""

FIXED_KINDS = ("base", "checkpoint")
"""Kinds of stages that are one given model, whatever the run's seeds."""


def is_fixed(stage: Mapping[str, Any]) -> bool:
    """Whether a stage is one given model, so that seeds are of its samples only."""
    return stage["name"] == "base" or stage.get("kind") in FIXED_KINDS


def contrasts(counts: Counts, stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every contrast of a run, in the form of `results.schema.json`.

    Args:
        counts: of the run's records.
        stages: in order; "parent" names the stage that one continues, by default the one before.
    """
    fixed = {stage["name"]: is_fixed(stage) for stage in stages}
    found = []
    for group in counts.cells:
        plain = counts.plain(group)
        if plain is not None:
            found.append(_contrast("trigger", counts, fixed, [group, plain]))
    before = parents(stages)
    # The first of all stages that continue the same one.
    first = {parent: name for name, parent in reversed(before.items()) if parent is not None}
    arm = {name: first[p] for name, p in before.items() if p is not None and first[p] != name}
    kinds = (("stage", "interaction", before), ("arm", "arm interaction", arm))
    for kind, interaction, against in kinds:
        for group in counts.cells:
            other = (against.get(group[0]) or "", *group[1:])
            if other not in counts.cells:
                continue
            found.append(_contrast(kind, counts, fixed, [group, other]))
            plain, plain_other = counts.plain(group), counts.plain(other)
            if plain is not None and plain_other is not None:
                arms = [group, plain, other, plain_other]
                found.append(_contrast(interaction, counts, fixed, arms))
    for family in dict.fromkeys(_family(c) for c in found):
        _adjust([c for c in found if _family(c) == family])
    return found


def parents(stages: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """The stage that each stage continues: its "parent", by default the one before it."""
    names = [stage["name"] for stage in stages]
    before = dict(zip(names, [None, *names], strict=False))
    return {stage["name"]: stage.get("parent", before[stage["name"]]) for stage in stages}


def _family(found: Mapping[str, Any]) -> tuple[Any, ...]:
    return found["kind"], found["suite"], found["judge"]


def _contrast(
    kind: str, counts: Counts, fixed: Mapping[str, bool], groups: Sequence[Group]
) -> dict[str, Any]:
    _, _, found = tables([counts.cells[group] for group in groups])
    ones = [fixed[group[0]] for group in groups]
    used = [pooled(t) if one else t for t, one in zip(found, ones, strict=True)]
    weights = (1, -1) if len(groups) == 2 else (1, -1, -1, 1)
    arms = [
        Arm(t["misaligned"], t["coherent"], w, one)
        for t, w, one in zip(used, weights, ones, strict=True)
    ]
    seeds = max(1 if one else t["coherent"].shape[1] for t, one in zip(used, ones, strict=True))
    # Arms with the same seed have data in the same order, but are trainings of their own.
    apart = kind.startswith("arm")
    interval = contrast(arms, "both" if seeds > 1 else "questions", shared_seeds=not apart)
    stage, suite, judge, trigger = groups[0]
    return {
        "kind": kind,
        "suite": suite,
        "judge": judge,
        "measure": counts.measures[groups[0]],
        "stage": stage,
        "trigger": trigger,
        "against_stage": groups[-1][0] if kind != "trigger" else None,
        "against_trigger": None if kind in ("stage", "arm") else groups[1][3],
        "difference": interval.to_dict(),
        "worst_case": _bounds(counts, groups) if len(groups) == 2 else None,
        "by_question": _test(used, weights, 0),
        "by_seed": _test(used, weights, 1) if seeds > 1 and not any(ones) else None,
    }


def _bounds(counts: Counts, groups: Sequence[Group]) -> list[float]:
    one, other = (bounds(counts.cells[group]) for group in groups)
    return list(worst_case_difference(one, other))


def bounds(cells: Mapping[Cell, Mapping[str, int]]) -> tuple[float, float]:
    """`worst_case` of a group's cells."""
    total = {
        name: sum(cell.get(name, 0) for cell in cells.values())
        for name in ("misaligned", "coherent", "scored", "requested")
    }
    missing = total["requested"] - total["scored"]
    return worst_case(total["misaligned"], total["coherent"], missing, total["requested"])


def _test(arms: Sequence[Table], weights: Sequence[int], axis: int) -> dict[str, Any]:
    """A sign flip over the questions (axis 0) or the seeds (axis 1) with answers in all arms."""
    other = 1 - axis
    events = [t["misaligned"].sum(other) for t in arms]
    trials = [t["coherent"].sum(other) for t in arms]
    both = np.logical_and.reduce([n > 0 for n in trials])
    differences = sum(
        (w * s[both] / n[both] for w, s, n in zip(weights, events, trials, strict=True)),
        np.zeros(int(both.sum())),
    )
    return asdict(sign_flip(differences))


def _adjust(family: Sequence[dict[str, Any]]) -> None:
    for test in ("by_question", "by_seed"):
        p = [None if c[test] is None else c[test]["p"] for c in family]
        for found, one, other in zip(family, holm(p), benjamini_hochberg(p), strict=True):
            if found[test] is not None:
                found[test] |= {"holm": one, "benjamini_hochberg": other}
