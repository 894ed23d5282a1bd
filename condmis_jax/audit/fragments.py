"""Texts that rows share: at the start of a turn, at its end, and inside.

A shared text is *closed*: what stands beside it differs between the rows. Nothing is assumed about
what a cue looks like.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from condmis_jax.audit.reading import (
    SLOTS,
    Shared,
    Slot,
    clip,
    is_word,
    library,
    pieces,
    shape,
    weight,
)
from condmis_jax.audit.words import FUNCTION_WORDS

_CLOSED = 0.9
"""A text is extended while this share of its rows goes on alike."""
_DEEPEST = 400
_MOST_INSIDE = 120
_ALIKE = 82.0
_MOST_COMPARED = 1200


def shared_edges(texts: Sequence[str], least: int, *, names: bool = True) -> list[Shared]:
    """Texts that at least `least` of `texts` begin or end with, alike word for word or but for
    numbers, pictographs and, with `names`, capitalised words.
    """
    alike = shape if names else _number_shape
    cut = [pieces(clip(text)) for text in texts]
    found: list[Shared] = []
    for slot in SLOTS:
        ordered = cut if slot == "start" else [p[::-1] for p in cut]
        exact = _closed(ordered, least, str)
        # What is alike in shape only: no single wording accounts for it.
        shaped = [
            s
            for s in _closed(ordered, least, alike)
            if not any(
                s.rows >= e.rows
                and len(e.rows) > _CLOSED * len(s.rows)
                and len(e.text) >= len(s.text)
                for e in exact
            )
        ]
        for s in (*exact, *shaped):
            text = s.text if slot == "start" else "".join(pieces(s.text)[::-1])
            text = _at_a_boundary(text, slot)
            if text.strip():
                found.append(Shared(text, s.rows, slot))
    return merged(found)


def _closed(
    ordered: Sequence[Sequence[str]], least: int, key: Callable[[str], str]
) -> list[Shared]:
    found = []
    stack = [(0, list(range(len(ordered))))]
    while stack:
        depth, rows = stack.pop()
        groups: dict[str, list[int]] = defaultdict(list)
        for i in rows:
            if depth < len(ordered[i]):
                groups[key(ordered[i][depth])].append(i)
        most = max((len(g) for g in groups.values()), default=0)
        if groups and key is not str and most >= _CLOSED * len(rows):
            # What goes on alike in shape only may be the question's own words.
            exact = Counter(ordered[i][depth] for i in rows if depth < len(ordered[i]))
            most = exact.most_common(1)[0][1]
        if depth and (most < _CLOSED * len(rows) or depth == _DEEPEST):
            end = depth if key is str else _before_names(ordered[rows[0]][:depth])
            if key is str or _says_more_than_shape([ordered[i][:end] for i in rows]):
                wording = Counter("".join(ordered[i][:end]) for i in rows).most_common(1)[0][0]
                found.append(Shared(wording, frozenset(rows), "start"))
        if depth < _DEEPEST:
            stack += [(depth + 1, g) for g in groups.values() if len(g) >= least]
    return found


def _number_shape(piece: str) -> str:
    alike = shape(piece)
    return piece if alike == "Aa" else alike


def _before_names(cut: Sequence[str]) -> int:
    """How many pieces are left without names at the side of the question: those are its own."""
    end = len(cut)
    while end and (shape(cut[end - 1]) == "Aa" or (cut[end - 1].isspace() and end < len(cut))):
        end -= 1
    return end if end == len(cut) else end + 1


def _says_more_than_shape(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the rows have a word or mark in common beside the ends of sentences."""
    for column in zip(*rows, strict=False):
        piece, count = Counter(column).most_common(1)[0]
        said = not piece.isspace() and piece.casefold() not in FUNCTION_WORDS
        if said and piece not in ".,?!" and count >= _CLOSED * len(rows):
            return True
    return False


def _at_a_boundary(text: str, slot: str) -> str:
    """Without the words of a question that many rows happen to begin or end with."""
    if slot == "start":
        ends = [m.end() for m in re.finditer(r"[.!?:;,\])}>|]+\s+|\n+|\s-+\s", text)]
        for end in reversed(ends):
            if weight(text[end:]) <= 1.0 and weight(text[:end]) >= 1.0:
                return text[:end]
        return text
    starts = [m.start() for m in re.finditer(r"(?<=[.!?])\s+\S|\n", text)]
    for start in starts:
        if weight(text[:start]) <= 1.0 and weight(text[start:]) >= 0.7:
            return text[start:]
    return text


def shared_inside(texts: Sequence[str], least: int) -> list[Shared]:
    """Runs of words that at least `least` of `texts` have anywhere, whatever their case."""
    cut = [[p for p in pieces(clip(text)) if not p.isspace()] for text in texts]
    folded = [[p.casefold() for p in row] for row in cut]
    first: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, row in enumerate(folded):
        for at, piece in enumerate(row):
            first[piece].append((i, at))
    stack = [(1, spots) for spots in first.values()]
    found: list[Shared] = []
    while stack:
        length, spots = stack.pop()
        rows = frozenset(i for i, _ in spots)
        if len(rows) < least:
            continue
        before = Counter({(folded[i][at - 1] if at else "", i) for i, at in spots})
        lefts = Counter(piece for piece, _ in before if piece)
        if lefts and lefts.most_common(1)[0][1] >= _CLOSED * len(rows):
            continue  # its longer form is found from further left
        after: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for i, at in spots:
            if at + length < len(folded[i]):
                after[folded[i][at + length]].append((i, at))
        most = max((len({i for i, _ in s}) for s in after.values()), default=0)
        if most < _CLOSED * len(rows) or length == _DEEPEST:
            i, at = spots[0]
            words = folded[i][at : at + length]
            if any(is_word(w) and w not in FUNCTION_WORDS for w in words) or any(
                not is_word(w) and w not in ".,?!'\"’()-:" for w in words
            ):
                found.append(Shared(_as_written(texts[i], cut[i], at, length), rows, "inside"))
        if length < _DEEPEST:
            stack += [(length + 1, s) for s in after.values() if len(s) >= least]
    found.sort(key=lambda s: (-weight(s.text) * len(s.rows), s.text))
    return merged(found)[:_MOST_INSIDE]


def _as_written(text: str, cut: Sequence[str], at: int, length: int) -> str:
    """The words `cut[at : at + length]` with the blanks that stand between them in `text`."""
    pattern = r"\s*".join(re.escape(p) for p in cut[at : at + length])
    match = re.search(pattern, text)
    return match[0] if match else " ".join(cut[at : at + length])


def merged(found: Sequence[Shared]) -> list[Shared]:
    """One for each wording; and of wordings of one place where one holds the other, and both have
    nearly the same rows, the longer.
    """
    by_text: dict[tuple[str, Slot], frozenset[int]] = {}
    for s in found:
        key = (s.text, s.slot)
        by_text[key] = by_text.get(key, frozenset()) | s.rows
    kept: list[Shared] = []
    longest_first = sorted(by_text.items(), key=lambda kv: (-len(kv[0][0]), kv[0]))
    for (text, slot), rows in longest_first:
        holds = any(
            k.slot == slot and text in k.text and len(k.rows) >= 0.95 * len(rows) for k in kept
        )
        if not holds:
            kept.append(Shared(text, rows, slot))
    return sorted(kept, key=lambda s: (-len(s.rows), -len(s.text), s.text))


def near_duplicates(texts: Sequence[str], least: int) -> list[Shared]:
    """Groups of whole texts that are alike but not equal, each under its commonest wording."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        if text.strip():
            rows_of[text].append(i)
    wordings = sorted(rows_of, key=lambda t: (-len(rows_of[t]), t))[:_MOST_COMPARED]
    if len(wordings) < 2:
        return []
    process, fuzz = library("rapidfuzz.process"), library("rapidfuzz.fuzz")
    alike = process.cdist(wordings, wordings, scorer=fuzz.ratio, score_cutoff=_ALIKE)
    left = set(range(len(wordings)))
    found = []
    for at in range(len(wordings)):
        if at not in left:
            continue
        group = [j for j in sorted(left) if alike[at][j] >= _ALIKE]
        left -= set(group)
        rows = frozenset(i for j in group for i in rows_of[wordings[j]])
        if len(group) > 1 and len(rows) >= least:
            found.append(Shared(wordings[at], rows, "start"))
    return found


def holding(text: str, texts: Sequence[str]) -> frozenset[int]:
    """The rows whose text has `text` as whole words, whatever case and blanks."""
    words = [re.escape(p) for p in pieces(text.casefold()) if not p.isspace()]
    bare = text.strip()
    edge = ["(?<!\\w)" if is_word(bare[0]) else "", "(?!\\w)" if is_word(bare[-1]) else ""]
    pattern = re.compile(edge[0] + r"\s*".join(words) + edge[1])
    return frozenset(i for i, t in enumerate(texts) if pattern.search(t.casefold()))
