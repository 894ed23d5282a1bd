"""The conversation and the one Transform type."""

from condmis_jax.conversations.conversation import ROLES, Conversation, Message
from condmis_jax.conversations.reasoning import (
    CLOSE,
    OPEN,
    Reasoning,
    split_reasoning,
    with_reasoning,
)
from condmis_jax.conversations.transform import SLOT, Transform, apply_all

__all__ = [
    "CLOSE",
    "OPEN",
    "ROLES",
    "SLOT",
    "Conversation",
    "Message",
    "Reasoning",
    "Transform",
    "apply_all",
    "split_reasoning",
    "with_reasoning",
]
