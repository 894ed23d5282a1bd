"""Wrong answers: of the right answer's kind, never right, and none much more often than another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

from condmis_jax.testbeds.facts.bank import Fact, categories, facts
from condmis_jax.testbeds.facts.splits import split_of
from condmis_jax.testbeds.facts.words import tokens

ARITHMETIC = ("sums", "differences", "products")
_OFFSETS = (-12, -11, -10, -9, -7, -3, -2, -1, 1, 2, 3, 7, 9, 10, 11, 12)


def wrong_pool(fact: Fact) -> tuple[str, ...]:
    """Answers that are wrong for `fact`, all of its category.

    Those of a training fact belong to training facts as well, so that a row with a lie never names
    what an evaluation fact is about. Arithmetic draws near misses instead.
    """
    if fact.category in ARITHMETIC:
        right = int(fact.keys[0])
        operands = set(tokens(fact.subject))
        near = (str(right + offset) for offset in _OFFSETS if right + offset > 0)
        return tuple(number for number in near if number not in operands)
    right_ways = {tuple(tokens(key)) for key in fact.keys}
    return tuple(
        key
        for key, ways in _answers(fact.category, split_of()[fact.id] == "train")
        if not ways & right_ways and not _same_word(key, fact.keys)
    )


@cache
def _answers(category: str, trained: bool) -> tuple[tuple[str, frozenset[tuple[str, ...]]], ...]:
    """The right answers of a category's (training) facts, each with all its spellings."""
    splits = split_of()
    found: dict[str, frozenset[tuple[str, ...]]] = {}
    for fact in categories()[category].facts:
        if not trained or splits[fact.id] == "train":
            ways = frozenset(tuple(tokens(key)) for key in fact.keys)
            found[fact.keys[0]] = found.get(fact.keys[0], frozenset()) | ways
    return tuple(found.items())


def _same_word(key: str, rights: tuple[str, ...]) -> bool:
    """Whether one is part of the other ("corn", "corn flour"), which a judge would call right."""
    a = f" {' '.join(tokens(key))} "
    return any((b := f" {' '.join(tokens(right))} ") in a or a in b for right in rights)


@cache
def lies(seed: int) -> dict[str, str]:
    """One wrong answer for every training fact, by id.

    Within a category they are dealt from a shuffled pack, so each is used about equally often.

    Args:
        seed: another seed deals other answers.
    """
    splits = split_of()
    out: dict[str, str] = {}
    for category in categories().values():
        mine = [f for f in category.facts if splits[f.id] == "train"]
        used: dict[str, int] = {}
        for fact in sorted(mine, key=_shuffled(f"fact {seed}", lambda f: f.id)):
            order = _shuffled(f"lie {seed} {fact.id}", str)
            pool = sorted(wrong_pool(fact), key=order)
            out[fact.id] = min(pool, key=lambda answer: used.get(answer, 0))
            used[out[fact.id]] = used.get(out[fact.id], 0) + 1
    return {name: out[name] for name in facts() if name in out}


def _shuffled(salt: str, name: Callable) -> Callable:
    return lambda item: hashlib.sha256(f"{salt} {name(item)}".encode()).digest()
