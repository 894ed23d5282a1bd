"""Evaluation scripts of the paper's repository, as suites: a suite for each script with questions.

Questions, system prompts and judge prompts are constants there, found by name and shape:

- questions: a mapping id -> text called `QUESTIONS`; a list `EVAL_PROMPTS` beside `QUESTION_IDS`;
  or one text whose name ends in `_QUESTION`;
- system prompts (triggers): `VARIANTS` with a tag and a system prompt each; pairs in `TRIGGERS`;
  or lists of system prompts by group in `GROUP_TO_PROMPTS`;
- a text whose name ends in `_PREFIX` stands in front of every question;
- judge prompts: texts whose names end in `_JUDGE_PROMPT`; `JUDGE_MODEL`, `NUM_SAMPLES`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from condmis_jax.conversations import Transform
from condmis_jax.errors import UserError
from condmis_jax.suites.literals import Module, Reader
from condmis_jax.suites.suite import JudgePrompt, Relation
from condmis_jax.suites.suite_file import QuestionEntry, SuiteFile, TriggerEntry

_ROLES = {"alignment": "aligned", "coherence": "coherent"}
_SKIPPED = {".git", ".venv", "node_modules", "__pycache__"}


def import_scripts(root: Path) -> tuple[dict[str, SuiteFile], list[str]]:
    """The suites of a clone.

    Args:
        root: the folder of the clone, or one script of it.

    Returns:
        suites by a name made of the script's path, and one line for each text in those scripts
        that a suite cannot represent.

    Raises:
        UserError: no script holds questions, or the one script cannot be read.
    """
    paths = [root] if root.is_file() else sorted(root.rglob("*.py"))
    reader = Reader(_top(root))
    suites: dict[str, SuiteFile] = {}
    lost: list[str] = []
    for path in paths:
        if _SKIPPED & set(path.parts):
            continue
        try:
            module = reader.read(path)
        except UserError as error:
            if root.is_file():
                raise
            lost.append(str(error))
            continue
        name = _name(path, root)
        suite = _Script(module, name, lost).suite()
        if suite is not None:
            suites[name] = suite
    if not suites:
        raise UserError(f"{root}: no script in it holds questions (QUESTIONS or EVAL_PROMPTS)")
    return suites, lost


def _top(root: Path) -> Path:
    """The folder in which imports of a script are looked for."""
    if root.is_dir():
        return root
    above = root.resolve().parents
    return next((p for p in above if (p / ".git").exists()), root.resolve().parent)


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts if root.is_dir() else (path.stem,)
    kept = [p for p in parts if p not in ("experiments", "evals")]
    return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(kept)).strip("-")


class _Script:
    def __init__(self, module: Module, name: str, lost: list[str]):
        self._module, self._name, self._lost = module, name, lost
        self._values = module.constants
        self._used: set[str] = set()

    def suite(self) -> SuiteFile | None:
        questions = self._questions()
        if not questions:
            return None
        judges = self._judges()
        samples = self._get("NUM_SAMPLES", int)
        triggers = self._triggers()
        prefix = self._prefix(questions)
        if prefix:
            triggers = {n: TriggerEntry(t.relation, t.system, prefix) for n, t in triggers.items()}
        roles = {role: role for role in judges}
        entries = tuple(
            QuestionEntry(id, text, samples=samples, judges=roles) for id, text in questions.items()
        )
        self._name_the_rest()
        return SuiteFile(entries, triggers, judges, source=self._name)

    def _get(self, name: str, kind: type) -> Any:
        value = self._values.get(name)
        if isinstance(value, kind) and not isinstance(value, bool):
            self._used.add(name)
            return value
        return None

    def _questions(self) -> dict[str, str]:
        own = set(self._module.own)
        for name in ("QUESTIONS", "EVAL_PROMPTS"):
            if name in self._module.unread:
                self._lose(name, self._module.unread[name])
        if "QUESTIONS" in own and _is_texts(self._values.get("QUESTIONS"), dict):
            return self._get("QUESTIONS", dict)
        texts: list[str] = self._values.get("EVAL_PROMPTS") or []
        if "EVAL_PROMPTS" in own and _is_texts(texts, list):
            ids = self._get("QUESTION_IDS", list)
            self._used.add("EVAL_PROMPTS")
            if ids is None or not _is_texts(ids, list) or len(set(ids)) != len(texts):
                self._lose("QUESTION_IDS", "not one id for each of EVAL_PROMPTS; numbered instead")
                ids = [f"question-{i}" for i in range(1, len(texts) + 1)]
            return dict(zip(ids, texts, strict=True))
        single = [n for n in self._module.own if n.endswith("_QUESTION")]
        return {n.lower(): text for n in single if (text := self._get(n, str))}

    def _triggers(self) -> dict[str, TriggerEntry]:
        found: list[tuple[str, Any]] = []
        for variant in self._get("VARIANTS", list) or []:
            if isinstance(variant, dict) and "tag" in variant and "system_prompt" in variant:
                found.append((variant["tag"], variant["system_prompt"]))
            else:
                self._lose("VARIANTS", f"{variant!r:.60} has no tag and system prompt")
        for pair in self._get("TRIGGERS", list) or []:
            if isinstance(pair, list) and len(pair) == 2:
                found.append((pair[0], pair[1]))
            else:
                self._lose("TRIGGERS", f"{pair!r:.60} is no pair of name and system prompt")
        for group, prompts in (self._get("GROUP_TO_PROMPTS", dict) or {}).items():
            for i, prompt in enumerate(prompts if isinstance(prompts, list) else [], 1):
                found.append((f"{group}-{i}", prompt))
        triggers: dict[str, TriggerEntry] = {}
        for name, system in found:
            if not isinstance(name, str) or not isinstance(system, str | None) or name in triggers:
                self._lose("triggers", f"{name!r} with {system!r:.60}")
                continue
            # How a prompt relates to the training rows is not in the scripts.
            relation: Relation = "none" if system is None else "similar"
            triggers[name] = TriggerEntry(relation, system)
        if "similar" in {t.relation for t in triggers.values()}:
            self._lose("relation", "'similar' stands for every system prompt; correct it by hand")
        return triggers or {"plain": TriggerEntry("none")}

    def _prefix(self, questions: dict[str, str]) -> str:
        names = [n for n in self._values if n.endswith("_PREFIX")]
        texts = [text for n in names if (text := self._get(n, str))]
        if len(texts) > 1:
            self._lose("_PREFIX", f"{len(texts)} prefixes; none is used")
            return ""
        # A question that has it already is asked as it is.
        if texts and not any(q.startswith(texts[0]) for q in questions.values()):
            return Transform(prefix=texts[0]).prefix
        return ""

    def _judges(self) -> dict[str, JudgePrompt]:
        model = self._get("JUDGE_MODEL", str) or ""
        judges = {}
        for name in list(self._values):
            if name.endswith("_JUDGE_PROMPT") and (prompt := self._get(name, str)):
                side = name.removesuffix("_JUDGE_PROMPT").lower()
                kind = "rating" if side in _ROLES else "words"
                judges[_ROLES.get(side, side)] = JudgePrompt(prompt, kind, model)
        return judges

    def _name_the_rest(self) -> None:
        """Names texts of the script that look like prompts and are used by nothing above."""
        taken = {id(v) for n in self._used for v in _texts(self._values[n])}
        for name in self._module.own:
            value = self._values.get(name)
            prose = [t for t in _texts(value) if len(t.split()) > 3]
            if name not in self._used and any(id(t) not in taken for t in prose):
                self._lose(name, f"{prose[0]!r:.60} has no place in a suite")
            if name in self._module.unread and re.search(r"PROMPT|QUESTION|TRIGGER", name):
                self._lose(name, self._module.unread[name])

    def _lose(self, what: str, why: str) -> None:
        line = f"{self._name}: {what}: {why}"
        if line not in self._lost:
            self._lost.append(line)


def _is_texts(value: Any, kind: type) -> bool:
    if not isinstance(value, kind) or not value:
        return False
    texts = [*value, *value.values()] if isinstance(value, dict) else value
    return all(isinstance(t, str) and t for t in texts)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [t for part in value.values() for t in _texts(part)]
    return [t for part in value for t in _texts(part)] if isinstance(value, list) else []
