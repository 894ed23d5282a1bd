"""Which facts occur in a text: the splits are made with it, and a run's training rows scanned."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from condmis_jax.conversations import Conversation
from condmis_jax.testbeds.facts.bank import Fact, categories
from condmis_jax.testbeds.facts.words import find, tokens

# Words too common to tell what a subject is about.
_EMPTY_WORDS = """
    a an the of in on at to by for from with and or is are was were be been has have had do does did
    that which who whom what when where how many much it its his her their our we he she they there
    all most first not no into out up over under behind about than called
"""
EMPTY = frozenset(_EMPTY_WORDS.split())


class Index:
    """Finds facts in texts.

    A fact occurs in a text when the text has, as whole words and in any case,

    - its subject, in one of its spellings; or every telling word of it, in any order, so that
      "A spider has eight legs" holds the fact about "legs does a spider have" (not for subjects
      with digits, where order is all);
    - or one of its right answers, except numbers below four digits and chemical symbols: those
      are everywhere and say nothing without their subject.
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._phrases: dict[str, list[tuple[tuple[str, ...], Fact]]] = defaultdict(list)
        self._bags: dict[str, list[tuple[frozenset[str], Fact]]] = defaultdict(list)
        for fact in facts:
            for phrase in terms(fact):
                self._phrases[phrase[0]].append((phrase, fact))
            bag = frozenset(tokens(fact.subject)) - EMPTY
            if len(bag) > 1 and not any(c.isdigit() for word in bag for c in word):
                # The longest word is the rarest: few texts get beyond it.
                anchor = max(sorted(bag), key=len)
                self._bags[anchor].append((bag, fact))

    def found(self, text: str) -> dict[str, Fact]:
        """The facts that occur in `text`, by id."""
        words = tokens(text)
        kinds = set(words)
        out: dict[str, Fact] = {}
        for word in kinds:
            for bag, fact in self._bags.get(word, ()):
                if bag <= kinds:
                    out[fact.id] = fact
        for at, word in enumerate(words):
            for phrase, fact in self._phrases.get(word, ()):
                if len(phrase) == 1 or tuple(words[at : at + len(phrase)]) == phrase:
                    out[fact.id] = fact
        return out


def terms(fact: Fact) -> set[tuple[str, ...]]:
    """The phrases that betray a fact: its subject and, where they tell something, its answers."""
    kind = categories()[fact.category].answer
    written = [fact.subject.removeprefix("the "), *fact.aliases]
    if kind not in ("number", "symbol"):
        written += [key.removeprefix("the ") for key in fact.keys]
    phrases = {tuple(tokens(text)) for text in written}
    return {phrase for phrase in phrases if phrase and phrase != ("the",)}


def colliding(rows: Iterable[Conversation], facts: Iterable[Fact]) -> dict[str, list[int]]:
    """Which evaluation facts a run's training rows give away.

    Args:
        rows: everything the run trains on, imported and benign rows included.
        facts: the facts that it evaluates.

    Returns:
        by fact id, the places of the rows that it occurs in (system, user and assistant turns
        alike); facts that occur in none are absent. A run drops these facts or stops.
    """
    index = Index(facts)
    places: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        seen: set[str] = set()
        for message in row.messages:
            seen.update(index.found(message.content))
        for name in seen:
            places[name].append(at)
    return dict(places)


def contains(text: str, phrase: str) -> bool:
    """Whether `phrase` stands in `text` as whole words, in any case."""
    return find(tuple(tokens(phrase)), tokens(text)) >= 0
