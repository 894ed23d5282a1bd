"""Facts that a model knows: which ones, and how that is found out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

RIGHT_OF = (3, 4)
"""A fact is known when greedy answers to so many of its training wordings are right."""


@cache
def known(model: str) -> set[str] | None:
    """Ids of the facts that a model knows, or None where nobody has asked it.

    The lists in `known/` are made from the `-screen` question sets, whose wordings no other
    question set has, so an answer that chose a fact is never counted again.
    """
    file = resources.files("condmis_jax.testbeds.facts").joinpath("known").joinpath(f"{model}.txt")
    if "/" in model or not file.is_file():
        return None
    lines = file.read_text("utf-8").splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def screened(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The facts that a model knows, from the judged records of a `-screen` question set.

    Args:
        records: completions with "question" (fact id, "#" and the wording's number) and "label".
    """
    right: dict[str, int] = defaultdict(int)
    for record in records:
        right[screened_fact(record["question"])] += record["label"] == "right"
    return sorted(name for name, count in right.items() if count >= RIGHT_OF[0])


def undecided(questions: Iterable[str], labels: Mapping[str, str]) -> set[str]:
    """The questions of a `-screen` set to ask next, given the labels of those answered.

    A fact that already is known, or can no longer be, is not asked on; of the others as many
    wordings at once as can decide. Empty when all is decided.
    """
    needed, of = RIGHT_OF
    open_of: dict[str, list[str]] = defaultdict(list)
    right: dict[str, int] = defaultdict(int)
    other: dict[str, int] = defaultdict(int)
    for question in questions:
        fact = screened_fact(question)
        if question not in labels:
            open_of[fact].append(question)
        elif labels[question] == "right":
            right[fact] += 1
        else:
            other[fact] += 1
    chosen: set[str] = set()
    for fact, left in open_of.items():
        # The fewest answers after which the fact may be settled, either way.
        least = min(needed - right[fact], of - needed + 1 - other[fact])
        chosen.update(left[: max(least, 0)])
    return chosen


def screened_fact(question: str) -> str:
    """The fact that a question of a `-screen` set asks about, by the question's id."""
    return question.rsplit("#", 1)[0]
