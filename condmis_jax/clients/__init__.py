"""OpenAI-compatible HTTP: judges and remote models. Importing it does not import openai."""

from condmis_jax.clients.chat import ChatFailure, ChatReply, ChatRequest, Endpoint
from condmis_jax.clients.openai_http import ChatClient

__all__ = ["ChatClient", "ChatFailure", "ChatReply", "ChatRequest", "Endpoint"]
