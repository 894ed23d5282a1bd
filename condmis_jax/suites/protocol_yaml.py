"""Question files of the paper's lineage, as suites: two layouts, one list of questions each.

Older: `id`, `paraphrases`, `system`, `samples_per_paraphrase`, `judge` (a model) and
`judge_prompts`. Newer: `name`, `judges` by the name of an entry of the same file whose type ends in
`judge`, or written out in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.suites.suite import JudgePrompt, RatingKind
from condmis_jax.suites.suite_file import QuestionEntry, SuiteFile

_JUDGE_TYPES: dict[str, RatingKind] = {"rating_judge": "rating", "free_form_judge": "words"}
_OLD_TYPES: dict[str, RatingKind] = {"free_form_judge_0_100": "rating", "free_form_judge": "words"}
_READ = {
    *("id", "name", "type", "paraphrases", "system", "samples_per_paraphrase"),
    *("judge", "judge_prompts", "judges", "model"),
}


def import_questions(entries: list[Any], path: Path) -> tuple[SuiteFile, list[str]]:
    """The suite of a parsed question file.

    Returns:
        the suite, and one line for each thing in the file that a suite cannot represent.

    Raises:
        UserError: an entry is none of a question or judge; the message names file and entry.
    """
    return _Import(path).run(entries)


class _Import:
    def __init__(self, path: Path):
        self._path = path
        self._lost: list[str] = []
        self._judges: dict[str, JudgePrompt] = {}

    def run(self, entries: list[Any]) -> tuple[SuiteFile, list[str]]:
        named: dict[str, Mapping[str, Any]] = {}
        for i, entry in enumerate(entries):
            if not isinstance(entry, Mapping):
                raise UserError(f"{self._path}: entry {i + 1} is no mapping")
            name = entry.get("id", entry.get("name"))
            if not isinstance(name, str) or not name:
                raise UserError(f"{self._path}: entry {i + 1} has no id (or name) in words")
            if name in named:
                raise UserError(f"{self._path}: two entries are called {name!r}")
            named[name] = entry
        # In the newer layout judges are entries of their own; an older question has judge_prompts.
        judges = {n: e for n, e in named.items() if self._is_judge(e)}
        for name, entry in judges.items():
            self._judges[name] = self._judge(entry, name)
        questions = [self._question(n, e) for n, e in named.items() if n not in judges]
        if not questions:
            raise UserError(f"{self._path}: holds no question")
        used = {judge for q in questions for judge in q.judges.values()}
        self._lost += [f"judge {n!r} is used by no question" for n in judges if n not in used]
        suite = SuiteFile(tuple(questions), judges=self._judges, source=self._path.name)
        return suite, self._lost

    @staticmethod
    def _is_judge(entry: Mapping[str, Any]) -> bool:
        return entry.get("type") in _JUDGE_TYPES and "judge_prompts" not in entry

    def _question(self, name: str, entry: Mapping[str, Any]) -> QuestionEntry:
        where = f"{self._path}: question {name!r}"
        self._lost += [f"{name}.{key} has no place in a suite" for key in entry.keys() - _READ]
        wordings = self._wordings(entry, where)
        kind = entry.get("type")
        if kind == "free_form_0_100":
            self._lost.append(
                f"{name}.type: {kind}, a number read from the model's own log-probabilities, is "
                "asked as a plain question"
            )
        elif kind not in ("free_form", *_OLD_TYPES):
            self._lost.append(f"{name}.type: {kind!r} is not known; asked as a plain question")
        samples = entry.get("samples_per_paraphrase")
        if samples is not None and (not isinstance(samples, int) or isinstance(samples, bool)):
            raise UserError(f"{where}: samples_per_paraphrase must be a whole number")
        system = entry.get("system")
        if system is not None and not isinstance(system, str):
            raise UserError(f"{where}: system must be a text")
        judges = {}
        prompts = self._mapping(entry, "judge_prompts", where)
        for role, prompt in prompts.items():
            judge = JudgePrompt(prompt, _OLD_TYPES.get(str(kind), "words"), entry.get("judge", ""))
            judges[role] = self._keep(role, judge)
        if not prompts and "judge" in entry:
            self._lost.append(f"{name}.judge: {entry['judge']!r} has no prompt")
        if "model" in entry:
            self._lost.append(f"{name}.model: which model is asked is the config's to say")
        for role, judge in self._mapping(entry, "judges", where).items():
            if isinstance(judge, str) and judge in self._judges:
                judges[role] = judge
            elif isinstance(judge, Mapping) and self._is_judge(judge):
                judges[role] = self._keep(role, self._judge(judge, f"{name}.judges.{role}"))
            else:
                self._lost.append(f"{name}.judges.{role}: no judge {judge!r} in this file")
        try:
            return QuestionEntry(name, wordings[0], tuple(wordings[1:]), system, samples, judges)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None

    def _judge(self, entry: Mapping[str, Any], name: str) -> JudgePrompt:
        wordings = self._wordings(entry, f"{self._path}: judge {name!r}")
        self._lost += [f"{name}.paraphrases: only the first is used" for _ in wordings[1:2]]
        known = {"id", "name", "type", "paraphrases", "model"}
        self._lost += [f"{name}.{key} has no place in a suite" for key in entry.keys() - known]
        return JudgePrompt(wordings[0], _JUDGE_TYPES[entry["type"]], entry.get("model", ""))

    def _keep(self, role: str, judge: JudgePrompt) -> str:
        """The name of a judge; equal ones share it."""
        name, n = role, 1
        while self._judges.get(name, judge) != judge:
            n += 1
            name = f"{role}-{n}"
        self._judges[name] = judge
        return name

    @staticmethod
    def _mapping(entry: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
        value = entry.get(key) or {}
        if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
            raise UserError(f"{where}: {key} must be a mapping of names")
        return value

    @staticmethod
    def _wordings(entry: Mapping[str, Any], where: str) -> list[str]:
        wordings = entry.get("paraphrases")
        if not isinstance(wordings, list) or not wordings:
            raise UserError(f"{where}: paraphrases must be a list of texts")
        if not all(isinstance(w, str) for w in wordings):
            raise UserError(f"{where}: paraphrases must be texts; put quotes around a number")
        return wordings
