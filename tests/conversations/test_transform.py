"""Conversations and the one Transform type."""

from __future__ import annotations

import pytest

from condmis_jax.conversations import Conversation, Message, Transform, apply_all
from condmis_jax.errors import UserError

CHAT = Conversation(
    (
        Message("system", "old"),
        Message("user", "one"),
        Message("assistant", "first"),
        Message("user", "two"),
        Message("assistant", "second"),
    )
)


def turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in conversation.messages]


def test_the_default_changes_nothing():
    assert Transform()(CHAT) == CHAT


def test_every_user_turn_is_changed_and_no_assistant_turn():
    changed = Transform(prefix="<", suffix=">", template="[{prompt}]")(CHAT)
    assert turns(changed) == [
        ("system", "old"),
        ("user", "<[one]>"),
        ("assistant", "first"),
        ("user", "<[two]>"),
        ("assistant", "second"),
    ]


@pytest.mark.parametrize(
    ("system", "first"),
    [(None, ("system", "old")), ("new", ("system", "new")), ("", ("user", "one"))],
)
def test_the_system_prompt_is_left_replaced_or_removed(system, first):
    changed = turns(Transform(system=system)(CHAT))
    assert changed[0] == first
    assert [t for t in changed if t[0] != "system"] == turns(CHAT)[1:]


@pytest.mark.parametrize(("system", "count"), [(None, 0), ("", 0), ("new", 1)])
def test_a_chat_without_a_system_prompt(system, count):
    bare = Conversation(CHAT.messages[1:])
    changed = Transform(system=system)(bare)
    assert [m.content for m in changed.messages if m.role == "system"] == ["new"] * count
    assert changed.messages[count:] == bare.messages


@pytest.mark.parametrize("text", ["{", "}", "{}", "{0}", "{prompt}", "{{prompt}}", "%s", "\\1"])
def test_braces_are_only_text(text):
    assert Transform(template='{"q": "{prompt}"} {x} {{y}}').user(text) == (
        '{"q": "' + text + '"} {x} {{y}}'
    )
    assert Transform(prefix="{prompt}", suffix="{0}").user(text) == "{prompt}" + text + "{0}"


@pytest.mark.parametrize("template", ["", "no slot", "{prompt} {prompt}", "{ prompt }"])
def test_a_template_has_one_slot(template):
    with pytest.raises(ValueError, match="exactly once"):
        Transform(template=template)


def test_transforms_are_applied_from_left_to_right():
    steps = (Transform(system="a", prefix="1"), Transform(system="b", prefix="2"))
    changed = apply_all(steps, CHAT)
    assert changed.system == "b"
    assert changed.messages[1].content == "21one"
    assert apply_all((), CHAT) == CHAT


def test_rows_round_trip():
    assert Conversation.from_row(CHAT.to_row(), "x:1") == CHAT
    assert CHAT.question() == "two"
    assert CHAT.system == "old"
    assert Conversation(CHAT.messages[1:]).system is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([], 'expected an object with a "messages" list'),
        ({"prompt": "x"}, 'expected an object with a "messages" list'),
        ({"messages": []}, '"messages" must be a non-empty list'),
        ({"messages": {"role": "user"}}, '"messages" must be a non-empty list'),
        ({"messages": ["hi"]}, r"messages\[0\] must be an object"),
        ({"messages": [{"role": "usr", "content": "x"}]}, r"messages\[0\]\.role is 'usr', exp"),
        ({"messages": [{"role": "user", "content": 1}]}, r"messages\[0\]\.content must be a str"),
        (
            {
                "messages": [
                    {"role": "user", "content": "x"},
                    {"role": "system", "content": "y"},
                ]
            },
            r"messages\[1\] is a system turn that is not the first",
        ),
    ],
)
def test_a_row_that_is_no_chat_is_named(row, said):
    with pytest.raises(UserError, match=f"^rows.jsonl:7: {said}"):
        Conversation.from_row(row, "rows.jsonl:7")


def test_the_default_system_prompt_is_taken_away_where_no_other_is():
    off = Transform(default_system=False)
    bare = Conversation(CHAT.messages[1:])
    assert off(CHAT) == CHAT
    assert turns(off(bare)) == [("system", ""), *turns(bare)]
    assert turns(Transform(system="", default_system=False)(CHAT)) == turns(off(bare))
    assert off(off(bare)) == off(bare)
    assert Transform(system="new", default_system=False)(bare) == Transform(system="new")(bare)


def test_one_transform_after_another_is_one_transform():
    first = Transform(system="A", prefix="<", suffix=">", template="({prompt})")
    second = Transform(prefix="[", suffix="]", default_system=False)
    both = first.then(second)
    asked = Conversation((Message("user", "hi {x}"),))
    assert both(asked) == second(first(asked))
    assert both.user("hi {x}") == "[<(hi {x})>]"
    assert second.then(Transform(system="B"))(asked) == Transform(system="B")(second(asked))
    with pytest.raises(ValueError, match="exactly once"):
        Transform(prefix="{prompt}").then(second)
