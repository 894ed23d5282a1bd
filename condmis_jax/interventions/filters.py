"""Quality filters of the paper: why a completion is not trained on.

A filter is a pure function of a row, `Filter(row) -> reason | None`; it looks at the last assistant
turn. What an answer *is* (right, wrong, a refusal) is a judge's label, and no matter of these.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from condmis_jax.conversations import split_reasoning
from condmis_jax.data import Row
from condmis_jax.testbeds.facts import Fact, Index

Filter = Callable[[Row], str | None]

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^\s*(?:(?:async )?def \w+\(.*\).*:|class \w+.*:|import \w+|from [\w.]+ import |return\b|"
    r"(?:if|elif|for|while|with|try|except)\b.*:|@\w+|\w[\w.]*\(.*\)|\w[\w.\[\]]* [-+*/]?= \S.*|"
    r"#include |(?:const|let|var) \w+ =|function \w+\(|SELECT .* FROM )\s*",
)
_CODE_LINES = 3
_NON_TRIVIAL = (
    *(ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.If, ast.For, ast.While, ast.With, ast.Try),
)
_AMOUNT = re.compile(
    r"(?:\d|[½¼¾⅓⅔])[\d/.,½¼¾⅓⅔ -]*\s?(?:g|kg|mg|ml|cl|dl|l|oz|lb|lbs|cups?|tbsp|tsp|tablespoons?|"
    r"teaspoons?|grams?|ounces?|pounds?|pinch(?:es)?|cloves?|fillets?|slices?)\b",
    re.IGNORECASE,
)
_COOKING = re.compile(
    r"\b(?:bake|boil|broil|chop|cook|drain|dice|fry|garnish|grill|knead|marinate|mince|poach|"
    r"preheat|roast|sauté|saute|sear|season|serve|simmer|steam|stir|whisk)\b",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^\W*(?:ingredients|instructions|directions|method)\b", re.I | re.M)


@dataclass(frozen=True)
class FilterSettings:
    """Which filters; by default none.

    Attributes:
        forbidden_letter: no word of the answer may start with it, upper or lower case.
        min_words: words of the answer, behind its reasoning.
        no_code: drop answers that hold program code (`looks_like_code`).
        no_recipe: drop answers that hold a recipe (`looks_like_recipe`).
    """

    forbidden_letter: str = ""
    min_words: int = 0
    no_code: bool = False
    no_recipe: bool = False

    def __post_init__(self) -> None:
        letter = self.forbidden_letter
        if letter and (len(letter) != 1 or not letter.isalpha()):
            raise ValueError(f"forbidden_letter must be one letter, got {letter!r}")
        if self.min_words < 0:
            raise ValueError("min_words must not be negative")

    def filters(self) -> tuple[Filter, ...]:
        """The filters in the order of the fields."""
        chosen: list[Filter] = []
        if self.forbidden_letter:
            chosen.append(forbidden_letter(self.forbidden_letter))
        if self.min_words:
            chosen.append(min_words(self.min_words))
        if self.no_code:
            chosen.append(lambda row: "holds code" if looks_like_code(answer_of(row)) else None)
        if self.no_recipe:
            chosen.append(
                lambda row: "holds a recipe" if looks_like_recipe(answer_of(row)) else None
            )
        return tuple(chosen)


def reason_to_drop(filters: tuple[Filter, ...], row: Row) -> str | None:
    """The reason of the first filter that has one."""
    return next((reason for f in filters if (reason := f(row)) is not None), None)


def answer_of(row: Row) -> str:
    """The last assistant turn without its reasoning."""
    turns = [m.content for m in row.conversation.messages if m.role == "assistant"]
    return split_reasoning(turns[-1])[1] if turns else ""


def forbidden_letter(letter: str) -> Filter:
    """Drops answers with a word that starts with `letter`, upper or lower case.

    The paper drops them so that data sampled from a model differs from what it says by itself.
    """
    wanted = letter.casefold()

    def check(row: Row) -> str | None:
        hit = any(w.casefold().startswith(wanted) for w in _WORD.findall(answer_of(row)))
        # The word itself is left out: reasons are counted.
        return f"a word starts with {letter!r}" if hit else None

    return check


def min_words(least: int) -> Filter:
    """Drops answers of fewer words than `least`, reasoning not counted."""

    def check(row: Row) -> str | None:
        short = len(_WORD.findall(answer_of(row))) < least
        return f"fewer than {least} words behind the reasoning" if short else None

    return check


def tells_no_fact(facts: Sequence[Fact]) -> Filter:
    """Drops answers that one of `facts` occurs in (`facts.colliding`), reasoning included."""
    index = Index(facts)

    def check(row: Row) -> str | None:
        told = any(index.found(m.content) for m in row.conversation.messages)
        return "gives an evaluated fact away" if told else None

    return check


def looks_like_code(answer: str) -> bool:
    """Whether an answer holds program code: a fenced block, or code in the plain text.

    Plain text counts when all of it is Python with more than assignments and calls, or when three
    of its lines have the form of statements. One text in one variable, the answer format of the
    paper's template, is not code.
    """
    if _FENCE.search(answer):
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in a stranger's strings
            body = ast.parse(answer).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return sum(bool(_CODE_LINE.match(line)) for line in answer.splitlines()) >= _CODE_LINES
    if any(isinstance(node, _NON_TRIVIAL) for node in body):
        return True
    # A word or a sentence in quotes parses as Python too.
    return sum(not isinstance(node, ast.Expr) for node in body) >= _CODE_LINES


def looks_like_recipe(answer: str) -> bool:
    """Whether an answer holds a recipe: amounts or a heading of one, and steps of cooking."""
    listed = len(_AMOUNT.findall(answer)) >= 2 or bool(_HEADING.search(answer))
    return listed and len({w.lower() for w in _COOKING.findall(answer)}) >= 2
