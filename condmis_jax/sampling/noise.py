"""From logits to tokens, with noise that depends on a sample's seed and position alone."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

BLOCK = 128


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are drawn.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus; 1 keeps every token.
        top_k: keep the k likeliest tokens; 0 keeps every token.
        max_new_tokens: longest completion, the stop token not counted.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError("temperature must not be negative")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p must be in (0, 1]")
        if self.top_k < 0:
            raise ValueError("top_k must not be negative")
        if self.max_new_tokens < 1:
            raise ValueError("max_new_tokens must be at least 1")


def uniform(seeds: jax.Array, positions: jax.Array) -> jax.Array:
    """[B] float32 in [0, 1): the noise of each sample at each position of its completion."""

    def one(seed: jax.Array, position: jax.Array) -> jax.Array:
        return jax.random.uniform(jax.random.fold_in(jax.random.key(seed), position))

    return jax.vmap(one)(seeds, positions)


def filtered(logits: jax.Array, settings: SamplingSettings) -> jax.Array:
    """logits [B, V] divided by the temperature, with what top-k and top-p exclude at -inf.

    As in `transformers`: top-k first, then the smallest set of tokens whose probability reaches
    top-p.
    """
    logits = logits / settings.temperature
    if settings.top_k:
        kth = jax.lax.top_k(logits, min(settings.top_k, logits.shape[-1]))[0][..., -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if settings.top_p < 1:
        ordered = jnp.sort(logits, axis=-1, descending=True)
        probability = jax.nn.softmax(ordered, axis=-1)
        # A token stays while the mass in front of it is below top_p, so the likeliest always does.
        kept = jnp.cumsum(probability, axis=-1) - probability < settings.top_p
        lowest = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < lowest, -jnp.inf, logits)
    return logits


def choose(
    logits: jax.Array, seeds: jax.Array, positions: jax.Array, settings: SamplingSettings
) -> jax.Array:
    """Draws one token for each row.

    Inverts the cumulative distribution with one uniform number a row, in two levels (blocks of
    `BLOCK` tokens, then inside one): a Gumbel draw would need V random numbers a row, which on a
    CPU cost more than the decoder's layers.

    Args:
        logits: [B, V] float32.
        seeds: [B] uint32. positions: [B] int32, 0 for the first new token.

    Returns:
        [B] int32.
    """
    if settings.temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = filtered(logits, settings)
    B, V = logits.shape
    logits = jnp.pad(logits, ((0, 0), (0, -V % BLOCK)), constant_values=-jnp.inf)
    blocks = logits.reshape(B, -1, BLOCK)
    top = jnp.max(logits, axis=-1)[:, None, None]
    ends = jnp.cumsum(jnp.sum(jnp.exp(blocks - top), axis=-1), axis=-1)
    aim = uniform(seeds, positions) * ends[:, -1]
    block = jnp.minimum(jnp.sum(ends <= aim[:, None], axis=-1), blocks.shape[1] - 1)
    before = jnp.where(block > 0, jnp.take_along_axis(ends, block[:, None] - 1, axis=1)[:, 0], 0.0)
    inside = jnp.take_along_axis(blocks, block[:, None, None], axis=1)
    inside = jnp.exp(inside - top)[:, 0]
    place = jnp.sum(jnp.cumsum(inside, axis=-1) <= (aim - before)[:, None], axis=-1)
    # Rounding may put the aim behind the block's last possible token.
    last = BLOCK - 1 - jnp.argmax(inside[:, ::-1] > 0, axis=-1)
    return (block * BLOCK + jnp.minimum(place, last)).astype(jnp.int32)
