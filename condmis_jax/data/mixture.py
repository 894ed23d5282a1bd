"""Mixtures: index arrays first, exact proportions, one seeded permutation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grain
import numpy as np

from condmis_jax.data.sources import Row, Source, load_source
from condmis_jax.errors import UserError


@dataclass(frozen=True)
class Mixture:
    """The conversations of one epoch, and those kept out of it.

    Attributes:
        rows: every conversation, grouped by source.
        source_of: [n] index into `names`.
        held_out: [n] bool, True for rows of the held-out loss; both parts keep the proportions.
        names: the sources, in the order of the config.
    """

    rows: Sequence[Row]
    source_of: np.ndarray
    held_out: np.ndarray
    names: tuple[str, ...]


def exact_counts(shares: Sequence[float], total: int) -> list[int]:
    """Whole counts that add up to `total`, each within one of `share * total`.

    The largest-remainder method; ties go to the earlier source.
    """
    quota = np.asarray(shares, np.float64) / np.sum(shares) * total
    counts = np.floor(quota).astype(int)
    remainder = quota - counts
    for i in np.argsort(-remainder, kind="stable")[: total - counts.sum()]:
        counts[i] += 1
    return counts.tolist()


def build_mixture(
    sources: Mapping[str, Source],
    rows: int | None,
    held_out: int,
    seed: int,
    key: str,
    rollouts: Sequence[Row] | None = None,
) -> Mixture:
    """Loads, filters and sub-samples the sources of one stage.

    Args:
        sources: by name.
        rows: conversations of an epoch; None takes all, or as many as the shares allow.
        held_out: conversations kept out of it.
        seed: of sub-sampling and of generated rows.
        key: config key of the mixture, for errors.
        rollouts: rows that the stage sampled; see `load_source`.

    Raises:
        UserError: shares are incomplete or not 1 in sum, or a source has too few rows.
    """
    names = tuple(sources)
    pools = []
    for i, (name, source) in enumerate(sources.items()):
        pool = load_source(source, f"{key}.{name}", seed + i, rollouts)
        if source.sample is not None:
            if source.sample > len(pool):
                raise UserError(
                    f"{key}.{name}.sample: {source.sample} rows asked, {len(pool)} there"
                )
            pool = [pool[j] for j in np.sort(_permutation(pool, (seed, i))[: source.sample])]
        pools.append(pool)
    sizes = [len(p) for p in pools]
    if not sum(sizes):
        raise UserError(f"{key}: a mixture needs at least one source with rows")
    train, held = _counts([s.share for s in sources.values()], sizes, rows, held_out, key)
    for name, size, n_train, n_held in zip(names, sizes, train, held, strict=True):
        if n_train + n_held > size:
            raise UserError(
                f"{key}.{name}: the mixture needs {n_train + n_held} of its rows, {size} are "
                "there; lower the number of rows, held_out or the share"
            )
    chosen: list[Row] = []
    source_of: list[int] = []
    is_held: list[bool] = []
    for i, pool in enumerate(pools):
        order = _permutation(pool, (seed, 1000 + i))
        held_rows = set(order[: held[i]].tolist())
        for j in np.sort(order[: held[i] + train[i]]).tolist():
            chosen.append(pool[j])
            source_of.append(i)
            is_held.append(j in held_rows)
    return Mixture(chosen, np.asarray(source_of), np.asarray(is_held), names)


def _counts(
    shares: Sequence[float | None], sizes: Sequence[int], rows: int | None, held_out: int, key: str
) -> tuple[list[int], list[int]]:
    """How many rows of each source are trained on and how many are held out."""
    stated = [s for s in shares if s is not None]
    if stated and len(stated) < len(shares):
        raise UserError(f"{key}: every source states its share, or none does")
    if stated and abs(sum(stated) - 1) > 1e-9:
        raise UserError(f"{key}: the shares add up to {sum(stated):g}, not to 1")
    weights = stated or [float(n) for n in sizes]
    held = exact_counts(weights, held_out)
    if rows is not None:
        return exact_counts(weights, rows), held
    if not stated:
        return [max(n - h, 0) for n, h in zip(sizes, held, strict=True)], held
    rows = min(int(n / s + 1e-9) for n, s in zip(sizes, stated, strict=True) if s > 0) - held_out
    while rows > 0:
        train = exact_counts(weights, rows)
        if all(t + h <= n for t, h, n in zip(train, held, sizes, strict=True)):
            return train, held
        rows -= 1  # rounding up the held-out part of the scarcest source cost it a row
    raise UserError(f"{key}: held_out {held_out} leaves no row to train on")


def _permutation(pool: Sequence[Row], seed: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(pool))


def epoch_order(n: int, seed: int) -> np.ndarray:
    """A seeded permutation of n rows (grain's index shuffle)."""
    return np.fromiter(grain.MapDataset.range(n).shuffle(seed=seed), np.int64, n)
