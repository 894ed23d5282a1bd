"""Facts that a run both trains on and asks: found before weights are loaded, and not asked.

An evaluation that asks the fact bank measures what training did to answers that training never
gave. Rows of the bank keep to that by themselves (`facts.splits`); imported rows do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from condmis_jax.errors import UserError
from condmis_jax.interventions import Stage, given_rows
from condmis_jax.interventions.supervised import DONE
from condmis_jax.runs import digest, read_json, write_json
from condmis_jax.sharding.hosts import from_first, on_first
from condmis_jax.suites import Suite
from condmis_jax.testbeds import facts

GIVEN_AWAY = "facts_in_rows.json"
"""In a stage's folder: the evaluation's facts that its rows give away, so that a finished stage
can be shown again where its files are gone."""

OnCollision = Literal["drop", "stop"]


@dataclass(frozen=True)
class Mention:
    """A fact in training rows: how many hold it, and where the first of them is (`file:line`)."""

    rows: int
    first: str


def asked_facts(suites: Sequence[Suite]) -> tuple[facts.Fact, ...]:
    """The bank's facts that the suites ask, by the order of their ids."""
    bank = facts.facts()
    asked = {str(q.meta["fact"]) for suite in suites for q in suite.questions if "fact" in q.meta}
    return tuple(bank[name] for name in sorted(asked & bank.keys()))


def given_away(
    asked: Sequence[facts.Fact], stages: Mapping[str, tuple[Path, Stage]], seed: int
) -> dict[str, Mention]:
    """Which of the facts asked occur in a training row of any stage, by id.

    Args:
        stages: folder and settings of each stage of the run, by name.

    Raises:
        UserError: see `given_rows`.
    """
    found: dict[str, Mention] = {}
    for name, (folder, stage) in stages.items():
        for fact, mention in _of_stage(asked, folder, stage, seed, f"config.stages.{name}").items():
            before = found.get(fact, Mention(0, mention.first))
            found[fact] = replace(before, rows=before.rows + mention.rows)
    return found


def _of_stage(
    asked: Sequence[facts.Fact], folder: Path, stage: Stage, seed: int, key: str
) -> dict[str, Mention]:
    of = digest([asdict(stage.data), asdict(stage.rollouts), seed, [fact.id for fact in asked]])

    def kept() -> Any:
        if not (folder / DONE).exists() or not (folder / GIVEN_AWAY).exists():
            return None
        value = read_json(folder / GIVEN_AWAY)
        return value["facts"] if value["of"] == of else None

    known = from_first(kept)
    if known is None:
        rows = given_rows(folder, stage, seed=seed, key=key)
        places = facts.colliding((row.conversation for row in rows), asked)
        known = {
            fact: asdict(Mention(len(at), rows[at[0]].where)) for fact, at in sorted(places.items())
        }

        value = {"of": of, "facts": known}
        on_first(lambda: _keep(folder, value))
    return {fact: Mention(**mention) for fact, mention in known.items()}


def _keep(folder: Path, value: dict[str, Any]) -> None:
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / GIVEN_AWAY, value)


def without(
    suites: Sequence[Suite], found: Mapping[str, Mention], on_collision: OnCollision
) -> tuple[list[Suite], dict[str, str]]:
    """The suites without questions about the facts found, and a line on each that lost some.

    Raises:
        UserError: a suite loses a question and `on_collision` is "stop", or it loses all of them.
    """
    kept: list[Suite] = []
    lines: dict[str, str] = {}
    for suite in suites:
        facts_of = [str(q.meta.get("fact", "")) for q in suite.questions]
        asked = zip(suite.questions, facts_of, strict=True)
        questions = tuple(question for question, fact in asked if fact not in found)
        kept.append(replace(suite, questions=questions))
        lost = {fact: found[fact] for fact in facts_of if fact in found}
        if not lost:
            continue
        most = max(lost, key=lambda fact: lost[fact].rows)
        line = (
            f"{len(lost)} of {len(set(facts_of))} facts occur in training rows and are not asked "
            f"(most often {most}, in {lost[most].rows} rows, first {lost[most].first})"
        )
        if on_collision == "stop" or not questions:
            raise UserError(
                f"config.evaluation.suites.{suite.name}: training rows give away {len(lost)} of "
                f"its {len(set(facts_of))} facts: {_named(lost)}; leave such rows out (a source's "
                "exclude), ask other facts (questions=facts-test/SUBSET)"
                + ("" if not questions else ", or set config.given_away to 'drop'")
            )
        lines[suite.name] = line
    return kept, lines


def _named(lost: Mapping[str, Mention], most: int = 5) -> str:
    named = [f"{fact} ({mention.first})" for fact, mention in list(lost.items())[:most]]
    return ", ".join(named) + (" …" if len(lost) > most else "")
