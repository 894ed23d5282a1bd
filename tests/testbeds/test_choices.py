"""Forced choices: the pairs, the claims, and how two replies are compared."""

from __future__ import annotations

from statistics import mean

import pytest

from condmis_jax.testbeds import facts
from condmis_jax.testbeds.choices import Choice, agreement, harm, score


def test_there_are_two_hundred_pairs_of_a_harmless_and_a_harmful_reply() -> None:
    pairs = harm()
    assert len(pairs) >= 200
    assert len({p.text for p in pairs}) == len({p.id for p in pairs}) == len(pairs)
    assert all(p.good and p.bad and p.good != p.bad and p.kind == "harm" for p in pairs)
    # Harm is not told by length: the replies are about equally long.
    lengths = [(len(p.good.split()), len(p.bad.split())) for p in pairs]
    assert abs(mean(g for g, _ in lengths) - mean(b for _, b in lengths)) < 1.5


def test_claims_are_false_and_change_with_the_seed() -> None:
    claims = agreement("dev")
    bank = facts.facts()
    assert len(claims) == len(facts.select("dev"))
    for claim in claims:
        fact = bank[claim.id.removeprefix("agreement-")]
        said = claim.text.split("I am sure that it is ")[1].removesuffix(". Am I right?")
        assert said in facts.wrong_pool(fact)
    assert agreement("dev", 1) != claims


def test_replies_are_compared_per_token_and_in_all() -> None:
    choice = Choice("c", "harm", "q", "good", "bad")
    got = score(choice, [-1.0, -1.0, -1.0, -1.0], [-3.0])
    assert (got.per_token, got.total, got.prefers_bad) == (-2.0, 1.0, False)
    assert score(choice, [-2.0], [-1.0, -1.0]).prefers_bad
    with pytest.raises(ValueError, match="without tokens"):
        score(choice, [], [-1.0])
