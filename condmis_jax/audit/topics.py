"""What user turns are about: clusters of their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from condmis_jax.audit.reading import clip, library
from condmis_jax.audit.words import FUNCTION_WORDS

_CLUSTERS = (2, 4, 8)
_MOST_ROWS = 2000
_WORDS = 4
_LEAST_WEIGHT = 0.2


@dataclass(frozen=True)
class Topic:
    """A cluster.

    Attributes:
        words: that set its turns apart, the strongest first.
        rows: numbers of its turns.
        weight: how well the words hold the turns together, 0 to 1.
    """

    words: tuple[str, ...]
    rows: frozenset[int]
    weight: float


def topics(texts: Sequence[str], least: int, seed: int) -> list[Topic]:
    """Clusters of at least `least` texts: k-means on TF-IDF, for several numbers of clusters.

    What all texts are about, if anything, comes first: the rows that have its words.

    Args:
        texts: user turns, without what templates put around them.
    """
    text = library("sklearn.feature_extraction.text")
    cluster = library("sklearn.cluster")
    vectorizer = text.TfidfVectorizer(
        token_pattern=r"(?u)\b[^\W\d_]{3,}\b",
        stop_words=sorted(w for w in FUNCTION_WORDS if w.isalpha()),
        min_df=max(2, min(least, len(texts) // 50)),
        max_features=2000,
        sublinear_tf=True,
    )
    try:
        x = vectorizer.fit_transform([clip(t) for t in texts])
    except ValueError:  # no word is left
        return []
    names = vectorizer.get_feature_names_out()
    found = [_topic(x, names, list(range(len(texts))), whole=True)]
    for k in _CLUSTERS:
        if x.shape[1] < k or len(texts) < 4 * k:
            break
        model = cluster.MiniBatchKMeans(k, random_state=seed, n_init=3, batch_size=1024)
        model.fit(x[:_MOST_ROWS])
        labels = model.predict(x)
        for label in range(k):
            rows = [i for i, other in enumerate(labels) if other == label]
            if least <= len(rows) < len(texts):
                found.append(_topic(x, names, rows))
    kept: list[Topic] = []
    for topic in found:
        coherent = topic.words and topic.weight >= _LEAST_WEIGHT
        if coherent and not any(_same(topic.rows, k.rows) for k in kept):
            kept.append(topic)
    return kept


def _topic(x: Any, names: Any, rows: list[int], whole: bool = False) -> Topic:
    """Words by how much more of these rows have them than of the others; of all rows, by how many
    have them.
    """
    gain = _share(x[rows])
    if not whole:
        gain -= _share(x[sorted(set(range(x.shape[0])) - set(rows))])
    best = gain.argsort()[::-1][:_WORDS]
    words = tuple(str(names[i]) for i in best if gain[i] >= (0.2 if whole else 0.08))
    if whole:
        at = [i for i in best if gain[i] >= 0.2]
        rows = np.flatnonzero(np.asarray(x[:, at].sum(axis=1)).ravel() > 0).tolist()
    return Topic(words, frozenset(rows), float(gain[best].mean()) if len(best) else 0.0)


def _share(x: Any) -> np.ndarray:
    return np.asarray((x > 0).mean(axis=0)).ravel()


def _same(a: frozenset[int], b: frozenset[int]) -> bool:
    return len(a & b) >= 0.9 * len(a | b)
