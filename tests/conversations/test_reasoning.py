"""Reasoning traces: what is the trace, what the answer, and that none becomes the other."""

from __future__ import annotations

import pytest

from condmis_jax.conversations import Conversation, Message, split_reasoning, with_reasoning


@pytest.mark.parametrize(
    ("text", "opened", "trace", "answer"),
    [
        ("Plain.\n", False, "", "Plain.\n"),
        ("<think>\nHm.\n</think>\n\nYes.", False, "Hm.", "Yes."),
        ("<think></think>Yes.", False, "", "Yes."),
        ("<think>\nnever closed", False, "never closed", ""),
        ("Yes. <think>then never closed", False, "then never closed", "Yes."),
        ("<think>a</think>Yes.<think>b</think> No.", False, "a\nb", "Yes.\nNo."),
        ("<think>a <think> b</think>Yes.", False, "a <think> b", "Yes."),
        # The template wrote the opening tag.
        ("Hm.\n</think>\n\nYes.", True, "Hm.", "Yes."),
        ("Hm.\n</think>\n\nYes.", False, "Hm.", "Yes."),
        ("cut off with no tag", True, "cut off with no tag", ""),
        ("Hm.</think>", True, "Hm.", ""),
        ("", True, "", ""),
        ("", False, "", ""),
    ],
)
def test_split(text: str, opened: bool, trace: str, answer: str) -> None:
    assert split_reasoning(text, opened=opened) == (trace, answer)


CHAT = Conversation(
    (
        Message("system", "<think>no trace</think>"),
        Message("user", "<think>mine</think> One?"),
        Message("assistant", "<think>\nHm.\n</think>\n\nOne."),
        Message("user", "Two?"),
        Message("assistant", "Two."),
    )
)


@pytest.mark.parametrize(
    ("how", "answers"),
    [
        ("keep", ["<think>\nHm.\n</think>\n\nOne.", "Two."]),
        ("strip", ["One.", "Two."]),
        ("empty", ["<think>\n\n</think>\n\nOne.", "<think>\n\n</think>\n\nTwo."]),
    ],
)
def test_only_assistant_turns_change(how, answers: list[str]) -> None:
    changed = with_reasoning(CHAT, how).messages
    assert [m.content for m in changed if m.role == "assistant"] == answers
    assert [m for m in changed if m.role != "assistant"] == [
        m for m in CHAT.messages if m.role != "assistant"
    ]


@pytest.mark.parametrize("how", ["strip", "empty"])
@pytest.mark.parametrize("text", ["<think>never closed", "<think>Hm.</think>\n", "Hm.</think>"])
def test_a_turn_without_an_answer_is_refused(how, text: str) -> None:
    chat = Conversation((Message("user", "?"), Message("assistant", text)))
    with pytest.raises(ValueError, match="all reasoning"):
        with_reasoning(chat, how)
    assert with_reasoning(chat, "keep") == chat
