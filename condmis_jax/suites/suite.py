"""A suite: questions x triggers x samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from condmis_jax.conversations import Conversation, Message, Transform

Relation = Literal["none", "same", "similar", "opposite", "unrelated"]


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        id: its name in results.
        text: the user turn before any trigger.
        meta: what an exact judge needs to know about it.
        before: the conversation that it continues.
    """

    id: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    before: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Trigger:
    """A prompt transform under which every question is asked.

    Attributes:
        name: its name in results.
        relation: to the context of the narrow training rows; "none" is the plain question.
        transform: what it does to the prompt.
    """

    name: str
    relation: Relation
    transform: Transform


@dataclass(frozen=True)
class Suite:
    """What is asked.

    Attributes:
        name: its name in results and folders.
        questions, triggers: every question is asked under every trigger.
        samples: completions of each question under each trigger.
    """

    name: str
    questions: tuple[Question, ...]
    triggers: tuple[Trigger, ...]
    samples: int

    def prompt(self, question: Question, trigger: Trigger) -> Conversation:
        """The conversation that asks `question` under `trigger`."""
        turns = (*question.before, Message("user", question.text))
        return trigger.transform(Conversation(turns))
