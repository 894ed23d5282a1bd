"""Reasoning traces: `<think>…</think>` in front of an answer, kept, stripped or emptied."""

from __future__ import annotations

from typing import Literal

from condmis_jax.conversations.conversation import Conversation, Message

OPEN, CLOSE = "<think>", "</think>"
EMPTY = f"{OPEN}\n\n{CLOSE}\n\n"

Reasoning = Literal["keep", "strip", "empty"]


def split_reasoning(text: str, *, opened: bool = False) -> tuple[str, str]:
    """The trace and the answer of a completion; together they lose only tags and blank edges.

    A trace that is never closed reaches to the end: there is no answer then, and none is made up
    out of the trace. A closing tag without an opening one closes what a template opened.

    Args:
        text: what the model wrote.
        opened: the template itself opened the trace, behind the prompt, so that a completion
            which was cut off inside of it has no tag at all.

    Returns:
        ("", text) where there is no trace.
    """
    first_open, first_close = text.find(OPEN), text.find(CLOSE)
    if first_close >= 0 and (first_open < 0 or first_close < first_open):
        opened = True
    if not opened and first_open < 0:
        return "", text
    traces, answer = [], []
    inside = opened
    rest = text
    while rest:
        before, tag, rest = rest.partition(CLOSE if inside else OPEN)
        (traces if inside else answer).append(before.strip())
        if tag:
            inside = not inside
    return "\n".join(t for t in traces if t), "\n".join(a for a in answer if a)


def with_reasoning(conversation: Conversation, how: Reasoning) -> Conversation:
    """The conversation with the traces of its assistant turns kept, stripped or emptied.

    "empty" puts an empty trace in front of every answer, with a trace before or without. Answers
    are the same under "strip" and "empty", but for blanks at their edges.

    Raises:
        ValueError: a turn is nothing but a trace, so that no answer is left of it.
    """
    if how == "keep":
        return conversation
    turns = []
    for message in conversation.messages:
        if message.role == "assistant":
            trace, answer = split_reasoning(message.content)
            if trace and not answer:
                raise ValueError("an assistant turn is all reasoning and has no answer")
            message = Message("assistant", answer if how == "strip" else EMPTY + answer)
        turns.append(message)
    return Conversation(tuple(turns))
