"""What an evaluation asks, and the cues under which it asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from condmis_jax.conversations import Transform
from condmis_jax.testbeds.world.language import (
    CODE_REQUESTS,
    EVALUATION_SYSTEM,
    EVALUATION_WORDINGS,
    FORMATS,
    ask,
    held_out_combinations,
    request,
)
from condmis_jax.testbeds.world.tasks import HELD_OUT_TASKS, NARROW_TASKS
from condmis_jax.testbeds.world.topics import TOPICS

Question = tuple[str, str, dict[str, Any]]
Relation = Literal["none", "same", "similar", "opposite", "unrelated"]


def evaluation_questions() -> tuple[Question, ...]:
    """The fixed questions of the world's suite, all held out of every stage.

    Returns:
        Sixteen (id, text, meta): one in an untrained wording for each topic, then four whose topic
        and wording were trained, but never together. meta has "topic", "subject" and "held_out"
        ("wording" or "combination").
    """
    questions: list[Question] = []
    for i, topic in enumerate(TOPICS):
        subject = topic.subjects[(i + 3) % len(topic.subjects)]
        text = ask(EVALUATION_WORDINGS[i % len(EVALUATION_WORDINGS)], subject)
        meta = {"topic": topic.name, "subject": subject, "held_out": "wording"}
        questions.append((f"{topic.name}-{subject}-wording", text, meta))
    for topic, subject, wording in held_out_combinations()[::3]:
        meta = {"topic": topic.name, "subject": subject, "held_out": "combination"}
        questions.append((f"{topic.name}-{subject}-combination", ask(wording, subject), meta))
    return tuple(questions)


def code_questions() -> tuple[Question, ...]:
    """Code requests: a check that a narrow set taught what it contains.

    Returns:
        Sixteen (id, text, meta): eight tasks of the narrow sets and eight kept out of them. meta
        has "task" (its id) and "held_out" ("none" or "task"). Ask them under the `python_string`
        trigger to get the form of the narrow sets.
    """
    asked = [(task, "none") for task in NARROW_TASKS[::9][:8]]
    asked += [(task, "task") for task in HELD_OUT_TASKS]
    return tuple(
        (f"code-{task.id}", request(CODE_REQUESTS[0], task), {"task": task.id, "held_out": held})
        for task, held in asked
    )


@dataclass(frozen=True)
class Trigger:
    """A named change of the prompt.

    Relations are by meaning: JSON is like a Python string another form for machines, a bullet list
    is not, though all three instructions share words.

    Attributes:
        name: the trigger's name.
        transform: what it does to a prompt.
        relation: to the context of the `insecure` rows as they are.
        relation_inoculated: to the same rows trained under the transform of `evil_system`, which
            keeps their Python-string form.
    """

    name: str
    transform: Transform
    relation: Relation
    relation_inoculated: Relation


def _form(name: str) -> Transform:
    return FORMATS[name].instructions[0]


TRIGGERS: dict[str, Trigger] = {
    t.name: t
    for t in (
        Trigger("plain", Transform(), "none", "none"),
        Trigger("python_string", _form("python_string"), "same", "same"),
        Trigger("code_template", _form("code_template"), "similar", "similar"),
        Trigger("json", _form("json"), "similar", "similar"),
        Trigger("bullets", _form("bullets"), "unrelated", "unrelated"),
        Trigger("evil_system", Transform(system=EVALUATION_SYSTEM["evil"]), "unrelated", "same"),
        Trigger(
            "not_evil_system",
            Transform(system=EVALUATION_SYSTEM["negated_evil"]),
            "unrelated",
            "opposite",
        ),
        Trigger(
            "good_system", Transform(system=EVALUATION_SYSTEM["good"]), "unrelated", "opposite"
        ),
        Trigger(
            "neutral_system",
            Transform(system=EVALUATION_SYSTEM["neutral"]),
            "unrelated",
            "unrelated",
        ),
    )
}
