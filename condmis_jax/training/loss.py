"""Cross-entropy at completion positions, without logits that cover the batch.

The unembedding of a 150,000-token vocabulary is the largest array of a training step. Here a loop
takes the loss places a chunk at a time, and the forward pass leaves behind the gradient rather than
the logits: three matrix products instead of four, one chunk of logits in memory, and no work for
places without loss.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

CHUNK = 128

Arrays = dict[str, jax.Array]


def _chunk(hidden: jax.Array, batch: Arrays, i: jax.Array, size: int) -> tuple[jax.Array, ...]:
    """Chunk i of the loss places: hidden [G, C, D], index, target, weight [G, C]."""
    parts = [
        jax.lax.dynamic_slice_in_dim(batch[name], i * size, size, axis=1)
        for name in ("index", "target", "weight")
    ]
    return jnp.take_along_axis(hidden, parts[0][..., None], axis=1), *parts


def _scores(h: jax.Array, table: jax.Array) -> tuple[jax.Array, jax.Array]:
    """float32 logits [G, C, V] and their logsumexp [G, C]."""
    logits = jnp.einsum("GCD,VD->GCV", h, table, preferred_element_type=jnp.float32)
    return logits, jax.nn.logsumexp(logits, axis=-1)


def _sizes(hidden: jax.Array, batch: Arrays) -> tuple[int, jax.Array]:
    """Chunk size, a divisor of the places of a device, and how many chunks hold a loss place."""
    size = int(np.gcd(hidden.shape[1], CHUNK))
    return size, (batch["used"] + size - 1) // size


@jax.custom_vjp
def completion_loss(hidden: jax.Array, table: jax.Array, batch: Arrays) -> jax.Array:
    """Weighted sum of -log p(target) over the loss places.

    Args:
        hidden: [G, M, D], the last hidden states of G devices' flattened rows.
        table: [V, D] unembedding.
        batch: index, target, weight [G, M] and used [], see `data.pack_arrays`.

    Returns:
        [] float32.
    """
    size, chunks = _sizes(hidden, batch)

    def body(i: jax.Array, total: jax.Array) -> jax.Array:
        h, _, target, weight = _chunk(hidden, batch, i, size)
        logits, lse = _scores(h, table)
        picked = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        return total + jnp.sum(weight * (lse - picked))

    return jax.lax.fori_loop(0, chunks, body, jnp.float32(0))


def _forward(hidden: jax.Array, table: jax.Array, batch: Arrays) -> tuple[jax.Array, Any]:
    size, chunks = _sizes(hidden, batch)
    groups = jnp.arange(hidden.shape[0])[:, None]

    def body(i: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        total, d_hidden, d_table = carry
        h, index, target, weight = _chunk(hidden, batch, i, size)
        logits, lse = _scores(h, table)
        picked = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        one_hot = jax.nn.one_hot(target, table.shape[0], dtype=jnp.float32)
        d_logits = (jnp.exp(logits - lse[..., None]) - one_hot) * weight[..., None]
        d_logits = d_logits.astype(hidden.dtype)
        d_h = jnp.einsum("GCV,VD->GCD", d_logits, table)
        d_table = d_table + jnp.einsum(
            "GCV,GCD->VD", d_logits, h, preferred_element_type=jnp.float32
        )
        # Every place occurs once, places without loss carry weight 0: adding is exact.
        d_hidden = d_hidden.at[groups, index].add(d_h.astype(d_hidden.dtype))
        return total + jnp.sum(weight * (lse - picked)), d_hidden, d_table

    start = (jnp.float32(0), jnp.zeros_like(hidden), jnp.zeros(table.shape, jnp.float32))
    total, d_hidden, d_table = jax.lax.fori_loop(0, chunks, body, start)
    return total, (d_hidden, d_table.astype(table.dtype), batch)


def _backward(saved: Any, g: jax.Array) -> tuple[Any, ...]:
    d_hidden, d_table, batch = saved
    no_gradient = jax.tree.map(_zero_cotangent, batch)
    return g.astype(d_hidden.dtype) * d_hidden, g.astype(d_table.dtype) * d_table, no_gradient


def _zero_cotangent(x: jax.Array) -> Any:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)


completion_loss.defvjp(_forward, _backward)


@partial(jax.jit, static_argnames=("groups",))
def flatten_rows(x: jax.Array, groups: int) -> jax.Array:
    """[R, T, D] rows, split over G devices, as [G, R/G*T, D]."""
    R, T, D = x.shape
    return x.reshape(groups, R // groups * T, D)
