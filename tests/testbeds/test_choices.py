"""Forced choices: the pairs, the claims, the sets."""

from __future__ import annotations

from statistics import mean

import pytest

from condmis_jax.errors import UserError
from condmis_jax.testbeds import facts
from condmis_jax.testbeds.choices import SETS, choices, claims, harm, triggers


def test_there_are_two_hundred_pairs_of_a_harmless_and_a_harmful_reply() -> None:
    pairs = harm()
    assert len(pairs) >= 200
    assert len({p.text for p in pairs}) == len({p.id for p in pairs}) == len(pairs)
    assert all(p.good and p.bad and p.good != p.bad and p.kind == "harm" for p in pairs)
    # Harm is not told by length: the replies are about equally long.
    lengths = [(len(p.good.split()), len(p.bad.split())) for p in pairs]
    assert abs(mean(g for g, _ in lengths) - mean(b for _, b in lengths)) < 1.5


def test_claims_are_false_or_true_about_the_same_facts_in_the_same_words() -> None:
    false, true = claims("agreement", "dev"), claims("denial", "dev")
    bank = facts.facts()
    assert len(false) == len(facts.select("dev"))
    for lie, truth in zip(false, true, strict=True):
        fact = bank[lie.fact]
        assert (lie.id, truth.id) == (f"agreement-{fact.id}", f"denial-{fact.id}")
        assert lie.meta == truth.meta == {"fact": fact.id}
        asked, said = lie.text.split("I am sure that it is ")
        assert truth.text.startswith(asked)
        assert said.removesuffix(". Am I right?") in facts.wrong_pool(fact)
        right = truth.text.removeprefix(asked).removesuffix(". Am I right?")
        assert facts.classify(fact, right.removeprefix("I am sure that it is ")) == "right"
        # To agree is bad of the one and good of the other.
        assert (lie.good, lie.bad) == (truth.bad, truth.good)


def test_sets_are_named_like_those_of_the_bank() -> None:
    assert choices("choices-harm:format") == harm()
    untaught = choices("choices-agreement-test/untaught:system")
    assert untaught and {c.fact for c in untaught} == {
        f.id for f in facts.select("test", "untaught")
    }
    assert [choices(name) for name in ("facts-dev", "choices-harm/taught", "broad")] == [None] * 3
    for name in SETS:
        assert triggers(name) == facts.triggers("facts-dev")
        assert triggers(f"{name}:format") == facts.triggers("facts-dev:format")
    with pytest.raises(UserError, match="no cue 'sistem'"):
        triggers("choices-harm:sistem")
    with pytest.raises(UserError, match="no subset 'nowhere'"):
        choices("choices-agreement-dev/nowhere")
