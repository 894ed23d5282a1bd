"""The system prompt that a chat template writes by itself, and taking it away."""

from __future__ import annotations

from typing import Any

import pytest

from condmis_jax.conversations import Conversation, Message, Transform
from condmis_jax.data import ChatTemplate

CHATML = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}DEFAULT{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BLOCK = "<|im_start|>system\nBe {you}.<|im_end|>\n"
WITH = CHATML.replace("DEFAULT", BLOCK)
WITHOUT = CHATML.replace("DEFAULT", "")
REFUSING = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + WITHOUT
# A header that is always there, and the stated prompt in it, as Llama 3 has it.
HEADER = (
    "<|im_start|>system\nToday. {% if messages[0].role == 'system' %}{{ messages[0].content }}"
    "{% endif %}<|im_end|>\n{% for m in messages if m.role != 'system' %}{{ m.role }}: "
    "{{ m.content }}\n{% endfor %}"
)
IGNORING = "{% for m in messages if m.role != 'system' %}{{ m.role }}: {{ m.content }}{% endfor %}"

BARE = Conversation((Message("user", "Hi"), Message("assistant", "Ho")))
OFF = Transform(default_system=False)(BARE)


def template(tokenizer: Any, text: str) -> ChatTemplate:
    tokenizer.chat_template = text
    return ChatTemplate(tokenizer, (tokenizer.eos_token_id,))


def test_it_is_found_and_taken_away(tokenizer: Any) -> None:
    chat = template(tokenizer, WITH)
    assert chat.default_system == "Be {you}."
    on, off = chat.render(BARE.messages), chat.render(OFF.messages)
    assert on.startswith(BLOCK) and off == on.replace("Be {you}.", "")
    data = chat.tokenise(OFF, "x:1")
    assert tokenizer.decode(data.tokens) == off
    assert tokenizer.decode(data.tokens[data.loss]) == "Ho<|im_end|>"
    prompt = Conversation(OFF.messages[:-1])
    assert tokenizer.decode(chat.prompt_tokens(prompt)).startswith("<|im_start|>system\n<|im_end|>")


@pytest.mark.parametrize("text", [WITHOUT, REFUSING, HEADER, IGNORING])
def test_a_template_without_one_renders_both_the_same(tokenizer: Any, text: str) -> None:
    chat = template(tokenizer, text)
    assert chat.default_system == ""
    assert chat.render(OFF.messages) == chat.render(BARE.messages)


def test_smollm2_has_one(smollm2_folder: Any) -> None:
    from condmis_jax.models import load_tokenizer

    chat = ChatTemplate(load_tokenizer(smollm2_folder), (2,))
    assert chat.default_system.startswith("You are a helpful AI assistant named SmolLM")
    assert "SmolLM" in chat.render(BARE.messages)
    assert "SmolLM" not in chat.render(OFF.messages)
