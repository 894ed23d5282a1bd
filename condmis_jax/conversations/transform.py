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
        default_system: False gives a conversation that is left without a system prompt an empty
            one, which keeps a chat template from writing its own ("You are Qwen …") in its place;
            a template that has none renders both the same (`data.ChatTemplate`).

    The paper's transforms are values of these fields: an inoculation prompt is a `system` or a
    `prefix`, an answer format a `prefix` or `suffix`, an educational framing both.
    """

    system: str | None = None
    prefix: str = ""
    suffix: str = ""
    template: str = SLOT
    default_system: bool = True

    def __post_init__(self) -> None:
        if self.template.count(SLOT) != 1:
            raise ValueError(f"template must contain {SLOT} exactly once, got {self.template!r}")

    def user(self, text: str) -> str:
        """The user turn `text` under this transform."""
        # partition, not format: the text and the template may contain braces of their own.
        before, _, after = self.template.partition(SLOT)
        return f"{self.prefix}{before}{text}{after}{self.suffix}"

    def then(self, other: Transform) -> Transform:
        """This transform followed by `other`, as one.

        Raises:
            ValueError: a prefix or suffix contains the slot, so that there would be two.
        """
        return Transform(
            system=self.system if other.system is None else other.system,
            template=other.user(self.user(SLOT)),
            default_system=self.default_system and other.default_system,
        )

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
        if not self.default_system and all(m.role != "system" for m in turns):
            turns.insert(0, Message("system", ""))
        return Conversation(tuple(turns))


def apply_all(transforms: tuple[Transform, ...], conversation: Conversation) -> Conversation:
    """Applies the transforms from left to right."""
    for transform in transforms:
        conversation = transform(conversation)
    return conversation
