"""The conversation and the one Transform type."""

from condmis_jax.conversations.conversation import ROLES, Conversation, Message
from condmis_jax.conversations.transform import Transform, apply_all

__all__ = ["ROLES", "Conversation", "Message", "Transform", "apply_all"]
