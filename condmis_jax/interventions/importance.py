"""Importance weights: answers drawn in one context, weighed as if drawn in the one trained in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from condmis_jax.data import ChatTemplate, Row
from condmis_jax.models import LoadedModel
from condmis_jax.runs import read_jsonl, write_jsonl
from condmis_jax.sampling import log_probs
from condmis_jax.sharding.hosts import from_first, on_first

WEIGHTS = "weights.jsonl"


def importance_weights(
    trained: Sequence[float], sampled: Sequence[float], largest: float
) -> np.ndarray:
    """[n] weights p(answer | trained in) / p(answer | sampled in), each between 1 / `largest` and
    `largest`, then divided by their mean.

    Sampling from one distribution and weighing so is, unclipped and in expectation, sampling from
    the other (Kloek & van Dijk, Econometrica 1978); the clip trades variance for bias.

    Args:
        trained, sampled: log-probability of each whole answer, in nats.
        largest: at least 1.
    """
    if not len(trained):
        return np.zeros(0)
    difference = np.asarray(trained, np.float64) - np.asarray(sampled, np.float64)
    weights = np.exp(np.clip(difference, -np.log(largest), np.log(largest)))
    return weights / weights.mean()


def answer_log_probs(
    model: LoadedModel, rows: Sequence[Row], mesh: Mesh, dtype: str
) -> list[float]:
    """Log-probability of the last answer of each row behind what comes before it, in nats.

    The answer's tokens are those that carry loss in training, its end of turn included.

    Raises:
        UserError: see `ChatTemplate.tokenise` and `sampling.log_probs`.
    """
    template = ChatTemplate(model.tokenizer, model.stop)
    pairs = []
    for row in rows:
        made = template.tokenise(row.conversation, row.where, "last")
        places = np.flatnonzero(made.loss)
        first, last = places[0], places[-1]
        pairs.append((made.tokens[:first].tolist(), made.tokens[first : last + 1].tolist()))
    found = log_probs(model.config, model.params, mesh, pairs, dtype=jnp.dtype(dtype))
    return [float(np.sum(each, dtype=np.float64)) for each in found]


def weighed(
    folder: Path,
    rows: Sequence[Row],
    asked: Sequence[float],
    trained: Sequence[Row],
    model: LoadedModel,
    mesh: Mesh,
    *,
    largest: float,
    dtype: str,
) -> list[Row]:
    """The rows of a round with their weights, which are worked out once and kept in `folder`.

    Args:
        rows: kept by the round.
        asked: log-probability of each one's answer in the context it was sampled in.
        trained: those of them that are trained on, in the context they are trained in.
        model: as the round's training starts from it.
        largest: see `importance_weights`.
        dtype: of the weights at use and of activations.

    Raises:
        UserError: see `answer_log_probs`.
    """
    path = folder / WEIGHTS
    if not from_first(path.exists):
        before = {row.where: value for row, value in zip(rows, asked, strict=True)}
        sampled = [before[row.where] for row in trained]
        now = answer_log_probs(model, trained, mesh, dtype)
        weights = importance_weights(now, sampled, largest)
        lines = [
            {"line": _line(row), "sampled": a, "trained": b, "weight": w}
            for row, a, b, w in zip(trained, sampled, now, weights.tolist(), strict=True)
        ]
        on_first(lambda: write_jsonl(path, lines))
    weight = {line["line"]: line["weight"] for line in from_first(lambda: read_jsonl(path))}
    return [replace(row, weight=weight.get(_line(row), 1.0)) for row in rows]


def weights_in_short(folder: Path) -> dict[str, Any]:
    """What the weights of a round come to, for the facts of the stage; {} where there are none.

    Returns:
        rows, the smallest and largest weight, and how many equally weighed rows would be as
        informative, (Σw)² / Σw² (Kish).
    """
    if not from_first((folder / WEIGHTS).exists):
        return {}
    w = np.asarray([line["weight"] for line in from_first(lambda: read_jsonl(folder / WEIGHTS))])
    if not len(w):
        return {}
    effective = float(w.sum() ** 2 / (w @ w))
    return {
        "rows": len(w),
        "from": float(w.min()),
        "to": float(w.max()),
        "effective_rows": effective,
    }


def _line(row: Row) -> int:
    """The row's line in the file of its round."""
    return int(row.where.rpartition(":")[2])
