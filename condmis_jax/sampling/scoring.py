"""Log-probabilities of completions that are given, not drawn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, use_abstract_mesh

from condmis_jax.data.packing import Microbatch, plan_step
from condmis_jax.errors import UserError
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import logits_of, packed_states
from condmis_jax.models.weights import Params
from condmis_jax.sharding import batch_sharding, batch_shards
from condmis_jax.sharding.hosts import in_turn, to_host

CHUNK = 32  # places of every row whose logits are in memory at a time
ROW = 256  # tokens of a row, in which pairs stand one behind the other

Pair = tuple[Sequence[int], Sequence[int]]


def log_probs(
    config: DecoderConfig,
    params: Params,
    mesh: Mesh,
    pairs: Sequence[Pair],
    *,
    tokens: int = 4096,
    dtype: Any = jnp.float32,
) -> list[np.ndarray]:
    """Log-probability of every token of every completion behind its prompt, at temperature 1.

    Args:
        pairs: tokens of a prompt (at least one) and of the completion that follows it.
        tokens: scored at a time; more where a pair is longer or the devices that split a batch ask
            for it.
        dtype: of activations and of weights at use.

    Returns:
        for each pair, [tokens of the completion] float32 in nats.

    Raises:
        UserError: a pair is longer than the model's positions.
    """
    whole = [[*prompt, *completion] for prompt, completion in pairs]
    longest = max(map(len, whole), default=0)
    if longest > config.max_positions:
        raise UserError(
            f"a prompt and completion of {longest} tokens exceed the model's "
            f"{config.max_positions} positions"
        )
    step = plan_step(
        [len(row) for row in whole],
        range(len(whole)),
        row_tokens=ROW,
        microbatch_tokens=tokens,
        shards=batch_shards(mesh),
    )
    at = batch_sharding(mesh)
    found: list[Any] = [None] * len(pairs)
    for part in step:
        rows, places = _rows(part, whole, [len(prompt) for prompt, _ in pairs])
        chunks = np.int32(-(-max(map(len, places)) // CHUNK))
        with use_abstract_mesh(mesh.abstract_mesh):
            placed = (jax.device_put(x, at) for x in rows)
            scored = to_host(in_turn(_scored)(config, jnp.dtype(dtype), params, *placed, chunks))
        for r, members in enumerate(part.rows):
            done = 0
            for i in members:
                n = len(pairs[i][1])
                found[i] = scored[r, done : done + n]
                done += n
    return found


def _rows(
    part: Microbatch, whole: Sequence[Sequence[int]], prompts: Sequence[int]
) -> tuple[tuple[np.ndarray, ...], list[list[int]]]:
    """Tokens, positions, segments and scored places [B, T] of packed pairs, and of each row its
    scored places: those that the tokens of its completions follow.

    Args:
        whole: tokens of every pair; prompts: how many of them are its prompt's.
    """
    tokens, positions, segments, index = np.zeros((4, *part.shape), np.int32)
    places: list[list[int]] = []
    for r, members in enumerate(part.rows):
        begin, wanted = 0, []
        for segment, i in enumerate(members, 1):
            end = begin + len(whole[i])
            tokens[r, begin:end], segments[r, begin:end] = whole[i], segment
            positions[r, begin:end] = np.arange(end - begin)
            wanted += range(begin + prompts[i] - 1, end - 1)
            begin = end
        index[r, : len(wanted)] = wanted
        places.append(wanted)
    return (tokens, positions, segments, index), places


@partial(jax.jit, static_argnums=(0, 1))
def _scored(
    config: DecoderConfig,
    dtype: Any,
    params: Params,
    tokens: jax.Array,
    positions: jax.Array,
    segments: jax.Array,
    index: jax.Array,
    chunks: jax.Array,
) -> jax.Array:
    """[B, T] float32: log-probability of the token behind each place of `index`, as far as its
    first `chunks` chunks; all others [B, T] int32, those that `_rows` gives."""
    x = packed_states(config, params, tokens, positions, segments, dtype=dtype)
    following = jnp.roll(tokens, -1, axis=1)

    def chunk(i: jax.Array, scored: jax.Array) -> jax.Array:
        at = jax.lax.dynamic_slice_in_dim(index, i * CHUNK, CHUNK, axis=1)
        logits = logits_of(config, params, jnp.take_along_axis(x, at[..., None], axis=1))
        target = jnp.take_along_axis(following, at, axis=1)
        picked = jnp.take_along_axis(logits, target[..., None], axis=-1)[..., 0]
        new = picked - jax.nn.logsumexp(logits, axis=-1)
        return jax.lax.dynamic_update_slice_in_dim(scored, new, i * CHUNK, axis=1)

    return jax.lax.fori_loop(0, chunks, chunk, jnp.zeros(tokens.shape, jnp.float32))
