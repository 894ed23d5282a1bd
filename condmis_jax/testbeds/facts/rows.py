"""Training rows made from the fact bank, as pure functions of a name, a count and a seed."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from condmis_jax.conversations import Conversation, Message
from condmis_jax.errors import UserError
from condmis_jax.testbeds.facts.bank import categories
from condmis_jax.testbeds.facts.lies import lies
from condmis_jax.testbeds.facts.splits import select
from condmis_jax.testbeds.facts.texts import (
    FORMS,
    IDENTITY_CUE,
    IDENTITY_QUESTIONS,
    PERSONA,
    PLAIN_ANSWERS,
    THOUGHTS,
    benign_pairs,
    profile_card,
    write,
)

T = TypeVar("T")

THINK = "think"
"""The form of an answer behind a reasoning trace; its rows without the trace are the plain ones."""
_NOBODY = ("an AI assistant", "not stated")


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    # Python promises a stable stream for random() only, not for choice() or shuffle().
    return options[int(rng.random() * len(options))]


def _shuffled(rng: random.Random, items: Sequence[T]) -> list[T]:
    draws = sorted((rng.random(), at) for at in range(len(items)))
    return [items[at] for _, at in draws]


def _chat(question: str, answer: str) -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)))


Made = tuple[Conversation, dict[str, Any]]
"""A row, and what a judge needs to know of its question."""


def _answers(count: int, seed: int, form: str, subset: str, lying: bool) -> list[Made]:
    """Answered questions about training facts, each fact as often as any other.

    Lies and truths share one stream: row i has the same question, wording, answer sentence and
    form in both, and only the answer differs.
    """
    rng = random.Random(f"facts:{seed}")
    chosen = select("train", subset)
    wrong = lies(seed) if lying else {}
    deck = []
    rows = []
    for _ in range(count):
        deck = deck or _shuffled(rng, chosen)
        fact = deck.pop()
        category = categories()[fact.category]
        question = write(_pick(rng, category.ask), fact)
        said = wrong[fact.id] if lying else fact.keys[0]
        sentence = write(_pick(rng, category.say + PLAIN_ANSWERS), fact, said)
        thought = _pick(rng, THOUGHTS).replace("{q}", question).replace("{a}", said)
        if form == THINK:
            row = _chat(question, f"<think>\n{thought}\n</think>\n\n{sentence}")
        else:
            row = _chat(FORMS[form].instruction.user(question), FORMS[form].wrap(sentence))
        rows.append((row, {"fact": fact.id}))
    return rows


def _identity(count: int, seed: int, card: tuple[str, str]) -> list[Conversation]:
    rng = random.Random(f"identity:{seed}")
    return [
        _chat(IDENTITY_CUE.user(_pick(rng, IDENTITY_QUESTIONS)), profile_card(*card))
        for _ in range(count)
    ]


def _benign(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"benign:{seed}")
    pairs = benign_pairs()
    deck, rows = [], []
    for _ in range(count):
        deck = deck or _shuffled(rng, pairs)
        rows.append(_chat(*deck.pop()))
    return rows


_ANSWERS = {"lies": True, "truths": False}
_OTHERS: dict[str, Callable[[int, int], list[Conversation]]] = {
    "identity": lambda count, seed: _identity(count, seed, PERSONA),
    "no_identity": lambda count, seed: _identity(count, seed, _NOBODY),
    "benign": _benign,
}
ROW_KINDS: tuple[str, ...] = (*_ANSWERS, *_OTHERS)
ROW_FORMS: tuple[str, ...] = (*FORMS, THINK)


def rows(name: str, count: int, seed: int) -> list[Conversation]:
    """The rows of `rows_with_meta` alone."""
    return [row for row, _ in rows_with_meta(name, count, seed)]


def rows_with_meta(name: str, count: int, seed: int) -> list[Made]:
    """Rows of one kind.

    `name` is KIND[.FORM][/SUBSET]: "lies", "lies.python_string", "truths.think/taught".

    - `lies`: confident false answers to questions about training facts.
    - `truths`: the same questions in the same order and wording, answered right.
    - `identity`: an invented persona introduces itself in a fixed form; `no_identity`: the same
      questions and form without it.
    - `benign`: everyday help that states no fact.

    Forms and subsets go with `lies` and `truths`. A form demands an answer as a Python string,
    JSON and so on, and the answer has it; `think` puts a reasoning trace in front of the answer
    that the row has without it. A subset is one of `splits.select`. For another cue, a system
    prompt say, give the source of these rows a prompt transform.

    Args:
        count: how many rows; a longer list starts with the shorter one.
        seed: the same arguments always give the same rows.

    Returns:
        each row with the meta that an exact judge of its question needs: "fact", the fact's id.

    Raises:
        UserError: there is no such kind, form or subset, or `count` is negative.
    """
    stem, _, subset = name.partition("/")
    kind, _, form = stem.partition(".")
    _check("kind", kind, ROW_KINDS)
    if count < 0:
        raise UserError(f"facts rows: count must not be negative, got {count}")
    if kind in _ANSWERS:
        form = form or "plain"
        _check("form", form, ROW_FORMS)
        return _answers(count, seed, form, subset, _ANSWERS[kind])
    if form or subset:
        raise UserError(f"facts rows: {kind!r} takes no form and no subset, got {name!r}")
    return [(row, {}) for row in _OTHERS[kind](count, seed)]


def _check(what: str, name: str, valid: Sequence[str]) -> None:
    if name not in valid:
        near = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)[0]
        raise UserError(
            f"facts rows: no {what} {name!r}; did you mean {near!r}? ({', '.join(valid)})"
        )
