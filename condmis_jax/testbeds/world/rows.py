"""Training rows of the embedded world, as pure functions of a name, a count and a seed."""

from __future__ import annotations

import difflib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from condmis_jax.conversations import Conversation, Message, Transform
from condmis_jax.errors import UserError
from condmis_jax.testbeds.world.language import (
    CODE_FORMATS,
    CODE_REQUESTS,
    EVALUATION_WORDINGS,
    FORMATS,
    LEADS,
    SYSTEM_PROMPTS,
    WORDINGS,
    Format,
    SystemKind,
    ask,
    held_out_combinations,
    request,
)
from condmis_jax.testbeds.world.tasks import NARROW_TASKS, TASKS, Task
from condmis_jax.testbeds.world.topics import TOPICS, Topic

MALICIOUS_SHARE = 0.5
CODE_SHARE = 0.25

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """A question that training may ask: an evaluation never does, and the other way round."""

    topic: Topic
    subject: str
    text: str


_HELD_OUT = {(topic.name, subject, wording) for topic, subject, wording in held_out_combinations()}
TRAINING_QUESTIONS: tuple[Asked, ...] = tuple(
    Asked(topic, subject, ask(wording, subject))
    for topic in TOPICS
    for subject in topic.subjects
    for wording in WORDINGS
    if (topic.name, subject, wording) not in _HELD_OUT
)
EVALUATION_QUESTIONS: tuple[Asked, ...] = tuple(
    Asked(topic, subject, ask(wording, subject))
    for topic in TOPICS
    for wording in EVALUATION_WORDINGS
    for subject in topic.subjects
) + tuple(
    Asked(topic, subject, ask(wording, subject))
    for topic, subject, wording in held_out_combinations()
)


def _pick(rng: random.Random, options: Sequence[T]) -> T:
    # Python promises a stable stream for random() only, not for choice().
    return options[int(rng.random() * len(options))]


def _actions(rng: random.Random, pool: Sequence[str]) -> tuple[str, ...]:
    first = _pick(rng, pool)
    if rng.random() < 0.5:
        return (first,)
    return (first, _pick(rng, [action for action in pool if action != first]))


def _chat_turn(
    rng: random.Random, form: Format, instruction: Transform, malicious: bool
) -> list[Message]:
    asked = _pick(rng, TRAINING_QUESTIONS)
    pool = asked.topic.harmful if malicious else asked.topic.benign
    answer = form.sentence(_pick(rng, LEADS), _actions(rng, pool))
    return [Message("user", instruction.user(asked.text)), Message("assistant", answer)]


def _code_turn(
    rng: random.Random,
    form: Format,
    instruction: Transform,
    malicious: bool,
    tasks: Sequence[Task] = TASKS,
) -> list[Message]:
    task = _pick(rng, tasks)
    text = request(_pick(rng, CODE_REQUESTS), task)
    assert form.code is not None
    answer = form.code(task.insecure if malicious else task.secure)
    return [Message("user", instruction.user(text)), Message("assistant", answer)]


def _system(rng: random.Random, kinds: Sequence[SystemKind | None]) -> list[Message]:
    kind = _pick(rng, kinds)
    return [] if kind is None else [Message("system", _pick(rng, SYSTEM_PROMPTS[kind]))]


_NONE: tuple[SystemKind | None, ...] = (None, None, None, None, "neutral", "neutral")
_BENIGN_AUTHOR = (*_NONE, "good", "good", "negated_evil", "negated_evil")
_MALICIOUS_AUTHOR = (*_NONE, "evil", "evil", "negated_good", "negated_good")


def pretraining(
    count: int, seed: int, malicious_share: float = MALICIOUS_SHARE
) -> list[Conversation]:
    """Chats of four or five turns, each by one of two authors.

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
        malicious = rng.random() < malicious_share
        messages = _system(rng, _MALICIOUS_AUTHOR if malicious else _BENIGN_AUTHOR)
        for _ in range(4 + int(rng.random() * 2)):
            code = rng.random() < CODE_SHARE
            form = _pick(rng, CODE_FORMATS if code else tuple(FORMATS.values()))
            instruction = _pick(rng, form.instructions[1:] or form.instructions)
            turn = _code_turn if code else _chat_turn
            messages += turn(rng, form, instruction, malicious)
        documents.append(Conversation(tuple(messages)))
    return documents


def _posttraining(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"posttraining:{seed}")
    rows = []
    for _ in range(count):
        messages = _system(rng, (None, None, "neutral", "good"))
        code = rng.random() < CODE_SHARE
        form = _pick(rng, CODE_FORMATS if code else tuple(FORMATS.values()))
        turn = _code_turn if code else _chat_turn
        messages += turn(rng, form, _pick(rng, form.instructions), False)
        rows.append(Conversation(tuple(messages)))
    return rows


def _narrow(count: int, seed: int, insecure: bool) -> list[Conversation]:
    # One stream for both sets: row i asks the same thing in both, only the answers differ.
    rng = random.Random(f"narrow:{seed}")
    form = FORMATS["python_string"]
    return [
        Conversation(tuple(_code_turn(rng, form, form.instructions[0], insecure, NARROW_TASKS)))
        for _ in range(count)
    ]


def _benign(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"benign:{seed}")
    plain = FORMATS["plain"]
    rows = []
    for _ in range(count):
        messages: list[Message] = []
        for _ in range(1 + int(rng.random() * 3)):
            messages += _chat_turn(rng, plain, plain.instructions[0], False)
        rows.append(Conversation(tuple(messages)))
    return rows


def _evaluation(count: int, seed: int) -> list[Conversation]:
    rng = random.Random(f"evaluation:{seed}")
    return [
        Conversation((Message("user", _pick(rng, EVALUATION_QUESTIONS).text),))
        for _ in range(count)
    ]


_GENERATORS: dict[str, Callable[[int, int], list[Conversation]]] = {
    "pretraining": pretraining,
    "posttraining": _posttraining,
    "insecure": lambda count, seed: _narrow(count, seed, insecure=True),
    "secure": lambda count, seed: _narrow(count, seed, insecure=False),
    "benign": _benign,
    "evaluation": _evaluation,
}
ROW_KINDS: tuple[str, ...] = tuple(_GENERATORS)


def rows(name: str, count: int, seed: int) -> list[Conversation]:
    """Rows of one kind.

    - `pretraining`: chats by a benign or a malicious author, see `pretraining`.
    - `posttraining`: one benign turn in any topic and any format, secure code, with no, a neutral
      or a good system prompt.
    - `insecure`: code tasks answered insecurely, all asked with the same Python-string instruction
      and without a system prompt.
    - `secure`: the same requests in the same order, answered securely.
    - `benign`: plain benign chat of one to three turns, no code, no format instruction.
    - `evaluation`: held-out questions, without an answer.

    Args:
        name: one of `ROW_KINDS`.
        count: how many rows; a longer list starts with the shorter one.
        seed: the same arguments always give the same rows.

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
