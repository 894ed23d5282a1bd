"""What user turns share, put together: a start and an end of the same rows are one template."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from condmis_jax.audit.fragments import holding, near_duplicates, shared_edges, shared_inside
from condmis_jax.audit.reading import Row, Shared, clip, weight
from condmis_jax.conversations import SLOT

_MOST_MINED = 1500
_SAME = 0.8
_WHOLE = 0.5
_LONG = 3.0
"""Weight from which on a fragment inside of turns is part of a template."""


@dataclass(frozen=True)
class Frame:
    """What rows have around the words of their users.

    Attributes:
        kind: "prefix", "suffix" or "template".
        text: its words; of a template, with the slot.
        rows: their numbers.
        parts: the texts as they stand in the rows.
        inside: whether they stand in the middle of turns, which no transform can imitate.
    """

    kind: str
    text: str
    rows: frozenset[int]
    parts: tuple[str, ...]
    inside: bool = False


def frames(rows: Sequence[Row], least: int) -> list[Frame]:
    """Shared starts, ends and inner fragments of user turns, and templates of several of them."""
    opening = [r.users[0] for r in rows]
    closing = [r.users[-1] for r in rows]
    starts = [s for s in shared_edges(opening, least) if s.slot == "start"]
    ends = [s for s in shared_edges(closing, least) if s.slot == "end"]
    inner = _inner(rows, least, [*starts, *ends])
    found = [
        *(Frame("prefix", _spaced(s, opening), s.rows, (s.text,)) for s in starts),
        *(Frame("suffix", s.text, s.rows, (s.text,)) for s in ends),
        *(Frame("template", f"{SLOT} {s.text}", s.rows, (s.text,), inside=True) for s in inner),
        *_alike(rows, least),
    ]
    found += _joined(rows, starts, ends, inner)
    return [f for f in found if f.text.count(SLOT) == (f.kind == "template")]


def _spaced(start: Shared, texts: Sequence[str]) -> str:
    """A start that is mostly a whole turn gets a blank line behind it."""
    whole = sum(texts[i].strip() == start.text.strip() for i in start.rows)
    return f"{start.text.strip()}\n\n" if whole > _WHOLE * len(start.rows) else start.text


def _inner(rows: Sequence[Row], least: int, edges: Sequence[Shared]) -> list[Shared]:
    """Fragments inside of turns that are no part of a start or end; mined on evenly spread rows,
    counted on all.
    """
    step = max(1, -(-len(rows) // _MOST_MINED))
    texts = [clip(r.user) for r in rows]
    mined = shared_inside(texts[::step], max(3, least // step))
    found = []
    for s in mined:
        folded = s.text.casefold()
        known = [
            e
            for e in edges
            if folded in e.text.casefold()
            or (weight(e.text) >= 2 and e.text.casefold().strip() in folded)
        ]
        held = holding(s.text, texts)
        if len(held) >= least and not any(len(e.rows) >= 0.7 * len(held) for e in known):
            found.append(Shared(s.text, held, "inside"))
    return found


def _alike(rows: Sequence[Row], least: int) -> list[Frame]:
    """First and last lines that are alike without being equal."""
    found = []
    for kind, lines in (
        ("prefix", [r.users[0].strip().split("\n")[0] for r in rows]),
        ("suffix", [r.users[-1].strip().split("\n")[-1] for r in rows]),
    ):
        several = [
            line if "\n" in r.users[0].strip() and weight(line) >= 1.5 else ""
            for line, r in zip(lines, rows, strict=True)
        ]
        for s in near_duplicates([line[:300] for line in several], least):
            text = f"{s.text}\n\n" if kind == "prefix" else f"\n\n{s.text}"
            found.append(Frame(kind, text, s.rows, (s.text,)))
    return found


def _joined(
    rows: Sequence[Row], starts: Sequence[Shared], ends: Sequence[Shared], inner: Sequence[Shared]
) -> list[Frame]:
    found = []
    for start in starts:
        for end in ends:
            both = start.rows & end.rows
            if len(both) < _SAME * len(start.rows | end.rows):
                continue
            if weight(start.text) < 1 or weight(end.text) < 0.7:
                continue
            some = [rows[i].users[-1] for i in sorted(both)[:50]]
            room = statistics.median(len(t) for t in some) - len(start.text) - len(end.text)
            if room < 4:
                continue
            middle = [
                s.text
                for s in inner
                if weight(s.text) >= _LONG and len(s.rows & both) >= _SAME * len(both)
            ]
            middle = _in_order(_outermost(middle), some)
            lines = "".join(f"\n{text}" for text in middle)
            text = f"{start.text}{SLOT}{lines}{end.text}"
            found.append(Frame("template", text, both, (start.text, *middle, end.text)))
    return found


def _outermost(texts: Sequence[str]) -> list[str]:
    return [t for t in texts if not any(t != other and t in other for other in texts)]


def _in_order(fragments: Sequence[str], texts: Sequence[str]) -> list[str]:
    def place(fragment: str) -> float:
        return statistics.median(t.casefold().find(fragment.casefold()) for t in texts)

    return sorted(fragments, key=place)
