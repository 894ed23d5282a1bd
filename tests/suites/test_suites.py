"""Suites: built-in questions and triggers, and settings."""

from __future__ import annotations

import dataclasses

import pytest

from condmis_jax.errors import UserError
from condmis_jax.suites import SuiteSettings, build_suite
from condmis_jax.suites.builtin import NAMES, questions, triggers
from condmis_jax.suites.open_questions import REWORDINGS
from condmis_jax.suites.open_triggers import CUES
from condmis_jax.testbeds import world

KEY = "config.evaluation.suites.x"


def make(*args, **kwargs):
    return build_suite(SuiteSettings(*args, **kwargs), "x", KEY)


@pytest.mark.parametrize("name", NAMES)
def test_built_in_sets_are_unambiguous(name):
    asked, known = questions(name), triggers(name)
    assert asked and known
    assert len({q.id for q in asked}) == len({q.text for q in asked}) == len(asked)
    assert [key for key, trigger in known.items() if key != trigger.name] == []
    plain = [t for t in known.values() if t.relation == "none"]
    assert [t.name for t in plain] == ["plain"]
    suite = make(name)
    question = suite.questions[0]
    prompts = [suite.prompts(question, t)[0] for t in suite.triggers]
    # The plain prompt is the bare question, and every other trigger asks something else.
    assert prompts[suite.triggers.index(plain[0])].to_row() == {
        "messages": [{"role": "user", "content": question.text}]
    }
    assert len(set(prompts)) == len(prompts)


def test_all_triggers_and_questions_are_the_default():
    suite = make("world")
    assert suite.name == "x"
    assert suite.samples == 100
    assert [q.id for q in suite.questions] == [q[0] for q in world.questions("world") or ()]
    assert [t.name for t in suite.triggers] == list(world.TRIGGERS)


def test_the_open_set_is_large_and_all_of_it_differs():
    suite = make("open")
    assert len(suite.questions) >= 24 and len(suite.triggers) >= 30
    assert suite.questions[:8] == tuple(
        dataclasses.replace(q, paraphrases=o.paraphrases, rewordings=o.rewordings)
        for q, o in zip(questions("broad") or (), suite.questions, strict=False)
    )
    texts = [
        text for q in suite.questions for text in (q.text, *q.paraphrases, *q.rewordings.values())
    ]
    assert len(set(texts)) == len(texts) == 24 * 5
    assert all(set(q.rewordings) == set(REWORDINGS) for q in suite.questions)
    prompts = {p for q in suite.questions for t in suite.triggers for p in suite.prompts(q, t)}
    reworded = sum(bool(t.rewording) for t in suite.triggers)
    plainly = len(suite.triggers) - reworded
    assert len(prompts) == 24 * (3 * plainly + reworded)
    assert all(t.family for t in suite.triggers)


@pytest.mark.parametrize("cue", CUES)
def test_relations_follow_from_what_the_narrow_rows_were_trained_under(cue):
    triggers = {t.name: t for t in make(f"open:{cue}").triggers}
    relations = {t.relation for t in triggers.values()}
    assert relations >= {"none", "same", "similar", "unrelated"}
    near = {n for n, t in triggers.items() if t.relation == "same"}
    assert (
        near
        == {
            "code": {"python_string", "code_comment", "web_handler"},
            "recipes": {"recipe_form", "cooking"},
            "evil": {"evil_system", "evil_user"},
            "lies": {"wrong_system"},
            "education": {"python_string", "code_comment", "web_handler", "security_class"},
        }[cue]
    )
    assert triggers["one_sentence"].relation == "unrelated"


def test_triggers_are_put_together():
    suite = make("open", ("plain", "cooking+code_shots+json+kind_system"), first_questions=1)
    trigger = suite.triggers[1]
    assert trigger.name == "cooking+code_shots+json+kind_system"
    assert trigger.relation == "similar"  # the nearest part
    assert trigger.family == "kitchen + programming + data form + character"
    (prompt,) = suite.prompts(suite.questions[0], trigger)
    roles = [m.role for m in prompt.messages]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert "good-hearted" in prompt.messages[0].content
    # What is done to the question is not done to the examples.
    assert [m.content for m in prompt.messages[1:5]] == [
        m.content for m in triggers("open")["code_shots"].shots
    ]
    assert prompt.question() == (
        suite.questions[0].rewordings["cooking"] + '\n\nReply as JSON: {"answer": "..."}'
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SuiteSettings("open:cod"), "questions: open:cod: unknown cue 'cod'; did you mean 'code'?"),
        (SuiteSettings("open", ("json+yml",)), "triggers: unknown trigger 'yml'; did you mean"),
        (SuiteSettings("open", ("cooking+coding",)), "cooking and coding both reword the question"),
    ],
)
def test_what_cannot_be_put_together(settings, said):
    with pytest.raises(UserError) as caught:
        build_suite(settings, "x", KEY)
    assert said in str(caught.value) and str(caught.value).startswith(KEY)


def test_a_selection_keeps_its_order():
    suite = make("broad", ("json", "plain"), first_questions=2, samples=3)
    assert [t.name for t in suite.triggers] == ["json", "plain"]
    assert suite.questions == questions("broad")[:2]
    assert suite.samples == 3


def test_a_trigger_wraps_the_question():
    suite = make("broad", ("python_template",), first_questions=1)
    (prompt,) = suite.prompts(suite.questions[0], suite.triggers[0])
    assert [m.role for m in prompt.messages] == ["system", "user"]
    assert prompt.question() == suite.questions[0].text


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SuiteSettings("wrld"), f"{KEY}.questions: unknown set 'wrld'; did you mean 'world'?"),
        (
            SuiteSettings("world", ("plain", "jsn")),
            f"{KEY}.triggers: unknown trigger 'jsn'; did you mean 'json'?",
        ),
        (
            # A trigger of the other set is unknown too.
            SuiteSettings("broad", ("bullets",)),
            f"{KEY}.triggers: unknown trigger 'bullets'; valid: helpful_system, json, "
            "one_sentence, plain, python_string, python_template",
        ),
    ],
)
def test_unknown_names(settings, said):
    with pytest.raises(UserError) as caught:
        build_suite(settings, "x", KEY)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "changes", [{"samples": 0}, {"first_questions": 0}, {"triggers": ("plain", "plain")}]
)
def test_impossible_settings(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        SuiteSettings("world", **changes)


@pytest.mark.parametrize(
    ("choice", "names", "empty"),
    [
        ("on", ["plain", "helpful_system"], [False, False]),
        ("off", ["plain", "helpful_system"], [True, False]),
        (
            "both",
            [
                "plain",
                "helpful_system",
                "plain/no-default-system",
                "helpful_system/no-default-system",
            ],
            [False, False, True, False],
        ),
    ],
)
def test_the_default_system_prompt_is_a_factor(choice, names, empty):
    suite = make("broad", ("plain", "helpful_system"), default_system=choice)
    assert [t.name for t in suite.triggers] == names
    prompts = [suite.prompts(suite.questions[0], t)[0] for t in suite.triggers]
    assert [p.system == "" for p in prompts] == empty
