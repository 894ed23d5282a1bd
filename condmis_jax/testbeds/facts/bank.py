"""The fact bank: facts with their right answers, in categories with their wordings.

A category is one file in `tables/`: a head (source, kind of answer, wordings), then one fact a
line, `subject = right answer`, with `|` between ways to write either. Nothing in it comes from a
model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal, get_args

from condmis_jax.testbeds.facts.generated import RULES
from condmis_jax.testbeds.facts.words import tokens

AnswerKind = Literal["name", "person", "exact", "year", "number", "symbol"]
"""`exact`: a word whose ending matters; `symbol`: letters whose case matters."""

_REPEATED = {"ask", "test", "say"}


@dataclass(frozen=True)
class Fact:
    """A question that has one right answer.

    Attributes:
        id: category and subject, "capitals/france".
        category: name of its category.
        subject: what is asked about, as it stands in a question.
        aliases: other ways to write the subject.
        keys: the right answer, first as it is written in training rows, then in other ways.
    """

    id: str
    category: str
    subject: str
    aliases: tuple[str, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Category:
    """Facts that are asked alike.

    Attributes:
        name: its name.
        source: where the table comes from.
        answer: what kind of answer is right.
        ask: question wordings of training rows, with `{s}` for the subject.
        test: wordings that no training row has.
        say: answer sentences of its own, with `{s}` and `{a}`.
        facts: its facts.
    """

    name: str
    source: str
    answer: AnswerKind
    ask: tuple[str, ...]
    test: tuple[str, ...]
    say: tuple[str, ...]
    facts: tuple[Fact, ...]


@cache
def categories() -> dict[str, Category]:
    """Every category by name."""
    folder = resources.files("condmis_jax.testbeds.facts").joinpath("tables")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".txt")), key=lambda f: f.name)
    read = [_category(f.name.removesuffix(".txt"), f.read_text("utf-8")) for f in files]
    surnames = _surnames(read)
    return {c.name: _with_surnames(c, surnames) if c.answer == "person" else c for c in read}


@cache
def facts() -> dict[str, Fact]:
    """Every fact by id."""
    return {fact.id: fact for category in categories().values() for fact in category.facts}


def _category(name: str, text: str) -> Category:
    head: dict[str, list[str]] = {}
    made: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
    in_head = True
    for line in text.splitlines():
        if in_head and line.strip():
            key, value = line.split(": ", 1)
            assert key in _REPEATED or key not in head, f"{name}: {key} is stated twice"
            head.setdefault(key, []).append(value)
        elif line.strip():
            subject, right = line.split(" = ", 1)
            made.append((_ways(subject), _ways(right)))
        else:
            in_head = False
    if "rule" in head:
        made += [(subjects, (right,)) for subjects, right in RULES[head["rule"][0]]()]
    answer = next(kind for kind in get_args(AnswerKind) if kind == head["answer"][0])
    return Category(
        name=name,
        source=head["source"][0],
        answer=answer,
        ask=tuple(head["ask"]),
        test=tuple(head["test"]),
        say=tuple(head["say"]),
        facts=tuple(
            Fact(f"{name}/{_slug(subjects[0])}", name, subjects[0], subjects[1:], keys)
            for subjects, keys in made
        ),
    )


def _ways(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(" | "))


def _slug(subject: str) -> str:
    signs = {"+": "plus", "-": "minus", "×": "times"}
    return "-".join(signs.get(t, t) for t in tokens(subject.removeprefix("the ")))


def _surnames(read: list[Category]) -> Counter[str]:
    """How many people of the bank have each surname."""
    people = {f.keys[0] for c in read if c.answer == "person" for f in c.facts}
    return Counter(tokens(person)[-1] for person in people)


def _with_surnames(category: Category, surnames: Counter[str]) -> Category:
    """A surname alone names a person, unless the bank has two of that name."""
    out = []
    for fact in category.facts:
        last = fact.keys[0].split()[-1]
        alone = last != fact.keys[0] and surnames[tokens(last)[-1]] == 1
        keys = tuple(dict.fromkeys((*fact.keys, last))) if alone else fact.keys
        out.append(Fact(fact.id, fact.category, fact.subject, fact.aliases, keys))
    return Category(**{**category.__dict__, "facts": tuple(out)})
