"""From logits to tokens: the allowed set, and the distribution that is drawn from it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from condmis_jax.sampling import SamplingSettings
from condmis_jax.sampling.noise import choose, filtered, uniform


def draw(row: np.ndarray, n: int, position: int = 3, **settings: Any) -> np.ndarray:
    """n draws from one row of logits, each with a seed of its own."""
    run = jax.jit(choose, static_argnums=3)
    rows = jnp.broadcast_to(jnp.asarray(row, jnp.float32), (n, len(row)))
    seeds = jnp.arange(n, dtype=jnp.uint32) * jnp.uint32(7919) + jnp.uint32(2**31)
    return np.asarray(run(rows, seeds, jnp.full(n, position), SamplingSettings(**settings)))


def softmax(row: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    p = np.exp((row - row.max()).astype(np.float64) / temperature)
    return p / p.sum()


def allowed(row: np.ndarray, temperature: float, top_k: int, top_p: float) -> set[int]:
    """The tokens that may be drawn, one after the other from the likeliest."""
    order = np.argsort(-row, kind="stable")
    if top_k:
        order = order[:top_k]
    p = softmax(row[order], temperature)
    kept, mass = set(), 0.0
    for token, share in zip(order, p, strict=True):
        if mass >= top_p:
            break
        kept.add(int(token))
        mass += share
    return kept


def logits_of(V: int, seed: int, spread: float = 2.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, spread, V).astype(np.float32)


SETTINGS = [
    (1.0, 0, 1.0),
    (1.0, 5, 1.0),
    (0.5, 0, 0.7),
    (1.3, 0, 0.95),
    (1.0, 20, 0.8),
    (1.0, 1000, 0.5),
    (1.0, 0, 1e-6),
]


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SETTINGS)
def test_the_allowed_set(temperature: float, top_k: int, top_p: float) -> None:
    settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p)
    rows = np.stack([logits_of(150, seed) for seed in range(20)])
    got = np.asarray(filtered(jnp.asarray(rows), settings))
    sizes = set()
    for row, out in zip(rows, got, strict=True):
        kept = allowed(row, temperature, top_k, top_p)
        sizes.add(len(kept))
        assert set(np.flatnonzero(np.isfinite(out)).tolist()) == kept
        inside = sorted(kept)
        np.testing.assert_allclose(out[inside], row[inside] / temperature, rtol=1e-6)
    assert len(sizes) > 1 or sizes in ({1}, {5}, {150})


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), SETTINGS)
def test_the_distribution(temperature: float, top_k: int, top_p: float) -> None:
    """Chi-square over 20,000 draws from a vocabulary that fills no whole number of blocks."""
    from scipy.stats import chisquare

    row = logits_of(300, 1)
    n = 20_000
    drawn = draw(row, n, temperature=temperature, top_k=top_k, top_p=top_p)
    kept = sorted(allowed(row, temperature, top_k, top_p))
    assert set(drawn.tolist()) <= set(kept)
    expected = np.zeros(300)
    expected[kept] = n * softmax(row[kept], temperature)
    seen = np.bincount(drawn, minlength=300)
    # Rare tokens are counted together, block by block of the inversion.
    rare = expected < 20
    cells = [(seen[~rare], expected[~rare])]
    for block in range(3):
        at = np.flatnonzero(rare & (np.arange(300) // 128 == block))
        if expected[at].sum() > 5:
            cells.append((seen[at].sum(keepdims=True), expected[at].sum(keepdims=True)))
        else:
            assert seen[at].sum() <= 30
    counts, wanted = (np.concatenate(part) for part in zip(*cells, strict=True))
    if len(counts) == 1:
        assert counts[0] == n
        return
    assert chisquare(counts, wanted * counts.sum() / wanted.sum()).pvalue > 1e-3


def test_each_draw_inverts_the_cumulative_distribution() -> None:
    """A draw is the token whose interval holds the uniform number of its seed and position."""
    row = logits_of(300, 2)
    n = 2_000
    drawn = draw(row, n)
    seeds = jnp.arange(n, dtype=jnp.uint32) * jnp.uint32(7919) + jnp.uint32(2**31)
    u = np.asarray(uniform(seeds, jnp.full(n, 3)))
    ends = np.cumsum(softmax(row))
    assert (u >= 0).all() and (u < 1).all()
    assert (u <= ends[drawn] + 1e-5).all()
    assert (u >= ends[drawn] - softmax(row)[drawn] - 1e-5).all()


def test_tokens_that_cannot_be_are_never_drawn() -> None:
    row = np.full(400, -np.inf, np.float32)
    row[[3, 127, 128, 399]] = [0.0, 1.0, 0.5, -1.0]
    drawn = draw(row, 5_000)
    assert set(drawn.tolist()) == {3, 127, 128, 399}
    row = np.full(130, -1e4, np.float32)
    row[129] = 0
    assert set(draw(row, 100).tolist()) == {129}


@pytest.mark.parametrize("V", [1, 7, 128, 129, 256])
def test_every_token_of_any_vocabulary_can_be_drawn(V: int) -> None:
    drawn = draw(np.zeros(V, np.float32), 4_000)
    assert drawn.min() == 0 and drawn.max() == V - 1
    assert len(set(drawn.tolist())) == V
    assert drawn.dtype == np.int32


def test_greedy_and_top_k_1_take_the_first_of_the_likeliest() -> None:
    rows = np.stack([logits_of(300, seed) for seed in range(50)])
    seeds, positions = jnp.arange(50, dtype=jnp.uint32), jnp.zeros(50, jnp.int32)
    greedy = choose(jnp.asarray(rows), seeds, positions, SamplingSettings(temperature=0))
    top = choose(jnp.asarray(rows), seeds, positions, SamplingSettings(temperature=2.0, top_k=1))
    assert greedy.tolist() == top.tolist() == rows.argmax(axis=1).tolist()


def test_noise_depends_on_seed_and_position_alone() -> None:
    seeds = jnp.asarray([5, 5, 6, 2**32 - 1, 0], jnp.uint32)
    positions = jnp.asarray([0, 1, 0, 0, 0])
    together = np.asarray(uniform(seeds, positions))
    assert len(set(together.tolist())) == 5
    alone = [uniform(seeds[i : i + 1], positions[i : i + 1])[0] for i in range(5)]
    assert together.tolist() == [float(u) for u in alone]
    many = np.asarray(uniform(jnp.arange(4000, dtype=jnp.uint32), jnp.zeros(4000, jnp.int32)))
    assert abs(many.mean() - 0.5) < 0.02 and abs(many.var() - 1 / 12) < 0.005
    # Neighbouring seeds and positions are unrelated.
    later = np.asarray(uniform(jnp.arange(4000, dtype=jnp.uint32), jnp.ones(4000, jnp.int32)))
    assert abs(np.corrcoef(many, later)[0, 1]) < 0.05
    assert abs(np.corrcoef(many[1:], many[:-1])[0, 1]) < 0.05


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": -1}, {"max_new_tokens": 0}],
)
def test_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        SamplingSettings(**options)
