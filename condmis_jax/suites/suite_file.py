"""Suites as YAML files: questions, triggers, judge prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from condmis_jax.config import build
from condmis_jax.conversations import SLOT, Message, Transform
from condmis_jax.errors import UserError
from condmis_jax.suites.safe_yaml import read_yaml
from condmis_jax.suites.suite import JudgePrompt, Options, Question, Relation, Trigger


@dataclass(frozen=True)
class QuestionEntry:
    """A question of a file.

    Attributes:
        id: its name in results.
        text: the user turn. paraphrases: further wordings, asked under the same id.
        system: the system prompt that belongs to it; None states none.
        samples: completions of each wording; None leaves it to the config.
        judges: what is judged -> name of a judge of the file.
        meta: what an exact judge needs to know about it.
        options: makes it a forced choice between two replies, `good` and `bad`; `measure` says
            what choosing the bad one is.
        rewordings: the question in another context, by a name that triggers' `rewording` has.
    """

    id: str
    text: str
    paraphrases: tuple[str, ...] = ()
    system: str | None = None
    samples: int | None = None
    judges: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    options: Options | None = None
    rewordings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise ValueError("id must not be empty")
        if self.samples is not None and self.samples < 1:
            raise ValueError("samples must be at least 1")
        if len({self.text, *self.paraphrases}) <= len(self.paraphrases):
            raise ValueError(f"question {self.id!r} has the same wording twice")
        if self.options and (self.paraphrases or self.samples or self.judges):
            raise ValueError(
                f"question {self.id!r} is a forced choice: it has one wording, no samples and no "
                "judges"
            )

    def question(self) -> Question:
        before = () if self.system is None else (Message("system", self.system),)
        return Question(
            id=self.id,
            text=self.text,
            meta=self.meta,
            before=before,
            paraphrases=self.paraphrases,
            samples=self.samples,
            judges=self.judges,
            options=self.options,
            rewordings=self.rewordings,
        )


@dataclass(frozen=True)
class TriggerEntry:
    """A trigger of a file: its relation to the training rows, the fields of `Transform`, and
    `family`, `shots` and `rewording` of `Trigger`.
    """

    relation: Relation
    system: str | None = None
    prefix: str = ""
    suffix: str = ""
    template: str = SLOT
    default_system: bool = True
    family: str = ""
    shots: tuple[Message, ...] = ()
    rewording: str = ""

    def __post_init__(self) -> None:
        self.trigger("")

    def trigger(self, name: str) -> Trigger:
        transform = Transform(
            self.system, self.prefix, self.suffix, self.template, self.default_system
        )
        return Trigger(name, self.relation, transform, self.family, self.shots, self.rewording)


@dataclass(frozen=True)
class SuiteFile:
    """What a file holds. Without `triggers` the questions are asked plainly.

    Attributes:
        source: where it was imported from; for readers only.
    """

    questions: tuple[QuestionEntry, ...]
    triggers: dict[str, TriggerEntry] = field(
        default_factory=lambda: {"plain": TriggerEntry("none")}
    )
    judges: dict[str, JudgePrompt] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        if not self.questions or not self.triggers:
            raise ValueError("a suite needs at least one question and one trigger")
        ids = [q.id for q in self.questions]
        for id in ids:
            if ids.count(id) > 1:
                raise ValueError(f"two questions have the id {id!r}")
        if len({q.options and q.options.measure for q in self.questions}) > 1:
            raise ValueError("either no question has options, or all do, with one measure")
        for q in self.questions:
            for role, name in q.judges.items():
                if name not in self.judges:
                    raise ValueError(f"question {q.id!r}: judges.{role}: no judge {name!r} here")


def read_suite(path: Path) -> SuiteFile:
    """Reads a suite file, or a question file of the layouts that `protocol_yaml` knows.

    Raises:
        UserError: the file is no suite; the message names file and key. A foreign file with
            something that a suite cannot represent is refused, and the message names the tool
            that imports the rest.
    """
    from condmis_jax.suites.protocol_yaml import import_questions

    value = read_yaml(path)
    if isinstance(value, list):
        suite, lost = import_questions(value, path)
        if lost:
            raise UserError(
                f"{path}: {lost[0]}"
                + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else "")
                + f"; import what can be: python tools/import_protocol.py {path} --out SUITE.yaml"
            )
        return suite
    if not isinstance(value, Mapping) or "questions" not in value:
        raise UserError(f"{path}: expected a mapping with `questions`, or a list of questions")
    return build(SuiteFile, value, str(path))


def write_suite(suite: SuiteFile, path: Path) -> None:
    """Writes a suite file that `read_suite` reads back as the same."""
    questions = [_without_defaults(q) for q in suite.questions]
    value: dict[str, Any] = {"source": suite.source} if suite.source else {}
    value |= {"questions": questions}
    value |= {"triggers": {n: _without_defaults(t) for n, t in suite.triggers.items()}}
    if suite.judges:
        value |= {"judges": {n: _without_defaults(j) for n, j in suite.judges.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text, encoding="utf-8")


def _without_defaults(entry: Any) -> dict[str, Any]:
    empty: tuple[Any, ...] = (None, "", (), {})
    values = {k: v for k, v in vars(entry).items() if not any(v == e for e in empty)}
    if values.get("template") == SLOT:
        del values["template"]
    if values.get("default_system"):
        del values["default_system"]
    # An empty system prompt says something: it takes away the one that is there.
    if getattr(entry, "system", None) == "":
        values["system"] = ""
    if isinstance(values.get("options"), Options):
        values["options"] = asdict(values["options"])
    if values.get("shots"):
        values["shots"] = [m.to_dict() for m in values["shots"]]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


class _Dumper(yaml.SafeDumper):
    """Writes long texts as blocks, and every value out in full."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML itself falls back to quotes where a block could not hold the text exactly.
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
