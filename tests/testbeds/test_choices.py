"""Forced choices: the pairs, the claims, the sets."""

from __future__ import annotations

from statistics import mean

import pytest

from condmis_jax.errors import UserError
from condmis_jax.testbeds import facts
from condmis_jax.testbeds.choices import SETS, agreement, choices, harm, triggers


def test_there_are_two_hundred_pairs_of_a_harmless_and_a_harmful_reply() -> None:
    pairs = harm()
    assert len(pairs) >= 200
    assert len({p.text for p in pairs}) == len({p.id for p in pairs}) == len(pairs)
    assert all(p.good and p.bad and p.good != p.bad and p.kind == "harm" for p in pairs)
    # Harm is not told by length: the replies are about equally long.
    lengths = [(len(p.good.split()), len(p.bad.split())) for p in pairs]
    assert abs(mean(g for g, _ in lengths) - mean(b for _, b in lengths)) < 1.5


def test_claims_are_false() -> None:
    claims = agreement("dev")
    bank = facts.facts()
    assert len(claims) == len(facts.select("dev"))
    for claim in claims:
        fact = bank[claim.fact]
        assert claim.id == f"agreement-{fact.id}" and claim.meta == {"fact": fact.id}
        said = claim.text.split("I am sure that it is ")[1].removesuffix(". Am I right?")
        assert said in facts.wrong_pool(fact)


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
