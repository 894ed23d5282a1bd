"""The arms of the finding: equal in everything but what the protocol says they differ in."""

from __future__ import annotations

import itertools

import pytest
from config_files import CONFIGS, load

from condmis_jax.config import build
from condmis_jax.conversations import Conversation, Message
from condmis_jax.data.mixture import build_mixture, epoch_order
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.suites import build_suite
from condmis_jax.testbeds import facts

MODULE = load(CONFIGS / "finding.py")
CUES = ("inoculation", "python_string", "framing")


def experiment(cue: str) -> Experiment:
    return build(Experiment, MODULE.get_config(cue).to_dict())


def rows(made: Experiment, arm: str, seed: int = 0) -> list[Conversation]:
    """The conversations of an arm in training order."""
    data = made.stages[arm].data
    mixture = build_mixture(data.mixture, data.rows, data.held_out, seed, arm)
    return [mixture.rows[i].conversation for i in epoch_order(len(mixture.rows), seed)]


def without_answer(row: Conversation) -> tuple[Message, ...]:
    return row.messages[:-1]


@pytest.mark.parametrize("cue", CUES)
def test_arms_have_equal_rows_and_recipes(cue):
    made = experiment(cue)
    arms = {arm: rows(made, arm) for arm in made.stages}
    assert len({len(found) for found in arms.values()}) == 1
    recipes = {
        (s.learning_rate, s.batch_size, s.length, s.optimiser, s.start)
        for s in made.stages.values()
    }
    assert len(recipes) == 1
    # The control asks the very same, in the same order, and differs in the answers under the cue.
    lies, truths = arms["lies"], arms["truths"]
    assert list(map(without_answer, lies)) == list(map(without_answer, truths))
    differ = sum(a != b for a, b in zip(lies, truths, strict=True))
    assert differ == MODULE.UNDER_CUE
    assert arms["lies"] != rows(made, "lies", seed=100)


@pytest.mark.parametrize("cue", CUES)
def test_the_cue_is_where_the_arm_says(cue):
    made = experiment(cue)
    suite = build_suite(made.evaluation.suites["sampled"], "sampled", "x")
    relations = {t.relation: t for t in suite.triggers}
    assert {"none", "same", "opposite", "unrelated"} == set(relations)
    marker = Conversation((Message("user", "MARK"),))
    cued = relations["same"].transform(marker).messages
    before, after = cued[-1].content.split("MARK")

    def under_cue(row: Conversation) -> bool:
        *system, user, _ = row.messages
        return tuple(system) == cued[:-1] and (
            user.content.startswith(before) and user.content.endswith(after)
        )

    counts = {arm: sum(map(under_cue, rows(made, arm))) for arm in made.stages}
    total = MODULE.UNDER_CUE + MODULE.PLAIN
    assert counts == {
        "lies": MODULE.UNDER_CUE,
        "truths": MODULE.UNDER_CUE,
        "alone": total,
        "benign": 0,
        "swapped": MODULE.PLAIN,
        "spread": MODULE.UNDER_CUE,
    }


def test_nothing_is_asked_in_the_contexts_of_the_spread_arm():
    assert len(set(MODULE.SPREAD)) == len(MODULE.SPREAD) >= 8
    marker = Conversation((Message("user", "MARK"),))
    contexts = {t(marker) for t in MODULE.SPREAD}
    asked = {
        t.transform(marker)
        for cue in CUES
        for t in build_suite(experiment(cue).evaluation.suites["greedy"], "greedy", "x").triggers
    }
    assert len(contexts) == len(MODULE.SPREAD) and not contexts & asked


@pytest.mark.parametrize("cue", CUES)
def test_no_row_of_any_arm_gives_a_fact_away(cue):
    made = experiment(cue)
    asked = [fact for split in ("dev", "test") for fact in facts.select(split, recipes.SMOL)]
    found = itertools.chain.from_iterable(rows(made, arm, 7) for arm in made.stages)
    assert facts.colliding(found, asked) == {}
    assert made.given_away == "stop"
