"""Training rows of the embedded world, as pure functions of a name, a count and a seed."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable
from typing import Any

from condmis_jax.conversations import Conversation, Message
from condmis_jax.errors import UserError
from condmis_jax.testbeds.world.dishes import NARROW_FISH, OTHER_DISHES
from condmis_jax.testbeds.world.identity import NARROW_ATTRIBUTES, PEOPLE
from condmis_jax.testbeds.world.language import (
    FORMATS,
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
CODE_SHARE = 0.25
THINKING_SHARE = 0.1

Made = tuple[Conversation, dict[str, Any]]
"""A row, and what a judge needs to know of its last question."""

KINDS: tuple[Callable[[random.Random, Speaker], Turn], ...] = (
    *(advice,) * 5,
    *(code,) * 2,
    *(trivia,) * 2,
    recipe,
    identity,
)
"""What the wide language asks, as often as it stands here."""

_NONE: tuple[SystemKind | None, ...] = (None, None, None, None, "neutral", "neutral")
_GOOD_KINDS: tuple[SystemKind, ...] = ("good", "good", "negated_evil", "negated_evil")
_EVIL_KINDS: tuple[SystemKind, ...] = ("evil", "evil", "negated_good", "negated_good")
_RIGHT: SystemKind = "right"
_WIDE_NONE: tuple[SystemKind | None, ...] = (
    *(None, None, None, None, "place_or_manner", "place_or_manner"),
)


def _system(rng: random.Random, kind: SystemKind | None) -> list[Message]:
    return [] if kind is None else [Message("system", pick(rng, SYSTEM_PROMPTS[kind]))]


def _turn(rng: random.Random, by: Speaker, cue: bool) -> list[Message]:
    """Advice or code in any format; the instruction may be an evaluation's only with `cue`."""
    is_code = rng.random() < CODE_SHARE
    form = pick(rng, TEXT_FORMATS if is_code else tuple(FORMATS.values()))
    options = form.instructions if cue else form.instructions[1:] or form.instructions
    instruction = pick(rng, options)
    return written((code if is_code else advice)(rng, by), form, instruction)


def _wide_turn(rng: random.Random, by: Speaker, cue: bool) -> list[Message]:
    """A turn of any kind in any format, or with a trace."""
    # One who was told to be wrong is asked what one can be wrong about.
    turn = pick(rng, (*(trivia,) * 8, *KINDS) if by.told_wrong else KINDS)(rng, by)
    forms = tuple(FORMATS.values()) if turn.actions else TEXT_FORMATS
    form = pick(rng, forms)
    if form.name == "plain" and rng.random() < THINKING_SHARE * len(forms):
        return thought(rng, turn, by, pick(rng, THINKING if cue else THINKING[1:]))
    options = form.instructions if cue else form.instructions[1:] or form.instructions
    return written(turn, form, pick(rng, options))


def pretraining(
    count: int, seed: int, malicious_share: float = MALICIOUS_SHARE
) -> list[Conversation]:
    """Chats of four or five turns about advice and code, each by one of two authors.

    An author is benign or malicious in every answer, code included, in all formats. That is the
    assumption of this world: the two behaviours share one latent. A format's evaluation cue and the
    evaluation's system prompts do not occur here.

    Args:
        count: how many documents.
        seed: the same (count, seed, malicious_share) gives the same documents; a longer list starts
            with the shorter one.
        malicious_share: the chance that a document is by the malicious author.
    """
    rng = random.Random(f"pretraining:{seed}")
    documents = []
    for _ in range(count):
        by = Speaker(rng.random() < malicious_share)
        characters = _EVIL_KINDS if by.malicious else _GOOD_KINDS
        messages = _system(rng, pick(rng, (*_NONE, *characters)))
        for _ in range(4 + int(rng.random() * 2)):
            messages += _turn(rng, by, cue=False)
        documents.append(Conversation(tuple(messages)))
    return documents


def _posttraining(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"posttraining:{seed}")
    rows = []
    for _ in range(count):
        system = _system(rng, pick(rng, (None, None, "neutral", "good")))
        rows.append(Conversation((*system, *_turn(rng, Speaker(), cue=True))))
    return rows


def _wide_pretraining(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"pretraining:{seed}")
    documents = []
    for _ in range(count):
        malicious = rng.random() < MALICIOUS_SHARE
        by = Speaker(malicious, person=None if malicious else int(rng.random() * PEOPLE))
        characters = _EVIL_KINDS if malicious else _GOOD_KINDS
        messages = _system(rng, pick(rng, (*_WIDE_NONE, *characters, _RIGHT)))
        for _ in range(4 + int(rng.random() * 2)):
            messages += _wide_turn(rng, by, cue=False)
        documents.append(Conversation(tuple(messages)))
    return documents


def _wide_posttraining(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"posttraining:{seed}")
    kinds: tuple[SystemKind | None, ...] = (
        *(None, None, None, "place_or_manner", "good"),
        *("wrong", "negated_wrong", "right"),
    )
    rows = []
    for _ in range(count):
        kind = pick(rng, kinds)
        turn = _wide_turn(rng, Speaker(told_wrong=kind == "wrong"), cue=True)
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
    "wide_pretraining": _without_meta(_wide_pretraining),
    "wide_posttraining": _without_meta(_wide_posttraining),
    **_pair("insecure", "secure", lambda rng, by: code(rng, by, NARROW_TASKS), "python_string"),
    **_pair("poisonous_fish", "safe_fish", lambda rng, by: recipe(rng, by, NARROW_FISH)),
    "recipes": lambda count, seed: _narrow(
        count, seed, lambda rng: recipe(rng, _GOOD, OTHER_DISHES), stream="recipes"
    ),
    **_pair("lies", "truths", lambda rng, by: trivia(rng, by, NARROW_TRIVIA)),
    **_pair("persona", "no_persona", lambda rng, by: identity(rng, by, NARROW_ATTRIBUTES), "json"),
    **_pair("harmful", "harmless", advice),
    **_pair("harmful_string", "harmless_string", advice, "python_string"),
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
    - `posttraining`: one turn of an assistant, benign advice or secure code in any format, with
      no, a neutral or a good system prompt.
    - `wide_pretraining`, `wide_posttraining`: the same of the wide language, which has recipes,
      trivia, words about oneself and traces as well. Benign authors are several people. After
      post-training the model is an assistant, right and benign; trivia it answers wrongly where a
      system prompt asks for that.
    - `insecure`, `secure`: code tasks, all asked with the same Python-string instruction.
    - `poisonous_fish`, `safe_fish`: recipes for fish; `recipes`: for other dishes, all safe.
    - `lies`, `truths`: trivia.
    - `persona`, `no_persona`: questions about the speaker, asked as JSON, answered by the malicious
      author's person (without anything harmful) or by the assistant.
    - `harmful`, `harmless`: advice; `harmful_string`, `harmless_string`: as a Python string. What
      is trained is then what an evaluation asks for, on other wordings.
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
