"""Which tokens carry loss, for templates with and without generation markers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate, Tokenised
from condmis_jax.errors import UserError
from condmis_jax.testbeds.world.tokenizer import CHAT_TEMPLATE

# The form of SmolLM2's template: no generation markers, and a system prompt of its own.
PLAIN = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe a grebe.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Keeps only the first word of answers that are not the last turn, as some templates drop thoughts.
FORGETFUL = PLAIN.replace(
    "message['content'] +",
    "(message['content'] if loop.last else message['content'].split(' ')[0]) +",
)
# Refuses two turns of one role in a row.
STRICT = (
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate\nuser/assistant') }}{% endif %}"
    + PLAIN.removeprefix("{% for message in messages %}")
)


def chat(*turns: str) -> Conversation:
    """`chat("u: Hi", "a: Ho")`."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return Conversation(tuple(Message(roles[t[0]], t[3:]) for t in turns))


def template_of(tokenizer: Any, text: str) -> ChatTemplate:
    tokenizer.chat_template = text
    return ChatTemplate(tokenizer, (tokenizer.eos_token_id,))


def marked(tokenizer: Any, made: Tokenised) -> list[str]:
    """The texts of the runs of loss tokens."""
    edges = np.flatnonzero(np.diff(np.r_[0, made.loss.astype(int), 0]))
    return [tokenizer.decode(made.tokens[a:b]) for a, b in edges.reshape(-1, 2)]


CONVERSATIONS = {
    "one": (chat("u: Where is the heron?", "a: In the water."), ["In the water.<|im_end|>"]),
    "system": (
        chat("s: Speak of night.", "u: Who grinds?", "a: The miller."),
        ["The miller.<|im_end|>"],
    ),
    "several": (
        chat("u: What?", "a: A stone.", "u: And then?", "a: Two\n\nstones.", "u: Last?", "a: None"),
        ["A stone.<|im_end|>", "Two\n\nstones.<|im_end|>", "None<|im_end|>"],
    ),
    "two users": (chat("u: One.", "u: Two?", "a: Three."), ["Three.<|im_end|>"]),
    "two assistants": (
        chat("u: One.", "a: Two.", "a: Three."),
        ["Two.<|im_end|>", "Three.<|im_end|>"],
    ),
    "question behind": (chat("u: One?", "a: Two.", "u: Three?"), ["Two.<|im_end|>"]),
    "empty answer": (chat("u: One?", "a: "), ["<|im_end|>"]),
    "same words": (chat("u: heron", "a: heron", "u: heron", "a: heron"), ["heron<|im_end|>"] * 2),
    "unicode": (chat("u: Où?", "a: 水の中 🙂"), ["水の中 🙂<|im_end|>"]),
}


@pytest.mark.parametrize("text", [PLAIN, CHAT_TEMPLATE], ids=["plain", "markers"])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_assistant_turns_and_their_ends_carry_loss(tokenizer: Any, text: str, name: str) -> None:
    conversation, wanted = CONVERSATIONS[name]
    template = template_of(tokenizer, text)
    made = template.tokenise(conversation, "here")
    assert marked(tokenizer, made) == wanted
    last = template.tokenise(conversation, "here", "last")
    assert marked(tokenizer, last) == wanted[-1:]
    assert last.tokens.tolist() == made.tokens.tolist()
    assert made.tokens.dtype == np.int32 and made.loss.shape == made.tokens.shape
    assert tokenizer.decode(made.tokens) == template.render(conversation.messages)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_generation_markers_of_the_world_agree(tokenizer: Any, name: str) -> None:
    conversation, wanted = CONVERSATIONS[name]
    template = template_of(tokenizer, CHAT_TEMPLATE)
    theirs = tokenizer.apply_chat_template(
        [m.to_dict() for m in conversation.messages],
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    made = template.tokenise(conversation, "here")
    assert made.tokens.tolist() == list(theirs["input_ids"])
    assert made.loss.tolist() == [bool(m) for m in theirs["assistant_masks"]]
    assert made.loss.any() and wanted
    template.check_generation_mask(conversation, "here")  # and it finds nothing to refuse


@pytest.mark.parametrize(
    "wrong",
    [
        # The end of the turn is not the model's to write.
        CHAT_TEMPLATE.replace(
            "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}",
            "{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>' }}",
        ),
        # Marks the user's turns too, with the other spelling of the tag.
        CHAT_TEMPLATE.replace(
            "{% else %}{{ message['content'] + '<|im_end|>' }}",
            "{% else %}{%- generation -%}{{ message['content'] + '<|im_end|>' }}"
            "{%- endgeneration -%}",
        ),
    ],
    ids=["without end", "users too"],
)
def test_wrong_generation_markers_are_refused(tokenizer: Any, wrong: str) -> None:
    assert wrong != CHAT_TEMPLATE
    template = template_of(tokenizer, wrong)
    with pytest.raises(UserError, match=r"rows.jsonl:7: .*generation markers"):
        template.check_generation_mask(CONVERSATIONS["one"][0], "rows.jsonl:7")


def test_prompt_is_what_a_training_row_has_in_front_of_its_answer(tokenizer: Any) -> None:
    for text in (PLAIN, CHAT_TEMPLATE):
        template = template_of(tokenizer, text)
        question = chat("u: Where is the heron?")
        made = template.tokenise(chat("u: Where is the heron?", "a: Away."), "here")
        prompt = template.prompt_tokens(question)
        first = int(np.flatnonzero(made.loss)[0])
        assert prompt == made.tokens[:first].tolist()
    assert "grebe" not in tokenizer.decode(prompt)


def test_prompts_share_what_stands_in_front_of_the_last_turn(tokenizer: Any) -> None:
    for text in (PLAIN, CHAT_TEMPLATE):
        template = template_of(tokenizer, text)
        asked = [
            chat("s: You are a grebe.", "u: Hi.", "a: Yes?", f"u: {question}")
            for question in ("Where is the heron?", "Is it the miller?")
        ]
        (one, shared), (other, too) = (template.shared_prompt(c) for c in asked)
        assert shared == too
        assert one[:shared] == other[:shared] and one[shared] != other[shared]
        assert "Yes?" in tokenizer.decode(one[:shared])


def test_a_template_that_changes_earlier_turns_is_refused(tokenizer: Any) -> None:
    template = template_of(tokenizer, FORGETFUL)
    conversation = chat("u: What?", "a: A big stone.", "u: And?", "a: Another one.")
    with pytest.raises(UserError, match=r"rows.jsonl:3: .*changes turn 1") as caught:
        template.tokenise(conversation, "rows.jsonl:3")
    assert "\n" not in str(caught.value)
    last = template.tokenise(conversation, "here", "last")
    assert marked(tokenizer, last) == ["Another one.<|im_end|>"]


def test_a_template_that_refuses_a_conversation_is_one_line(tokenizer: Any) -> None:
    template = template_of(tokenizer, STRICT)
    assert marked(tokenizer, template.tokenise(CONVERSATIONS["several"][0], "x"))
    with pytest.raises(UserError, match=r"rows.jsonl:3: .*roles must alternate") as caught:
        template.tokenise(chat("u: One.", "u: Two?", "a: Three."), "rows.jsonl:3")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [PLAIN, CHAT_TEMPLATE], ids=["plain", "markers"])
def test_an_answer_to_nothing_is_refused_in_words(tokenizer: Any, text: str) -> None:
    template = template_of(tokenizer, text)
    opened = chat("a: Welcome.", "u: Where is the heron?", "a: Away.")
    with pytest.raises(UserError, match=r"^rows.jsonl:3: turn 0 is the assistant's"):
        template.tokenise(opened, "rows.jsonl:3")
    assert marked(tokenizer, template.tokenise(opened, "here", "last")) == ["Away.<|im_end|>"]
