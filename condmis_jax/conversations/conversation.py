"""Chat conversations: what a training row and an evaluation prompt are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from condmis_jax.errors import UserError

ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Message:
    """One turn. `role` is one of `ROLES`; `content` is plain text."""

    role: str
    content: str

    def to_dict(self) -> dict[str, str]:
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Conversation:
    """An immutable chat. A training row ends in an assistant turn, a prompt in a user turn."""

    messages: tuple[Message, ...]

    @classmethod
    def from_row(cls, row: Any, where: str) -> Conversation:
        """Validates one parsed JSON row of the form `{"messages": [{"role", "content"}, …]}`.

        Args:
            row: the parsed JSON value; further keys beside "messages" are ignored.
            where: `file:line`, put in front of every error.

        Raises:
            UserError: the row is not a chat; the message names the offending turn.
        """
        if not isinstance(row, Mapping) or "messages" not in row:
            raise UserError(f'{where}: expected an object with a "messages" list')
        messages = row["messages"]
        if not isinstance(messages, list) or not messages:
            raise UserError(f'{where}: "messages" must be a non-empty list')
        turns = []
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping):
                raise UserError(f"{where}: messages[{i}] must be an object")
            role, content = message.get("role"), message.get("content")
            if role not in ROLES:
                raise UserError(
                    f"{where}: messages[{i}].role is {role!r}, expected one of {', '.join(ROLES)}"
                )
            if not isinstance(content, str):
                raise UserError(f"{where}: messages[{i}].content must be a string")
            if role == "system" and i > 0:
                raise UserError(f"{where}: messages[{i}] is a system turn that is not the first")
            turns.append(Message(role, content))
        return cls(tuple(turns))

    def to_row(self) -> dict[str, Any]:
        """The inverse of `from_row`."""
        return {"messages": [m.to_dict() for m in self.messages]}

    @property
    def system(self) -> str | None:
        """The system prompt, or None when the conversation states none."""
        first = self.messages[0]
        return first.content if first.role == "system" else None

    def question(self) -> str:
        """The last user turn: what a judge is shown (PAPER 2604.25891, evaluation protocol)."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")
