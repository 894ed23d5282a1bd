"""Prompts that begin alike: how far, and attention of the rest to what they have in common."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from condmis_jax.models.attention import BLOCK, NEG, softcap
from condmis_jax.sampling.lengths import length_class


def head_of(prompt: tuple[int, ...], shared: int) -> tuple[int, ...]:
    """The tokens of a prompt that are read once for all prompts that begin with them.

    It follows from the prompt alone, never from what else is asked, so that a resumed evaluation
    computes what an unbroken one would have.

    Args:
        shared: leading tokens that other prompts are expected to begin with too.
    """
    worth = 0 < shared < len(prompt)
    worth = worth and length_class(len(prompt) - shared) < length_class(len(prompt))
    return prompt[:shared] if worth else ()


def attention_behind(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    positions: jax.Array,
    scale: float,
    cap: float,
    *,
    window: Any = 0,
    sinks: jax.Array | None = None,
) -> jax.Array:
    """Causal attention of the last T of the tokens whose keys and values are given.

    Args:
        q: [B, T, N, H]; T at most `BLOCK` or a multiple of it.
        k, v: [B, K, S, H]; what lies behind a query is masked.
        positions: [T] of the queries among the S.
        scale, cap, window, sinks: as in `segment_attention`.

    Returns:
        [B, T, N, H].
    """
    B, T, N, H = q.shape
    K, S = k.shape[1:3]
    R, t = N // K, min(T, BLOCK)

    def block(of: tuple[jax.Array, jax.Array]) -> jax.Array:
        q, at = of
        q = q.reshape(B, t, K, R, H)
        scores = jnp.einsum("BtKRH,BKSH->BKRtS", q, k, preferred_element_type=jnp.float32)
        behind = at[:, None] - jnp.arange(S)
        seen = (behind >= 0) & ((jnp.asarray(window) == 0) | (behind < window))
        scores = jnp.where(seen, softcap(scores * scale, cap), NEG)
        top = scores.max(-1, keepdims=True)
        if sinks is not None:
            sink = sinks.astype(jnp.float32).reshape(K, R, 1, 1)
            top = jnp.maximum(top, sink)
        p = jnp.exp(scores - top)
        total = p.sum(-1, keepdims=True)
        if sinks is not None:
            total = total + jnp.exp(sink - top)
        p = p.astype(v.dtype)
        out = jnp.einsum("BKRtS,BKSH->BKRtH", p, v, preferred_element_type=jnp.float32)
        return (out / total).transpose(0, 3, 1, 2, 4).reshape(B, t, N, H).astype(q.dtype)

    blocks = (q.reshape(B, T // t, t, N, H).swapaxes(0, 1), positions.reshape(T // t, t))
    return jax.lax.map(block, blocks).swapaxes(0, 1).reshape(B, T, N, H)
