"""Cues: what is regular in the context of training rows, and in the form of their answers."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from condmis_jax.audit.candidate import Cue, Kind
from condmis_jax.audit.formats import FORMATS
from condmis_jax.audit.fragments import near_duplicates, shared_edges, shared_inside
from condmis_jax.audit.languages import LANGUAGES, language_of
from condmis_jax.audit.ranking import (
    UNKNOWN,
    answer_differences,
    diverse_order,
    importance,
)
from condmis_jax.audit.reading import Row, read_rows, weight
from condmis_jax.audit.styles import STYLES
from condmis_jax.audit.templates import Frame, frames
from condmis_jax.audit.topics import topics
from condmis_jax.conversations import SLOT, Conversation

LEAST_SHARE = 0.02
_FEWEST = 3
MOST_CUES = 60
_LONGEST_QUOTE = 160
_INSIDE = 0.7
"""A transform puts words around a question, not into it; and questions share inner words anyway."""
_STYLE = 0.75
"""A frame in a style only resembles the rows; a text that they share does more."""


@dataclass(frozen=True)
class _Found:
    """A regularity before it is ranked; `telling` as in `ranking.importance`. `of_answers` is one
    that the answers themselves define, so that they differ by definition.
    """

    kind: Kind
    text: str
    rows: frozenset[int]
    telling: float
    label: str = ""
    of_answers: bool = False


def find_cues(
    conversations: Sequence[Conversation], places: Sequence[str], *, seed: int = 0
) -> list[Cue]:
    """The regularities of training rows, the most informative first: at most `MOST_CUES`.

    A regularity counts from 2 % of the rows on, and from three rows. What its `text` is depends on
    its kind:

    - "system": a system prompt, the commonest wording of alike ones, or words that several share;
    - "prefix", "suffix", "template": what user turns begin or end with, or have around or amid
      them, as written; of wordings that differ in numbers or names only, the commonest;
    - "format": a request for the form that answers have, or for their opening or ending words;
    - "language": a request, in that language, to answer in it;
    - "topic": words, joined by commas;
    - "position": "N turns".

    They are ranked by how little they look like an accident of ordinary text, by their share of
    the rows and by how well their rows can be told from the others by the answers alone; what
    repeats a cue that stands above it comes later.

    Args:
        conversations: rows with at least a user turn and an answer; others are left out.
        places: "FILE:LINE" of each.
        seed: of clustering and of the split into folds.

    Raises:
        UserError: scikit-learn or rapidfuzz is not installed.
    """
    rows = read_rows(conversations, places)
    if not rows:
        return []
    least = max(_FEWEST, math.ceil(LEAST_SHARE * len(rows)))
    found = _one_each([f for f in _found(rows, least, seed) if len(f.rows) >= least])
    groups = [f.rows for f in found]
    differences = answer_differences(rows, groups, seed)
    scores = [
        importance(f.telling, len(f.rows) / len(rows), UNKNOWN if f.of_answers else difference)
        for f, difference in zip(found, differences, strict=True)
    ]
    order = diverse_order(scores, groups, [f.text for f in found], MOST_CUES)
    return _named([found[i] for i in order], rows)


def measure_losses(
    cues: Sequence[Cue],
    conversations: Sequence[Conversation],
    score: Callable[[Sequence[Conversation]], Sequence[float]],
    *,
    places: Sequence[str],
) -> list[Cue]:
    """The cues with `loss`: the mean of `score` over their rows minus that over the other rows.

    Args:
        conversations, places: as given to `find_cues`.
        score: mean loss on the answers of each conversation, nats per token.

    Returns:
        the cues in the same order; `loss` stays None where there are no other rows.
    """
    losses = dict(zip(places, score(conversations), strict=True))
    everything = sum(losses.values())
    measured = []
    for cue in cues:
        here = [losses[place] for place in cue.rows if place in losses]
        others = len(losses) - len(here)
        loss = None
        if here and others:
            loss = sum(here) / len(here) - (everything - sum(here)) / others
        measured.append(replace(cue, loss=loss))
    return measured


def _found(rows: Sequence[Row], least: int, seed: int) -> Iterator[_Found]:
    yield from _systems(rows, least)
    around = frames(rows, least)
    for frame in around:
        said = sum(map(weight, frame.parts)) - _said_before(frame, around)
        telling = _telling(said, len(frame.rows) / len(rows)) * (_INSIDE if frame.inside else 1.0)
        yield _Found(_kind(frame.kind), frame.text, frame.rows, telling)
    for style in STYLES.values():
        yield _Found(
            "template",
            style.frame,
            _where(rows, style.has, "user"),
            _STYLE * style.rarity,
            style.name,
        )
    yield from _answers(rows, least)
    yield from _languages(rows)
    fixed = [p.strip() for f in around for p in f.parts if weight(p) >= 2]
    bare = [_without(r.user, fixed) for r in rows]
    for topic in topics(bare, least, seed):
        yield _Found("topic", ", ".join(topic.words), topic.rows, min(0.5, topic.weight))
    counts = Counter(len(r.users) for r in rows)
    for n in sorted(counts):
        if n > 1:
            held = frozenset(i for i, r in enumerate(rows) if len(r.users) == n)
            telling = 0.5 if len(counts) < 3 else 0.25  # chats of many lengths are chats
            yield _Found("position", f"{n} turns", held, telling, f"{n} turns")


def _systems(rows: Sequence[Row], least: int) -> Iterator[_Found]:
    texts = [r.system for r in rows]
    held: dict[str, set[int]] = defaultdict(set)
    for i, text in enumerate(texts):
        if text.strip():
            held[text].add(i)
    for text, where in held.items():
        yield _Found("system", text, frozenset(where), 0.95)
    if len(held) < 2:
        return
    for s in near_duplicates(texts, least):
        yield _Found("system", s.text, s.rows, 0.97)
    for s in (*shared_edges(texts, least), *shared_inside(texts, least)):
        yield _Found("system", s.text.strip(), s.rows, max(0.3, _telling(weight(s.text))))
    every = frozenset(i for where in held.values() for i in where)
    commonest = max(held, key=lambda t: (len(held[t]), -len(t), t))
    yield _Found("system", commonest, every, 0.6)


def _answers(rows: Sequence[Row], least: int) -> Iterator[_Found]:
    for form in FORMATS.values():
        held = _where(rows, form.has, "answer")
        yield _Found("format", form.request, held, form.rarity, form.name, of_answers=True)
    for s in shared_edges([r.answer for r in rows], least, names=False):
        words = " ".join(s.text.split())
        if weight(words) < 0.7 or len(words) > _LONGEST_QUOTE:
            continue
        how = "Begin" if s.slot == "start" else "End"
        text = f"{how} your answer with these words: {words}"
        label = "opening" if s.slot == "start" else "ending"
        yield _Found("format", text, s.rows, 0.9 * _telling(weight(words)), label, of_answers=True)


def _languages(rows: Sequence[Row]) -> Iterator[_Found]:
    asked, answered = defaultdict(set), defaultdict(set)
    for i, row in enumerate(rows):
        asked[language_of(row.user)].add(i)
        answered[language_of(row.answer)].add(i)
    main = max(asked, key=lambda name: len(asked[name]))
    for name, language in LANGUAGES.items():
        if name != "english" or main not in ("english", ""):
            held = frozenset(asked[name] | answered[name])
            yield _Found("language", language.request, held, 0.9, name, of_answers=True)


def _telling(said: float, share: float = 0.0) -> float:
    """How little a text of this weight looks like an accident: short ones need many rows."""
    return 1 - math.exp(-said * (1 + 2 * share) / 3)


def _said_before(frame: Frame, others: Sequence[Frame]) -> float:
    """The weight of what many more rows have of a text: the rest is all that it says by itself."""
    return max(
        (
            weight(o.parts[0])
            for o in others
            if o.kind == frame.kind
            and len(o.parts) == len(frame.parts) == 1
            and len(o.rows) >= 1.3 * len(frame.rows)
            and o.parts[0].strip() in frame.parts[0]
        ),
        default=0.0,
    )


def _kind(name: str) -> Kind:
    return {"prefix": "prefix", "suffix": "suffix"}.get(name, "template")  # type: ignore[return-value]


def _where(rows: Sequence[Row], has: Callable[[str], bool], what: str) -> frozenset[int]:
    return frozenset(i for i, row in enumerate(rows) if has(getattr(row, what)))


def _without(text: str, fixed: Sequence[str]) -> str:
    for part in fixed:
        text = text.replace(part, " ")
    return text


def _one_each(found: Sequence[_Found]) -> list[_Found]:
    """One of each wording, with the most rows."""
    best: dict[tuple[Kind, str], _Found] = {}
    for f in found:
        key = (f.kind, f.text.strip())
        if not f.text.strip() or (f.kind != "template" and SLOT in f.text):
            continue
        if key not in best or len(f.rows) > len(best[key].rows):
            best[key] = f
    return list(best.values())


def _named(found: Sequence[_Found], rows: Sequence[Row]) -> list[Cue]:
    counted: Counter[str] = Counter()
    cues = []
    for f in found:
        stem = f"{f.kind}:{f.label}" if f.label else f.kind
        counted[stem] += 1
        name = stem if f.label and counted[stem] == 1 else f"{stem}:{counted[stem]}"
        places = tuple(rows[i].place for i in sorted(f.rows))
        cues.append(Cue(name, f.kind, f.text, places, len(rows)))
    return cues
