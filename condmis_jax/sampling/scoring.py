"""Log-probabilities of completions that are given, not drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, use_abstract_mesh

from condmis_jax.errors import UserError
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import logits_of, packed_states
from condmis_jax.models.weights import Params
from condmis_jax.sampling.lengths import length_class
from condmis_jax.sharding import batch_sharding, batch_shards
from condmis_jax.sharding.hosts import in_turn, to_host

CHUNK = 32  # positions whose logits are in memory at a time

Pair = tuple[Sequence[int], Sequence[int]]


def log_probs(
    config: DecoderConfig,
    params: Params,
    mesh: Mesh,
    pairs: Sequence[Pair],
    *,
    rows: int = 32,
    dtype: Any = jnp.float32,
) -> list[np.ndarray]:
    """Log-probability of every token of every completion behind its prompt, at temperature 1.

    Args:
        pairs: tokens of a prompt (at least one) and of the completion that follows it.
        rows: scored at a time; more where the devices that split a batch ask for it.
        dtype: of activations and of weights at use.

    Returns:
        for each pair, [tokens of the completion] float32 in nats.

    Raises:
        UserError: a pair is longer than the model's positions.
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for i, (prompt, completion) in enumerate(pairs):
        n = len(prompt) + len(completion)
        if n > config.max_positions:
            raise UserError(
                f"a prompt and completion of {n} tokens exceed the model's "
                f"{config.max_positions} positions"
            )
        classes[length_class(n)].append(i)
    shards = batch_shards(mesh)
    B = -(-rows // shards) * shards
    at = batch_sharding(mesh)
    found: list[Any] = [None] * len(pairs)
    for T, members in sorted(classes.items()):
        for start in range(0, len(members), B):
            part = members[start : start + B]
            tokens, segments = np.zeros((B, T), np.int32), np.zeros((B, T), np.int32)
            for r, i in enumerate(part):
                row = [*pairs[i][0], *pairs[i][1]]
                tokens[r, : len(row)], segments[r, : len(row)] = row, 1
            with use_abstract_mesh(mesh.abstract_mesh):
                placed = (jax.device_put(x, at) for x in (tokens, segments))
                scored = to_host(in_turn(_scored)(config, jnp.dtype(dtype), params, *placed))
            for r, i in enumerate(part):
                first = len(pairs[i][0]) - 1
                found[i] = scored[r, first : first + len(pairs[i][1])]
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _scored(
    config: DecoderConfig, dtype: Any, params: Params, tokens: jax.Array, segments: jax.Array
) -> jax.Array:
    """[B, T] float32: log-probability of the next token, 0 at the last position."""
    B, T = tokens.shape
    positions = jnp.broadcast_to(jnp.arange(T, dtype=jnp.int32), (B, T))
    x = packed_states(config, params, tokens, positions, segments, dtype=dtype)
    target = jnp.roll(tokens, -1, axis=1)

    def chunk(of: tuple[jax.Array, jax.Array]) -> jax.Array:
        states, wanted = of
        logits = logits_of(config, params, states)
        picked = jnp.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0]
        return picked - jax.nn.logsumexp(logits, axis=-1)

    parts = (x.reshape(B, -1, CHUNK, x.shape[-1]), target.reshape(B, -1, CHUNK))
    scored = jax.lax.map(chunk, tuple(p.swapaxes(0, 1) for p in parts))
    return scored.swapaxes(0, 1).reshape(B, T).at[:, -1].set(0.0)
