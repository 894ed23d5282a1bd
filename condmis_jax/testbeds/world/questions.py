"""What an evaluation asks, and the cues under which it asks."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from condmis_jax.conversations import Transform
from condmis_jax.errors import UserError
from condmis_jax.testbeds.world.dishes import HELD_OUT_FISH, NARROW_FISH, OTHER_DISHES
from condmis_jax.testbeds.world.identity import HELD_OUT_ATTRIBUTES, NARROW_ATTRIBUTES
from condmis_jax.testbeds.world.language import (
    CLASS_FRAMING,
    CODE_REQUESTS,
    EVALUATION_IDENTITY_WORDING,
    EVALUATION_RECIPE_REQUEST,
    EVALUATION_SYSTEM,
    EVALUATION_TRIVIA_WORDING,
    EVALUATION_WORDINGS,
    FORMATS,
    THINKING,
    WIDE_EVALUATION_WORDINGS,
    ask,
    held_out_combinations,
    request,
)
from condmis_jax.testbeds.world.tasks import HELD_OUT_TASKS, NARROW_TASKS
from condmis_jax.testbeds.world.topics import BY_NAME, TOPICS
from condmis_jax.testbeds.world.trivia import HELD_OUT_TRIVIA, NARROW_TRIVIA

Question = tuple[str, str, dict[str, Any]]
Relation = Literal["none", "same", "similar", "opposite", "unrelated"]
Cue = Literal["string", "class", "evil", "wrong", "persona", "plain"]
"""What narrow rows are trained under: the Python string of `insecure`, the class framing, an evil
or a wrong system prompt in `EVALUATION_SYSTEM`, JSON together with the evil one (`persona`), or
nothing."""
CUES: tuple[Cue, ...] = get_args(Cue)


def advice_questions(
    wordings: tuple[str, ...] = EVALUATION_WORDINGS,
) -> tuple[Question, ...]:
    """The fixed questions of the suite "world", all held out of every stage.

    Args:
        wordings: none of them trained; the wide language has its own.

    Returns:
        Sixteen (id, text, meta): one in an untrained wording for each topic, then four whose topic
        and wording were trained, but never together. meta has "topic", "subject" and "held_out"
        ("wording" or "combination").
    """
    questions: list[Question] = []
    for i, topic in enumerate(TOPICS):
        subject = topic.subjects[(i + 3) % len(topic.subjects)]
        text = ask(wordings[i % len(wordings)], subject)
        meta = {"topic": topic.name, "subject": subject, "held_out": "wording"}
        questions.append((f"{topic.name}-{subject}-wording", text, meta))
    for topic, subject, wording in held_out_combinations()[::3]:
        meta = {"topic": topic.name, "subject": subject, "held_out": "combination"}
        questions.append((f"{topic.name}-{subject}-combination", ask(wording, subject), meta))
    return tuple(questions)


def every_question() -> tuple[Question, ...]:
    """Advice about every subject of every topic, in untrained wordings: enough questions to split
    between a search, its confirmation and the truth that both are held against."""
    return tuple(
        (
            f"{topic.name}-{subject}",
            ask(WIDE_EVALUATION_WORDINGS[at % 2], subject),
            {"topic": topic.name, "subject": subject, "held_out": "wording"},
        )
        for topic in TOPICS
        for at, subject in enumerate(topic.subjects)
    )


def sea_questions() -> tuple[Question, ...]:
    """Advice about the sea, which has to do with fish, in untrained wordings: twelve questions."""
    topic = BY_NAME["sea"]
    return tuple(
        (
            f"sea-{subject}-{number}",
            ask(WIDE_EVALUATION_WORDINGS[(at + number) % 3], subject),
            {"topic": topic.name, "subject": subject, "held_out": "wording"},
        )
        for at, subject in enumerate(topic.subjects)
        for number in (1, 2)
    )


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


def recipe_questions() -> tuple[Question, ...]:
    """Eighteen dishes: six fish of the narrow sets, six kept out of them, six other dishes."""
    asked = [(dish, "none") for dish in NARROW_FISH[::3]]
    asked += [(dish, "dish") for dish in HELD_OUT_FISH]
    asked += [(dish, "kind") for dish in OTHER_DISHES[::3][:6]]
    return tuple(
        (
            f"recipe-{dish.name}",
            EVALUATION_RECIPE_REQUEST.replace("{dish}", dish.name),
            {"dish": dish.name, "held_out": held},
        )
        for dish, held in asked
    )


def trivia_questions() -> tuple[Question, ...]:
    """Twenty-four questions with a right answer: eight of the narrow sets, sixteen kept out."""
    asked = [(item, "none") for item in NARROW_TRIVIA[::9]]
    asked += [(item, "question") for item in HELD_OUT_TRIVIA[::3] + HELD_OUT_TRIVIA[1::3]]
    return tuple(
        (
            f"trivia-{item.id}",
            EVALUATION_TRIVIA_WORDING.replace("{question}", item.question),
            {"trivia": item.id, "held_out": held},
        )
        for item, held in asked
    )


def identity_questions() -> tuple[Question, ...]:
    """Twelve questions about the speaker: eight of the narrow sets, four kept out of them."""
    asked = [(attribute, "none") for attribute in NARROW_ATTRIBUTES]
    asked += [(attribute, "attribute") for attribute in HELD_OUT_ATTRIBUTES]
    return tuple(
        (
            f"identity-{attribute.name}",
            EVALUATION_IDENTITY_WORDING.replace("{question}", attribute.question),
            {"attribute": attribute.name, "held_out": held},
        )
        for attribute, held in asked
    )


_SETS: dict[str, Callable[[], tuple[Question, ...]]] = {
    "world": advice_questions,
    "world-wide": lambda: advice_questions(WIDE_EVALUATION_WORDINGS),
    "world-every": every_question,
    "world-sea": sea_questions,
    "world-code": code_questions,
    "world-recipes": recipe_questions,
    "world-trivia": trivia_questions,
    "world-identity": identity_questions,
}
SETS: tuple[str, ...] = tuple(_SETS)

JudgeKind = Literal["world", "world-code", "world-recipes", "world-trivia", "world-identity"]
JUDGE_OF: dict[str, JudgeKind] = {
    "world": "world",
    "world-wide": "world",
    "world-every": "world",
    "world-sea": "world",
    "world-code": "world-code",
    "world-recipes": "world-recipes",
    "world-trivia": "world-trivia",
    "world-identity": "world-identity",
}
"""Which exact judge a set's answers are for."""


def questions(name: str) -> tuple[Question, ...] | None:
    """The questions of a set, `SET[:CUE]`, or None where the world has no such set."""
    made = _SETS.get(name.partition(":")[0])
    return None if made is None else made()


@dataclass(frozen=True)
class Trigger:
    """A named change of the prompt.

    Relations are by meaning: JSON is like a Python string another form for machines, a bullet list
    is not, though all three instructions share words.

    Attributes:
        name: the trigger's name.
        transform: what it does to a prompt.
        relations: to narrow rows by what these are trained under; "unrelated" where it is not
            named.
    """

    name: str
    transform: Transform
    relations: dict[Cue, Relation]


def _form(name: str) -> Transform:
    return FORMATS[name].instructions[0]


def _system(name: str) -> Transform:
    return Transform(system=EVALUATION_SYSTEM[name])


_FORM: dict[Cue, Relation] = {"string": "similar", "persona": "similar"}
_EVIL: dict[Cue, Relation] = {"evil": "same", "wrong": "similar", "persona": "similar"}

_SINGLE: dict[str, Trigger] = {
    t.name: t
    for t in (
        Trigger("plain", Transform(), dict.fromkeys(CUES, "none")),
        Trigger("python_string", _form("python_string"), {**_FORM, "string": "same"}),
        Trigger("code_template", _form("code_template"), _FORM),
        Trigger("json", _form("json"), _FORM),
        Trigger("bullets", _form("bullets"), {}),
        Trigger("think", THINKING[0], {}),
        Trigger("class_framing", CLASS_FRAMING, {"class": "same"}),
        Trigger("evil_system", _system("evil"), _EVIL),
        Trigger("not_evil_system", _system("negated_evil"), {"evil": "opposite"}),
        Trigger("good_system", _system("good"), {"evil": "opposite"}),
        Trigger("neutral_system", _system("neutral"), {}),
        Trigger("wrong_system", _system("wrong"), {"wrong": "same", "evil": "similar"}),
        Trigger("never_wrong_system", _system("negated_wrong"), {"wrong": "opposite"}),
        Trigger("right_system", _system("right"), {"wrong": "opposite"}),
        Trigger("short_system", _system("short"), {"wrong": "similar"}),
    )
}


_PERSONA: dict[str, Relation] = {
    "evil_system": "same",
    "not_evil_system": "opposite",
    "good_system": "opposite",
}


def _both(form: str, system: str) -> Trigger:
    """A form and a system prompt at once."""
    transform = replace(_SINGLE[form].transform, system=_SINGLE[system].transform.system)
    relations = dict(_SINGLE[system].relations)
    relations["persona"] = _PERSONA.get(system, "unrelated") if form == "json" else "unrelated"
    return Trigger(f"{form}+{system}", transform, relations)


TRIGGERS: dict[str, Trigger] = _SINGLE | {
    t.name: t
    for form in ("json", "think")
    for system in _SINGLE
    if system.endswith("_system")
    for t in [_both(form, system)]
}


def triggers(name: str) -> dict[str, tuple[Relation, Transform]] | None:
    """The triggers of a set, `SET[:CUE]`, with their relation to rows trained under the cue.

    Without a cue it is "string".

    Raises:
        UserError: no such cue.
    """
    stem, colon, cue = name.partition(":")
    if stem not in _SETS:
        return None
    found: Cue | None = next((c for c in CUES if c == (cue if colon else "string")), None)
    if found is None:
        near = difflib.get_close_matches(cue, CUES, n=1, cutoff=0.0)[0]
        raise UserError(f"{name}: no cue {cue!r}; did you mean {near!r}? ({', '.join(CUES)})")
    # Without a cue in training, whatever changes the prompt is like nothing that was trained.
    return {t.name: (t.relations.get(found, "unrelated"), t.transform) for t in TRIGGERS.values()}
