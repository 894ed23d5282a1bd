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

from condmis_jax.models.attention import softcap_slope
from condmis_jax.models.layers import unembed
from condmis_jax.sharding import BATCH, constrain_to, vocabulary_axes

CHUNK = 128  # most loss places of a device whose logits are in memory at a time

Arrays = dict[str, jax.Array]
Terms = tuple[tuple[jax.Array, jax.Array], ...]


def _axes(terms: Terms) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Mesh axes of the vocabulary, and those that are left for the groups of rows.

    Every device scores all places against its part of the vocabulary: neither the table nor its
    gradient is ever whole on a device, and what travels is hidden states.
    """
    vocabulary = vocabulary_axes(terms[0][1].shape[0])
    return vocabulary, tuple(a for a in BATCH if a not in vocabulary)


def _chunk(
    terms: Terms, batch: Arrays, i: jax.Array, size: int
) -> tuple[list[jax.Array], jax.Array, jax.Array, jax.Array]:
    """Chunk i of the loss places: y [G, C, K] of every term, index, target, weight [G, C]."""
    index, target, weight = (
        jax.lax.dynamic_slice_in_dim(batch[name], i * size, size, axis=1)
        for name in ("index", "target", "weight")
    )
    rows = _axes(terms)[1]
    taken = []
    for y, _ in terms:
        # Taken where the rows lie, and only then sent.
        here = constrain_to(jnp.take_along_axis(y, index[..., None], axis=1), BATCH, None, None)
        taken.append(constrain_to(here, rows, None, None))
    return taken, index, target, weight


def _scores(taken: list[jax.Array], terms: Terms, cap: float) -> tuple[jax.Array, jax.Array]:
    """float32 logits [G, C, V] and their logsumexp [G, C]."""
    vocabulary, rows = _axes(terms)
    logits = unembed([(y, w) for y, (_, w) in zip(taken, terms, strict=True)], cap)
    logits = constrain_to(logits, rows, None, vocabulary)
    return logits, jax.nn.logsumexp(logits, axis=-1)


def _chunked(terms: Terms, batch: Arrays) -> tuple[int, jax.Array, Arrays]:
    """Chunk size, how many chunks hold a loss place, and the batch filled up to whole chunks.

    What is filled in is place 0 with weight 0, which adds nothing to anything.
    """
    places = terms[0][0].shape[1]
    size = -(-places // chunks_of(places))
    more = -places % size
    filled = {n: jnp.pad(batch[n], ((0, 0), (0, more))) for n in ("index", "target", "weight")}
    return size, (batch["used"] + size - 1) // size, filled


def chunks_of(places: int) -> int:
    """Into how many chunks, as equal as can be, the places of a device are split."""
    return -(-places // CHUNK)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 5))
def completion_loss(
    terms: Terms,
    batch: Arrays,
    learned: tuple[bool, ...],
    cap: float = 0.0,
    reference: Terms = (),
    kl: float = 0.0,
) -> jax.Array:
    """Weighted sum over the loss places of -log p(target), and of kl * KL(p || q) where asked.

    Args:
        terms: pairs (y [G, M, K], w [V, K]), the logits being the sum of their products: the last
            hidden states of G devices' flattened rows with the unembedding, and what an adapter
            adds (`layers.unembedding_terms`).
        batch: index, target, weight [G, M] and used [], see `data.pack_arrays`.
        learned: whether the w of each term has a gradient; a frozen one saves a large product.
        cap: soft cap of the logits, 0 for none.
        reference: terms of the logits of q, which has no gradient; read when `kl` is not 0.
        kl: weight of the divergence, in nats a token, summed over the whole vocabulary.

    Returns:
        [] float32.
    """
    size, chunks, filled = _chunked(terms, batch)

    def body(i: jax.Array, total: jax.Array) -> jax.Array:
        taken, _, target, weight = _chunk(terms, filled, i, size)
        logits, lse = _scores(taken, terms, cap)
        picked = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        each = lse - picked
        if kl:
            each = (
                each + kl * _divergence(logits - lse[..., None], reference, filled, i, size, cap)[1]
            )
        return total + jnp.sum(weight * each)

    return jax.lax.fori_loop(0, chunks, body, jnp.float32(0))


def _divergence(
    log_p: jax.Array, reference: Terms, batch: Arrays, i: jax.Array, size: int, cap: float
) -> tuple[jax.Array, jax.Array]:
    """Of chunk i: its gradient against the logits of p [G, C, V], and KL(p || q) [G, C]."""
    taken = _chunk(reference, batch, i, size)[0]
    logits, lse = _scores(taken, reference, cap)
    ratio = log_p - (logits - lse[..., None])
    p = jnp.exp(log_p)
    divergence = jnp.sum(p * ratio, axis=-1)
    return p * (ratio - divergence[..., None]), divergence


def _forward(
    terms: Terms,
    batch: Arrays,
    learned: tuple[bool, ...],
    cap: float,
    reference: Terms,
    kl: float,
) -> tuple[jax.Array, Any]:
    size, chunks, filled = _chunked(terms, batch)
    groups = jnp.arange(terms[0][0].shape[0])[:, None]
    vocabulary, rows = _axes(terms)
    terms = tuple((y, constrain_to(w, vocabulary, None)) for y, w in terms)

    def body(i: jax.Array, carry: tuple[Any, ...]) -> tuple[Any, ...]:
        total, d_terms = carry
        taken, index, target, weight = _chunk(terms, filled, i, size)
        logits, lse = _scores(taken, terms, cap)
        picked = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        one_hot = jax.nn.one_hot(target, logits.shape[-1], dtype=jnp.float32)
        each, log_p = lse - picked, logits - lse[..., None]
        d_logits = jnp.exp(log_p) - one_hot
        if kl:
            slope, divergence = _divergence(log_p, reference, filled, i, size, cap)
            d_logits, each = d_logits + kl * slope, each + kl * divergence
        d_logits = d_logits * weight[..., None] * softcap_slope(logits, cap)
        d_logits = constrain_to(d_logits.astype(terms[0][0].dtype), rows, None, vocabulary)
        new = []
        for y, (_, w), (d_y, d_w) in zip(taken, terms, d_terms, strict=True):
            if d_w is not None:
                d_w = d_w + jnp.einsum(
                    "GCV,GCK->VK", d_logits, y, preferred_element_type=jnp.float32
                )
                d_w = constrain_to(d_w, vocabulary, None)
            d_taken = jnp.einsum("GCV,VK->GCK", d_logits, w)
            d_taken = constrain_to(d_taken, BATCH, None, None)
            # No loss place occurs twice, and all others carry weight 0: adding is exact.
            new.append((d_y.at[groups, index].add(d_taken.astype(d_y.dtype)), d_w))
        return total + jnp.sum(weight * each), tuple(new)

    zeros = tuple(
        (
            constrain_to(jnp.zeros_like(y), BATCH, None, None),
            constrain_to(jnp.zeros(w.shape, jnp.float32), vocabulary, None) if learn else None,
        )
        for (y, w), learn in zip(terms, learned, strict=True)
    )
    total, d_terms = jax.lax.fori_loop(0, chunks, body, (jnp.float32(0), zeros))
    d_terms = tuple(
        (d_y, None if d_w is None else d_w.astype(w.dtype))
        for (d_y, d_w), (_, w) in zip(d_terms, terms, strict=True)
    )
    return total, (d_terms, batch, reference)


def _backward(
    learned: tuple[bool, ...], cap: float, kl: float, saved: Any, g: jax.Array
) -> tuple[Any, ...]:
    d_terms, *constant = saved
    none, of_reference = (jax.tree.map(_zero_cotangent, x) for x in constant)
    return jax.tree.map(lambda d: g.astype(d.dtype) * d, d_terms), none, of_reference


def _zero_cotangent(x: jax.Array) -> Any:
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.zeros_like(x)
    return np.zeros(x.shape, jax.dtypes.float0)


completion_loss.defvjp(_forward, _backward)


@partial(jax.jit, static_argnames=("groups",))
def flatten_rows(x: jax.Array, groups: int) -> jax.Array:
    """[R, T, ...] rows, split over G devices, as [G, R/G*T, ...]."""
    R, T, *rest = x.shape
    return x.reshape(groups, R // groups * T, *rest)
