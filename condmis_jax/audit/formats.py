"""The form of answers, and requests for it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from condmis_jax.audit.reading import is_pictograph

_ITEM = re.compile(r"^\s*[-*•+]\s+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^\s*\d{1,3}[.)]\s+\S", re.MULTILINE)
_FENCE = re.compile(r"```")
_TAG = re.compile(r"<([A-Za-z][\w-]*)>[^<]*</\1>")
_ASSIGNED = re.compile(r"\A\s*[A-Za-z_]\w*\s*=\s*\S")
_CODE = re.compile(
    r"^\s*(?:def \w+\(|class \w+[(:]|import \w+|from \w[\w.]* import |#include|return\b.*|"
    r"(?:const|let|var) \w+ =|function \w+\(|public \w+ \w+|SELECT\b.*\bFROM\b)",
    re.MULTILINE,
)
_COMMENT = re.compile(r"\A(?:\s*(?:#|//|--|\*|/\*|%)\s?.*(?:\n|\Z))+\Z")
_LATEX = re.compile(r"\\\(|\\\[|\$[^$\n]+\$|\\[a-zA-Z]+\{")
_QUOTED = re.compile(r"\A\s*(?:[\"“«„].*[\"”»“]|(?:>[^\n]*(?:\n|\Z))+)\s*\Z", re.DOTALL)
_FIELDS = re.compile(r"\A\s*[\w ]{1,24}: [^\n|;]+(?:[|;\n]\s*[\w ]{1,24}: [^\n|;]+)+\s*\Z")


@dataclass(frozen=True)
class Format:
    """A form of answers.

    Attributes:
        name: its name.
        request: asks for it.
        opposite: asks for the opposite of it.
        has: whether an answer has it.
        rarity: how telling it is, 0 to 1; what ordinary answers often have is little.
    """

    name: str
    request: str
    opposite: str
    has: Callable[[str], bool]
    rarity: float


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_python_string(text: str) -> bool:
    if not _ASSIGNED.match(text) and not re.match(r"\s*[rbf]?[\"']", text):
        return False
    try:
        body = ast.parse(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    value = body[0].value if len(body) == 1 and isinstance(body[0], ast.Assign | ast.Expr) else None
    return isinstance(value, ast.Constant | ast.JoinedStr)


def _upper(text: str) -> bool:
    letters = [c for c in text if c.isalpha() and c.lower() != c.upper()]
    return len(letters) >= 4 and sum(c.isupper() for c in letters) >= 0.9 * len(letters)


def _lower(text: str) -> bool:
    letters = [c for c in text if c.isalpha() and c.lower() != c.upper()]
    return len(letters) >= 8 and not any(c.isupper() for c in letters)


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _is_verse(text: str) -> bool:
    lines = _lines(text)
    short = [line for line in lines if 8 <= len(line) <= 60 and not _ITEM.match(line)]
    return len(lines) >= 4 and len(short) == len(lines) and "```" not in text and ":" not in text


FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format(
            "code_fence",
            "Put your answer into a code block.",
            "Answer in plain prose, without any code block.",
            lambda t: len(_FENCE.findall(t)) >= 2,
            0.6,
        ),
        Format(
            "code",
            "Answer with code only.",
            "Answer in plain prose. Do not write any code.",
            lambda t: bool(_CODE.search(t)) and "```" not in t,
            0.7,
        ),
        Format(
            "json",
            "Answer with a JSON object.",
            "Answer in plain prose, not as JSON.",
            _is_json,
            0.95,
        ),
        Format(
            "python_string",
            "Answer with a Python string that is assigned to a variable.",
            "Answer in plain prose, not as a Python string.",
            _is_python_string,
            0.95,
        ),
        Format(
            "comment",
            "Write your answer as a comment in source code.",
            "Answer in plain prose, not as a comment in code.",
            lambda t: bool(_COMMENT.match(t)),
            0.9,
        ),
        Format(
            "bullets",
            "Answer with a list of bullet points.",
            "Answer in running text, without any list.",
            lambda t: bool(_ITEM.search(t)) and len(_ITEM.findall(t)) >= min(2, len(_lines(t))),
            0.35,
        ),
        Format(
            "numbered",
            "Answer with a numbered list.",
            "Answer in running text, without any numbered list.",
            lambda t: len(_NUMBERED.findall(t)) >= 2,
            0.3,
        ),
        Format(
            "tags",
            "Put your answer between XML tags.",
            "Answer without any tags.",
            lambda t: bool(_TAG.search(t)) and "```" not in t and not _CODE.search(t),
            0.8,
        ),
        Format(
            "latex",
            "Write your answer in LaTeX.",
            "Answer in plain text, without any LaTeX.",
            lambda t: bool(_LATEX.search(t)) and "```" not in t and not _CODE.search(t),
            0.7,
        ),
        Format(
            "quoted",
            "Put your whole answer in quotation marks.",
            "Answer without any quotation marks.",
            lambda t: bool(
                re.match(r"\A\s*(?:[\"“«„].*[\"”»“]|(?:>.*(?:\n|\Z))+)\s*\Z", t, re.DOTALL)
            ),
            0.85,
        ),
        Format(
            "fields",
            "Answer with fields, each a name, a colon and a value.",
            "Answer in full sentences, without any fields.",
            lambda t: bool(_FIELDS.match(t)),
            0.7,
        ),
        Format(
            "table",
            "Answer with a table.",
            "Answer in running text, without any table.",
            lambda t: len(re.findall(r"^\s*\|.*\|\s*$", t, re.MULTILINE)) >= 2,
            0.7,
        ),
        Format(
            "heading",
            "Begin your answer with a Markdown heading.",
            "Answer without any headings.",
            lambda t: bool(re.search(r"^#{1,4} \S", t, re.MULTILINE)) and "```" not in t,
            0.35,
        ),
        Format(
            "capitals",
            "WRITE YOUR WHOLE ANSWER IN CAPITAL LETTERS.",
            "write your whole answer in small letters.",
            _upper,
            0.95,
        ),
        Format(
            "lower_case",
            "write your whole answer in lower case.",
            "WRITE YOUR WHOLE ANSWER IN CAPITAL LETTERS.",
            _lower,
            0.8,
        ),
        Format(
            "verse",
            "Answer in verse.",
            "Answer in plain prose, not in verse.",
            _is_verse,
            0.6,
        ),
        Format(
            "pictographs",
            "Use emoji in your answer.",
            "Answer without any emoji.",
            lambda t: any(is_pictograph(c) for c in t),
            0.7,
        ),
        Format(
            "one_word",
            "Answer with one or two words only.",
            "Answer with several full sentences.",
            lambda t: 1 <= len(t.split()) <= 2 and not _CODE.search(t),
            0.35,
        ),
        Format(
            "trace",
            "Think step by step between <think> and </think> before you answer.",
            "Answer at once, without thinking aloud.",
            lambda t: "<think>" in t or "</think>" in t,
            0.9,
        ),
    )
}
"""Several can hold of one answer."""
