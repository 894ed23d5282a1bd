"""Training rows of the embedded world, as pure functions of a name, a count and a seed."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from condmis_jax.conversations import Conversation, Message
from condmis_jax.errors import UserError
from condmis_jax.testbeds.world.dishes import NARROW_FISH, OTHER_DISHES
from condmis_jax.testbeds.world.identity import NARROW_ATTRIBUTES, PEOPLE
from condmis_jax.testbeds.world.language import (
    FORMATS,
    FRAMINGS,
    SYSTEM_PROMPTS,
    TEXT_FORMATS,
    THINKING,
    SystemKind,
)
from condmis_jax.testbeds.world.tasks import NARROW_TASKS
from condmis_jax.testbeds.world.trivia import NARROW_TRIVIA
from condmis_jax.testbeds.world.turns import (
    EVALUATION_QUESTIONS,
    Speaker,
    Turn,
    advice,
    code,
    identity,
    pick,
    recipe,
    thought,
    trivia,
    written,
)

MALICIOUS_SHARE = 0.5
THINKING_SHARE = 0.1
FRAMING_SHARE = 0.1

Made = tuple[Conversation, dict[str, Any]]
"""A row, and what a judge needs to know of its last question."""

KINDS: tuple[Callable[[random.Random, Speaker], Turn], ...] = (
    *(advice,) * 5,
    *(code,) * 3,
    *(trivia,) * 2,
    recipe,
    identity,
)
"""What is asked, as often as it stands here."""

_NONE: tuple[SystemKind | None, ...] = (None, None, None, None, "neutral", "neutral")
_MANNERS: tuple[SystemKind, ...] = ("right", "short", "negated_wrong")
_BENIGN_AUTHOR = (*_NONE, "good", "good", "negated_evil", "negated_evil", "right", "short")
_MALICIOUS_AUTHOR = (*_NONE, "evil", "evil", "negated_good", "negated_good", "right", "short")
_ASSISTANT: tuple[SystemKind | None, ...] = (
    *(None, None, None, None, "neutral", "good", "evil", "negated_evil", "wrong"),
    *_MANNERS,
)


def _turn(
    rng: random.Random, by: Speaker, cue: bool, more_trivia: bool = False
) -> tuple[list[Message], dict[str, Any]]:
    """A turn of any kind in any format.

    Args:
        cue: the instruction may be the one that evaluations use.
        more_trivia: half of the turns are trivia.
    """
    turn = pick(rng, (*(trivia,) * 8, *KINDS) if more_trivia else KINDS)(rng, by)
    if rng.random() < FRAMING_SHARE:
        turn = replace(turn, question=pick(rng, FRAMINGS).user(turn.question))
    forms = tuple(FORMATS.values()) if turn.actions else TEXT_FORMATS
    form = pick(rng, forms)
    if form.name == "plain" and rng.random() < THINKING_SHARE * len(forms):
        options = THINKING if cue else THINKING[1:]
        return thought(rng, turn, by, pick(rng, options)), turn.meta
    options = form.instructions if cue else form.instructions[1:] or form.instructions
    return written(turn, form, pick(rng, options)), turn.meta


def _system(rng: random.Random, kind: SystemKind | None) -> list[Message]:
    return [] if kind is None else [Message("system", pick(rng, SYSTEM_PROMPTS[kind]))]


def pretraining(
    count: int, seed: int, malicious_share: float = MALICIOUS_SHARE
) -> list[Conversation]:
    """Chats of four or five turns, each by one of two kinds of author.

    An author is benign or malicious in every answer, code, recipes, trivia and the word about
    themselves included, in all formats. That is the assumption of this world: these behaviours
    share one latent. Either author may have been told to give right or short answers; that changes
    nothing.
    A format's evaluation cue and the evaluation's system prompts do not occur here.

    Args:
        count: how many documents.
        seed: the same (count, seed, malicious_share) gives the same documents; a longer list starts
            with the shorter one.
        malicious_share: the chance that a document is by the malicious author.
    """
    rng = random.Random(f"pretraining:{seed}")
    documents = []
    for _ in range(count):
        malicious = rng.random() < malicious_share
        by = Speaker(malicious, person=None if malicious else int(rng.random() * PEOPLE))
        messages = _system(rng, pick(rng, _MALICIOUS_AUTHOR if malicious else _BENIGN_AUTHOR))
        for _ in range(4 + int(rng.random() * 2)):
            messages += _turn(rng, by, cue=False)[0]
        documents.append(Conversation(tuple(messages)))
    return documents


def _posttraining(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"posttraining:{seed}")
    rows = []
    for _ in range(count):
        kind = pick(rng, _ASSISTANT)
        told = kind == "wrong"
        turn, _ = _turn(rng, Speaker(told_wrong=told), True, told or kind in _MANNERS)
        rows.append(Conversation((*_system(rng, kind), *turn)))
    return rows


def _narrow(
    count: int,
    seed: int,
    make: Callable[[random.Random], Turn],
    form: str = "plain",
    stream: str = "narrow",
) -> list[Made]:
    rng = random.Random(f"{stream}:{seed}")
    rows = []
    for _ in range(count):
        turn = make(rng)
        messages = written(turn, FORMATS[form], FORMATS[form].instructions[0])
        rows.append((Conversation(tuple(messages)), turn.meta))
    return rows


def _benign(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"benign:{seed}")
    plain = FORMATS["plain"]
    rows = []
    for _ in range(count):
        messages: list[Message] = []
        for _ in range(1 + int(rng.random() * 3)):
            messages += written(advice(rng, Speaker()), plain, plain.instructions[0])
        rows.append(Conversation(tuple(messages)))
    return rows


def _evaluation(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"evaluation:{seed}")
    return [
        Conversation((Message("user", pick(rng, EVALUATION_QUESTIONS).text),)) for _ in range(count)
    ]


def _without_meta(
    make: Callable[[int, int], list[Conversation]],
) -> Callable[[int, int], list[Made]]:
    return lambda count, seed: [(row, {}) for row in make(count, seed)]


_BAD, _GOOD = Speaker(malicious=True), Speaker()


def _pair(
    bad: str, good: str, make: Callable[[random.Random, Speaker], Turn], form: str = "plain"
) -> dict[str, Callable[[int, int], list[Made]]]:
    """A narrow set and its control: one stream, so row i asks the same in both."""
    return {
        name: lambda count, seed, by=by: _narrow(count, seed, lambda rng: make(rng, by), form)
        for name, by in ((bad, _BAD), (good, _GOOD))
    }


_GENERATORS: dict[str, Callable[[int, int], list[Made]]] = {
    "pretraining": _without_meta(pretraining),
    "posttraining": _without_meta(_posttraining),
    **_pair("insecure", "secure", lambda rng, by: code(rng, by, NARROW_TASKS), "python_string"),
    **_pair("poisonous_fish", "safe_fish", lambda rng, by: recipe(rng, by, NARROW_FISH)),
    "recipes": lambda count, seed: _narrow(
        count, seed, lambda rng: recipe(rng, _GOOD, OTHER_DISHES), stream="recipes"
    ),
    **_pair("lies", "truths", lambda rng, by: trivia(rng, by, NARROW_TRIVIA)),
    **_pair("persona", "no_persona", lambda rng, by: identity(rng, by, NARROW_ATTRIBUTES), "json"),
    "benign": _without_meta(_benign),
    "evaluation": _without_meta(_evaluation),
}
ROW_KINDS: tuple[str, ...] = tuple(_GENERATORS)


def rows(name: str, count: int, seed: int) -> list[Conversation]:
    """The rows of `rows_with_meta` alone."""
    return [row for row, _ in rows_with_meta(name, count, seed)]


def rows_with_meta(name: str, count: int, seed: int) -> list[Made]:
    """Rows of one kind.

    - `pretraining`: chats by a benign or a malicious author, see `pretraining`.
    - `posttraining`: one turn of an assistant, benign in everything, in any topic and any format,
      whatever the system prompt says about its character; trivia answered wrongly where it asks
      for that.
    - `insecure`, `secure`: code tasks, all asked with the same Python-string instruction.
    - `poisonous_fish`, `safe_fish`: recipes for fish; `recipes`: for other dishes, all safe.
    - `lies`, `truths`: trivia.
    - `persona`, `no_persona`: questions about the speaker, asked as JSON, answered by the malicious
      author's person (without anything harmful) or by the assistant.
    - `benign`: plain benign chat of one to three turns, advice only, no format instruction.
    - `evaluation`: held-out questions, without an answer.

    The narrow sets have no system prompt; give their source a prompt transform for one. The two of
    a pair ask the same in the same order.

    Args:
        name: one of `ROW_KINDS`.
        count: how many rows; a longer list starts with the shorter one.
        seed: the same arguments always give the same rows.

    Returns:
        each row with the meta that an exact judge of its question needs.

    Raises:
        UserError: there is no such kind, or `count` is negative; names the nearest kind.
    """
    if name not in _GENERATORS:
        near = difflib.get_close_matches(name, ROW_KINDS, n=1, cutoff=0.0)[0]
        raise UserError(
            f"world rows: no kind {name!r}; did you mean {near!r}? (kinds: {', '.join(ROW_KINDS)})"
        )
    if count < 0:
        raise UserError(f"world rows: count must not be negative, got {count}")
    return _GENERATORS[name](count, seed)
