"""The conversation and the one Transform type."""

from condmis_jax.conversations.conversation import ROLES, Conversation, Message
from condmis_jax.conversations.transform import SLOT, Transform, apply_all

__all__ = ["ROLES", "SLOT", "Conversation", "Message", "Transform", "apply_all"]
