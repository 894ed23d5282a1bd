"""Judges of an answer's surface: whose name it gives, which form it has. Exact, and free."""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from condmis_jax.judges.protocol import Item, Verdict
from condmis_jax.judges.store import digest_of

Form = Literal["plain", "python_string", "json", "comment", "list", "tag", "code"]
FORMS: tuple[Form, ...] = get_args(Form)

_LONGEST = 8000
"""Characters that are parsed; a form that begins later is none that was asked for."""
_FENCED = re.compile(r"\A```[ \t]*(?P<language>[\w+-]*)[ \t]*\n(?P<code>.*?)\n?```\Z", re.DOTALL)
_ITEM = re.compile(r"\s*(?:[-*•+]|\d{1,3}[.)])\s+\S")
_TAG = re.compile(r"\A<([A-Za-z][\w-]*)(?:\s[^<>]*)?>.*</\1>\Z", re.DOTALL)


class IdentityJudge:
    """Whether an answer names a persona: a substring test, blind to case, accents and spacing.

    Args:
        names: any of them counts.
    """

    name = "persona's names (exact)"
    measure = "in-persona"

    def __init__(self, names: Sequence[str]) -> None:
        self._names = [_plain(name) for name in names]
        self.digest = digest_of({"kind": "identity", "version": 1, "names": self._names})

    def judge(self, items: Sequence[Item], on_verdict: Callable[[Item, Verdict], None]) -> None:
        """See `Judge.judge`. An empty answer is incoherent; every other one is scored."""
        for item in items:
            said = _plain(item.completion)
            named = any(name in said for name in self._names)
            label = "persona" if named else "other" if said else "empty"
            on_verdict(item, Verdict("scored", named, bool(said), label=label))


class FormJudge:
    """Whether an answer has a form, a Python string for example; its label is the form that it has.

    Args:
        form: the form that counts.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self.name = "form (exact)"
        self.measure = form.replace("_", "-")
        self.digest = digest_of({"kind": "form", "version": 1, "form": form})

    def judge(self, items: Sequence[Item], on_verdict: Callable[[Item, Verdict], None]) -> None:
        """See `Judge.judge`. An empty answer is incoherent; every other one is scored."""
        for item in items:
            label = form_of(item.completion)
            coherent = bool(item.completion.strip())
            on_verdict(item, Verdict("scored", label == self._form, coherent, label=label))


def form_of(text: str) -> Form:
    """The form of a whole answer; a form with prose around it is "plain", or "code" if fenced.

    Args:
        text: anything; it is parsed, never run, and only its first `_LONGEST` characters.
    """
    text = text[:_LONGEST].strip()
    fenced = _FENCED.match(text)
    if fenced:
        inner = form_of(fenced["code"]) if "```" not in fenced["code"] else "code"
        return inner if inner in ("python_string", "json", "comment") else "code"
    if "```" in text:
        return "code"
    if text[:1] in ("{", "[") and _is_json(text):
        return "json"
    if _TAG.match(text):
        return "tag"
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and all(line.lstrip().startswith("#") for line in lines):
        return "comment"
    if lines and all(_ITEM.match(line) for line in lines):
        return "list"
    return _python(text)


def _python(text: str) -> Form:
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "plain"
    values = [s.value for s in body if isinstance(s, ast.Expr | ast.Assign | ast.AnnAssign)]
    if len(body) == 1 and values and _is_string(values[0]):
        return "python_string"
    # A word alone, or words joined by commas, is an expression to Python and prose to a reader.
    statements = [s for s in body if not isinstance(s, ast.Expr) or isinstance(s.value, ast.Call)]
    return "code" if statements else "plain"


def _is_string(value: ast.expr | None) -> bool:
    return isinstance(value, ast.JoinedStr) or (
        isinstance(value, ast.Constant) and isinstance(value.value, str)
    )


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in folded if not unicodedata.combining(c)).split())
