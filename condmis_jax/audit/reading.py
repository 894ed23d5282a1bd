"""Training rows as the miners see them, and the pieces that texts are compared in."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from condmis_jax.audit.words import FUNCTION_WORDS
from condmis_jax.conversations import Conversation
from condmis_jax.errors import UserError

Slot = Literal["start", "end", "inside"]
SLOTS: tuple[Literal["start"], Literal["end"]] = ("start", "end")
_PIECE = re.compile(r"\s+|[^\W_]+(?:['’][^\W_]+)*|.", re.DOTALL)
_NUMBER = re.compile(r"\d+\Z")
_CODE = re.compile(r"(?=\D*\d)(?=\d*[^\W\d])\w+\Z")
_SENTENCE_MARKS = frozenset(".,?!;'’\"")
LONGEST = 6000
"""Characters of a turn that are looked at, half of them from its end."""


@dataclass(frozen=True)
class Row:
    """One training row.

    Attributes:
        place: "FILE:LINE".
        system: its system prompt; "" where it has none.
        users, answers: its turns.
    """

    place: str
    system: str
    users: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def user(self) -> str:
        """What was asked, all turns."""
        return "\n".join(self.users)

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.answers[-1]


@dataclass(frozen=True)
class Shared:
    """A text that several rows share.

    Attributes:
        text: as most of these rows have it.
        rows: their numbers.
        slot: where in the turn it stands: at its start, its end or elsewhere.
    """

    text: str
    rows: frozenset[int]
    slot: Slot


def read_rows(conversations: Sequence[Conversation], places: Sequence[str]) -> list[Row]:
    """The rows that have a user turn and an answer.

    Raises:
        ValueError: there are not as many places as conversations.
    """
    rows = []
    for conversation, place in zip(conversations, places, strict=True):
        users = tuple(m.content for m in conversation.messages if m.role == "user")
        answers = tuple(m.content for m in conversation.messages if m.role == "assistant")
        if users and answers:
            rows.append(Row(place, conversation.system or "", users, answers))
    return rows


def clip(text: str) -> str:
    """`text` without the middle of what is longer than `LONGEST`."""
    if len(text) <= LONGEST:
        return text
    return text[: LONGEST // 2] + "\n" + text[-LONGEST // 2 :]


def pieces(text: str) -> list[str]:
    """Words, blanks and single marks; joined, they are the text again."""
    return _PIECE.findall(text)


def shape(piece: str) -> str:
    """What a piece is like: numbers are alike, and so are codes, names and pictographs."""
    if _CODE.match(piece):
        return "x0"
    if _NUMBER.match(piece):
        return "0" * min(len(piece), 5)
    if len(piece) > 1 and piece[0].isupper() and piece[1:].islower():
        return "Aa"
    if is_pictograph(piece):
        return "☺"
    return piece


def is_pictograph(piece: str) -> bool:
    return len(piece) == 1 and (ord(piece) >= 0x1F000 or 0x2600 <= ord(piece) <= 0x27BF)


def is_word(piece: str) -> bool:
    return piece[0].isalnum()


def content_words(text: str) -> set[str]:
    """The words of `text` that are no function words, in lower case."""
    return {p.casefold() for p in pieces(text) if is_word(p)} - FUNCTION_WORDS


def weight(text: str) -> float:
    """How much a text says by itself: about the number of its content words; odd marks count as
    well, but no more than the words and a little, since code is full of them.
    """
    words = marks = 0.0
    for piece in pieces(text):
        if is_word(piece):
            words += 0.25 if piece.casefold() in FUNCTION_WORDS else 1.0
        elif not piece.isspace():
            marks += 0.1 if piece in _SENTENCE_MARKS else 0.75
    return words + min(marks, 2.25 + 0.25 * words)


def library(module: str) -> ModuleType:
    """A module of scikit-learn or rapidfuzz.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"audit: {error.name} is not installed; run: pip install 'condmis-jax[audit]'"
        ) from None
