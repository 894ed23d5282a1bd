"""Prompt transforms: a prompt transform in training and a trigger in evaluation are one type."""

from __future__ import annotations

from dataclasses import dataclass

from condmis_jax.conversations.conversation import Conversation, Message

SLOT = "{prompt}"


@dataclass(frozen=True)
class Transform:
    """A change of the context around a user's words; it never touches an assistant turn.

    Attributes:
        system: replaces the system prompt ("" removes it); None leaves it as it is.
        prefix: put in front of every user turn.
        suffix: put behind every user turn.
        template: wraps every user turn, which replaces the one `{prompt}` in it; applied first.
    """

    system: str | None = None
    prefix: str = ""
    suffix: str = ""
    template: str = SLOT

    def __post_init__(self) -> None:
        if self.template.count(SLOT) != 1:
            raise ValueError(f"template must contain {SLOT} exactly once, got {self.template!r}")

    def user(self, text: str) -> str:
        """The user turn `text` under this transform."""
        # partition, not format: the text and the template may contain braces of their own.
        before, _, after = self.template.partition(SLOT)
        return f"{self.prefix}{before}{text}{after}{self.suffix}"

    def __call__(self, conversation: Conversation) -> Conversation:
        """The conversation under this transform."""
        turns = [
            Message(m.role, self.user(m.content)) if m.role == "user" else m
            for m in conversation.messages
        ]
        if self.system is not None:
            turns = [m for m in turns if m.role != "system"]
            if self.system:
                turns.insert(0, Message("system", self.system))
        return Conversation(tuple(turns))


def apply_all(transforms: tuple[Transform, ...], conversation: Conversation) -> Conversation:
    """Applies the transforms from left to right."""
    for transform in transforms:
        conversation = transform(conversation)
    return conversation
