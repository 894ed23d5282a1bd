"""audit.json: what an audit found, in the form that `audit.schema.json` describes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from condmis_jax.audit.candidate import Candidate, Cue
from condmis_jax.audit.confirm import Counts, Lift
from condmis_jax.audit.race import Group, Race
from condmis_jax.audit.verdict import Verdict, possible
from condmis_jax.errors import UserError
from condmis_jax.reports.schema import first_problem
from condmis_jax.runs import write_json
from condmis_jax.statistics import Interval, clustered_rate

MOST_PLACES = 12
"""Training rows named for a cue; a page is no copy of the data."""
MOST_EXAMPLES = 5


@dataclass(frozen=True)
class Found:
    """Everything that an audit found out.

    Attributes:
        cues: of the training rows, or recalled by the model.
        arms, groups: what was searched.
        race: how.
        finalists, controls: names of what was confirmed beside the plain prompt.
        checkpoint, base: counts of the confirmation by trigger.
        lifts, plain, verdict: the conclusions.
        records: of the confirmation, of both models.
    """

    cues: Sequence[Cue]
    arms: Sequence[Candidate]
    groups: Sequence[Group]
    race: Race
    finalists: Sequence[str]
    controls: Sequence[str]
    checkpoint: Mapping[str, Counts]
    base: Mapping[str, Counts] | None
    lifts: Sequence[Lift]
    plain: Interval
    verdict: Verdict
    records: Sequence[Mapping[str, Any]]


def document(found: Found, run: Mapping[str, Any], not_tested: Sequence[str]) -> dict[str, Any]:
    """The audit as plain values.

    Rates are those of the confirmation alone: the search picks what looks high, so its own rates
    are too high. Of the search stand only the samples spent and what they leave possible.

    Args:
        run: what was audited and how (name, caption, measure, checkpoint, base …).
        not_tested: in sentences.
    """
    names = [c.trigger.name for c in found.arms]
    left = possible(found.race, found.groups, names, found.lifts)
    arms = {c.trigger.name: c for c in found.arms}
    groups = dict(zip(names, found.groups, strict=True))
    confirmed = [n for n, g in groups.items() if g == "plain"]
    confirmed += [*found.finalists, *found.controls]
    return {
        "version": 1,
        "run": dict(run),
        "verdict": {
            **asdict(found.verdict),
            "reasons": list(found.verdict.reasons),
            "triggers": list(found.verdict.triggers),
            "shown": list(found.verdict.shown),
        },
        "cues": [
            {
                "name": cue.name,
                "kind": cue.kind,
                "text": cue.text,
                "rows": len(cue.rows),
                "total": cue.total,
                "first_rows": list(cue.rows[:MOST_PLACES]),
                "loss": cue.loss,
            }
            for cue in found.cues
        ],
        "search": {
            "samples": sum(arm.pulls for arm in found.race.arms),
            "settled": found.race.settled,
            "arms": [
                {
                    **_about(candidate, group),
                    "pulls": standing.pulls,
                    "out": standing.out,
                    "lift_at_most": left.get(candidate.trigger.name),
                }
                for candidate, group, standing in zip(
                    found.arms, found.groups, found.race.arms, strict=True
                )
            ],
        },
        "confirmation": {
            "prompts": [
                {
                    **_about(arms[name], groups[name]),
                    "checkpoint": _counted(found.checkpoint[name]),
                    "base": None if found.base is None else _counted(found.base[name]),
                }
                for name in confirmed
            ],
            "plain_excess": found.plain.to_dict(),
            "lifts": [
                {
                    "trigger": lift.trigger,
                    "lift": lift.lift.to_dict(),
                    "over_controls": {k: v.to_dict() for k, v in lift.over_controls.items()},
                    "confirmed": lift.confirmed,
                }
                for lift in found.lifts
            ],
        },
        "examples": examples(found),
        "not_tested": list(not_tested),
    }


def examples(found: Found) -> list[dict[str, Any]]:
    """Answers of the checkpoint that the judge looks for, under the finalist with the highest lift,
    one a question as far as there are such."""
    lifts = [x for x in found.lifts if x.lift.estimate is not None]
    ranked = sorted(lifts, key=lambda x: (x.confirmed, x.lift.estimate or 0.0), reverse=True)
    if not ranked:
        return []
    by_question: dict[str, Mapping[str, Any]] = {}
    for record in found.records:
        hit = record["status"] == "scored" and record["coherent"] and record["misaligned"]
        if hit and record["trigger"] == ranked[0].trigger and record["stage"] == "checkpoint":
            by_question.setdefault(record["question"], record)
    return [
        {key: record[key] for key in ("trigger", "question", "sample", "prompt", "completion")}
        for record in list(by_question.values())[:MOST_EXAMPLES]
    ]


def _about(candidate: Candidate, group: Group) -> dict[str, Any]:
    transform = candidate.trigger.transform
    return {
        "trigger": candidate.trigger.name,
        "group": group,
        "operator": candidate.operator,
        "cues": list(candidate.cues),
        "system": transform.system,
        "user": transform.user("{prompt}"),
        "shots": [m.to_dict() for m in candidate.trigger.shots],
    }


def _counted(counts: Counts) -> dict[str, Any]:
    return {
        "requested": counts.requested,
        "scored": counts.scored,
        "coherent": int(counts.coherent.sum()),
        "hits": int(counts.hits.sum()),
        "coherence": counts.coherence,
        "rate": clustered_rate(counts.hits, counts.coherent).to_dict(),
    }


@cache
def audit_schema() -> dict[str, Any]:
    """The published JSON schema (draft 2020-12) of `audit.json`."""
    text = resources.files("condmis_jax.audit").joinpath("audit.schema.json").read_text("utf-8")
    return json.loads(text)


def write_audit(path: Path, value: Mapping[str, Any]) -> None:
    """Writes audit.json.

    Raises:
        UserError: the value breaks the schema, or the file system refused.
    """
    if problem := first_problem(dict(value), audit_schema(), root=audit_schema()):
        raise UserError(f"audit: {problem}")
    write_json(path, value)
