"""A suite as the config states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Literal

from condmis_jax.config import nearest
from condmis_jax.errors import UserError
from condmis_jax.suites import builtin
from condmis_jax.suites.suite import JudgePrompt, Suite, Trigger
from condmis_jax.suites.suite_file import read_suite

DEFAULT_SAMPLES = 100


@dataclass(frozen=True)
class SuiteSettings:
    """Which questions under which triggers, how often.

    Attributes:
        questions: a built-in set: "broad", "open", "world", "facts-dev", "facts-test",
            "choices-harm" … (`suites.builtin`); or a `.yaml` file (`suites.suite_file`).
        triggers: names of that set's triggers; empty takes all. One of them should be "plain".
            "NAME+NAME" asks under both, the second one around the first.
        first_questions: ask only the first N; None asks all.
        samples: completions of each wording of a question under each trigger; None takes what the
            question's file states, or 100. A forced choice is scored, not sampled: once.
        default_system: "on" leaves prompts without a system prompt to the chat template, which may
            write its own; "off" takes that away; "both" asks under every trigger twice, the second
            time as `NAME/no-default-system`. As trained is the choice that agrees with the
            `default_system` of the training rows' transforms (on unless they say otherwise).
        temperature: of this suite's completions; None takes the evaluation's. The same questions
            under two names are asked at two temperatures.
    """

    questions: str
    triggers: tuple[str, ...] = ()
    first_questions: int | None = None
    samples: int | None = None
    default_system: Literal["on", "off", "both"] = "on"
    temperature: float | None = None

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise ValueError("samples must be at least 1")
        if self.first_questions is not None and self.first_questions < 1:
            raise ValueError("first_questions must be at least 1")
        if self.temperature is not None and self.temperature < 0:
            raise ValueError("temperature must not be negative")
        if len(set(self.triggers)) < len(self.triggers):
            raise ValueError("triggers names one twice")


def build_suite(settings: SuiteSettings, name: str, key: str) -> Suite:
    """The suite that these settings describe.

    Args:
        key: config key of the settings, for errors.

    Raises:
        UserError: an unknown question set or trigger, with the nearest known one; or a file that is
            no suite.
    """
    judge_prompts: Mapping[str, JudgePrompt] = {}
    if settings.questions.endswith((".yaml", ".yml")):
        file = read_suite(Path(settings.questions).expanduser())
        questions = tuple(q.question() for q in file.questions)
        known = {name: t.trigger(name) for name, t in file.triggers.items()}
        judge_prompts = file.judges
    else:
        try:
            questions = builtin.questions(settings.questions)
            known = builtin.triggers(settings.questions)
        except UserError as error:
            raise UserError(f"{key}.questions: {error}") from None
    if questions is None or known is None:
        hint = nearest(settings.questions, builtin.NAMES)
        raise UserError(f"{key}.questions: unknown set {settings.questions!r}{hint}")
    chosen = tuple(_trigger(t, known, f"{key}.triggers") for t in settings.triggers or known)
    for trigger in chosen:
        if trigger.rewording and any(trigger.rewording not in q.rewordings for q in questions):
            raise UserError(
                f"{key}.triggers: {trigger.name!r} asks the rewording {trigger.rewording!r}, which "
                "not every question has"
            )
    if settings.samples is not None:
        questions = tuple(replace(q, samples=None) for q in questions)
    forced = any(q.options is not None for q in questions)
    if forced and settings.samples not in (None, 1):
        raise UserError(
            f"{key}.samples: {settings.samples}, but a forced choice has no samples: its options "
            "are scored once; leave samples out"
        )
    if forced and settings.temperature is not None:
        raise UserError(f"{key}.temperature: a forced choice is scored, not sampled; leave it out")
    triggers = chosen
    if settings.default_system != "on":
        off = tuple(_without_default(t, settings.default_system == "both") for t in triggers)
        triggers = (*triggers, *off) if settings.default_system == "both" else off
    return Suite(
        name=name,
        questions=questions[: settings.first_questions],
        triggers=triggers,
        samples=1 if forced else settings.samples or DEFAULT_SAMPLES,
        judge_prompts=judge_prompts,
        temperature=settings.temperature,
    )


def _trigger(name: str, known: Mapping[str, Trigger], key: str) -> Trigger:
    """The trigger of this name, or those of its parts put together."""
    if name in known:
        return known[name]
    parts = name.split("+")
    for part in parts:
        if part not in known:
            raise UserError(f"{key}: unknown trigger {part!r}{nearest(part, known)}")
    try:
        return reduce(add, (known[part] for part in parts))
    except ValueError as error:
        raise UserError(f"{key}: {name!r}: {error}") from None


def _without_default(trigger: Trigger, renamed: bool) -> Trigger:
    return replace(
        trigger,
        name=f"{trigger.name}/no-default-system" if renamed else trigger.name,
        transform=replace(trigger.transform, default_system=False),
    )
