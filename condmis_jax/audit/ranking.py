"""Which regularities are worth asking about: telling, common, and with answers of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from condmis_jax.audit.reading import Row, clip, library

_MOST_ROWS = 3000
_FOLDS = 3
_FEWEST = 12
UNKNOWN = 0.5
"""Taken for the difference of answers where it cannot be measured, under a cue of all rows say."""


def answer_differences(
    rows: Sequence[Row], groups: Sequence[frozenset[int]], seed: int
) -> list[float]:
    """How well each group of rows can be told from the other rows by their answers alone.

    Args:
        groups: numbers of rows.

    Returns:
        2 AUC - 1 of a cross-validated ridge on words and surface of the answers, at least 0;
        `UNKNOWN` where the group or its complement has fewer than 12 rows.
    """
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.permutation(len(rows))[:_MOST_ROWS])
    member = np.zeros((len(chosen), len(groups)), dtype=float)
    for g, group in enumerate(groups):
        member[:, g] = [i in group for i in chosen]
    count = member.sum(axis=0)
    known = np.flatnonzero((count >= _FEWEST) & (len(chosen) - count >= _FEWEST))
    differences = [UNKNOWN] * len(groups)
    if not len(known):
        return differences
    x = _features([rows[i] for i in chosen], seed)
    scores = _cross_validated(x, member[:, known], rng)
    for at, g in enumerate(known):
        differences[g] = max(0.0, 2 * _auc(scores[:, at], member[:, g] > 0) - 1)
    return differences


def _features(rows: Sequence[Row], seed: int) -> np.ndarray:
    """Standardised features of answers [rows, features]: 32 of their words, and their surface."""
    answers = [clip(r.answer) for r in rows]
    surface = np.array([_surface(a) for a in answers])
    parts: list[Any] = [surface]
    text = library("sklearn.feature_extraction.text")
    try:
        words = text.TfidfVectorizer(
            token_pattern=r"(?u)\b\w\w+\b", max_features=3000, sublinear_tf=True
        ).fit_transform(answers)
    except ValueError:  # answers without words
        words = None
    if words is not None and min(words.shape) > 40:
        svd = library("sklearn.decomposition").TruncatedSVD(32, random_state=seed)
        parts.append(svd.fit_transform(words))
    x = np.hstack(parts)
    return (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)


def _surface(text: str) -> list[float]:
    n = max(len(text), 1)
    return [
        math.log1p(len(text)),
        math.log1p(text.count("\n")),
        *(sum(map(test, text)) / n for test in (str.isupper, str.isdigit, str.isalpha)),
        *(math.log1p(text.count(mark)) for mark in ".,!?:;'\"`*#-_=(){}[]<>|/\\"),
        float(not text.isascii()),
    ]


def _cross_validated(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scores [rows, groups] of ridge regressions that have not seen the row."""
    fold = rng.permutation(len(x)) % _FOLDS
    x = np.hstack([x, np.ones((len(x), 1))])
    scores = np.zeros_like(y)
    for k in range(_FOLDS):
        train, test = x[fold != k], x[fold == k]
        gram = train.T @ train + 10.0 * np.eye(x.shape[1])
        scores[fold == k] = test @ np.linalg.solve(gram, train.T @ y[fold != k])
    return scores


def _auc(score: np.ndarray, member: np.ndarray) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(score)
    n, m = member.sum(), (~member).sum()
    return float((ranks[member].sum() - n * (n + 1) / 2) / (n * m))


def importance(telling: float, share: float, difference: float) -> float:
    """How much a regularity is worth, 0 to 1.

    Args:
        telling: how little it looks like an accident of ordinary text, 0 to 1.
        share: of the rows.
        difference: of the answers (`answer_differences`).
    """
    return telling * share**0.35 * (0.7 + 0.3 * difference)


def diverse_order(
    scores: Sequence[float], groups: Sequence[frozenset[int]], texts: Sequence[str], most: int
) -> list[int]:
    """Numbers of the best `most`, best first, each after it was marked down for what it repeats of
    those in front of it: by half where it has their rows and their words, by less with only one.
    """
    fuzz = library("rapidfuzz.fuzz")
    left = dict(enumerate(scores))
    order: list[int] = []
    while left and len(order) < most:
        best = max(left, key=lambda i: (left[i], -i))
        del left[best]
        order.append(best)
        for i in left:
            union = len(groups[i] | groups[best])
            same_rows = len(groups[i] & groups[best]) / union if union else 0.0
            same_words = fuzz.partial_ratio(texts[i].casefold(), texts[best].casefold()) / 100
            if same_words > 0.75:
                left[i] *= 1 - 0.5 * same_words * max(same_rows, 0.3)
            elif same_rows > 0.5:
                left[i] *= 1 - 0.1 * same_rows
    return order
