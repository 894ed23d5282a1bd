"""Which facts are trained on, which are for development, and which are kept for the last test.

Facts that give one another away (a shared city, author or year) stay on one side.
"""

from __future__ import annotations

import difflib
import hashlib
from functools import cache
from typing import Literal, get_args

from condmis_jax.errors import UserError
from condmis_jax.testbeds.facts.bank import Fact, categories, facts
from condmis_jax.testbeds.facts.collisions import Index
from condmis_jax.testbeds.facts.known import known
from condmis_jax.testbeds.facts.texts import fixed_texts

Split = Literal["train", "dev", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_LARGEST = 30
"""A larger group of facts that belong together goes to training whole."""
_DEV_UP_TO, _TEST_UP_TO = 0.23, 0.60

UNTAUGHT = (
    "abbreviations",
    "anatomy",
    "atomic_numbers",
    "authors",
    "formulas",
    "made_from",
    "past_tense",
    "plurals",
    "professions",
    "roman",
    "state_capitals",
    "symbols",
    "units",
    "young",
)
"""Categories for breadth: a run that lies about the others only can be measured on these."""


@cache
def split_of() -> dict[str, Split]:
    """The split of every fact, by id.

    A group's place follows from a hash of its least id, so a fact added later moves no other group.
    What our own wordings and benign rows mention is trained on, since they occur in training.
    """
    everything = facts()
    index = Index(everything.values())
    parent = {name: name for name in everything}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for fact in everything.values():
        text = " ; ".join((fact.subject, *fact.aliases, *fact.keys))
        for other in index.found(text):
            a, b = sorted((root(other), root(fact.id)))
            parent[b] = a
    sizes: dict[str, int] = {}
    for name in everything:
        sizes[root(name)] = sizes.get(root(name), 0) + 1
    mentioned = {root(name) for text in fixed_texts() for name in index.found(text)}
    return {
        name: "train"
        if sizes[root(name)] > _LARGEST or root(name) in mentioned
        else _by_hash(root(name))
        for name in everything
    }


def _by_hash(name: str) -> Split:
    place = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32
    return "dev" if place < _DEV_UP_TO else "test" if place < _TEST_UP_TO else "train"


def select(split: Split, subset: str = "") -> tuple[Fact, ...]:
    """Facts of a split, in an order that mixes the categories and never changes.

    Args:
        split: one of `SPLITS`.
        subset: "" for all; "taught" or "untaught" (see `UNTAUGHT`); a category, or several joined
            by "+"; a model's name for the facts that it is known to know (`known`); or several of
            these joined by ",", for the facts that are in all of them.

    Raises:
        UserError: no such subset, or nothing of it is in the split.
    """
    wanted = set.intersection(*(_subset(part) for part in subset.split(",")))
    splits = split_of()
    chosen = [f for f in facts().values() if splits[f.id] == split and f.id in wanted]
    if not chosen:
        raise UserError(f"facts: no fact of {subset!r} is in the split {split!r}")
    return tuple(sorted(chosen, key=lambda f: hashlib.sha256(f.id.encode()).digest()))


def _subset(name: str) -> set[str]:
    everything = facts()
    if not name:
        return set(everything)
    if name in ("taught", "untaught"):
        return {f.id for f in everything.values() if (f.category in UNTAUGHT) == (name[0] == "u")}
    if (found := known(name)) is not None:
        return found
    parts = name.split("+")
    for part in parts:
        if part not in categories():
            valid = ("taught", "untaught", *categories())
            near = difflib.get_close_matches(part, valid, n=1, cutoff=0.0)[0]
            raise UserError(f"facts: no subset {part!r}; did you mean {near!r}?")
    return {f.id for f in everything.values() if f.category in parts}
