"""The decoder as a Flax module."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import logits_of, packed_states
from condmis_jax.models.weights import Params


class Decoder(nnx.Module):
    """A decoder-only language model; a thin holder of stacked parameters.

    The computation is in `models.layers`, as pure functions over `params`, because training and
    sampling want to jit, donate and shard plain dictionaries of arrays.
    """

    def __init__(self, config: DecoderConfig, params: Mapping[str, jax.Array]):
        self.config = config
        self.weights = nnx.Dict({name: nnx.Param(value) for name, value in params.items()})

    @property
    def params(self) -> Params:
        """The parameters by name (the names of the weight table)."""
        return {name: p.get_value() for name, p in self.weights.items()}

    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        segments: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [B, T, V] float32 of tokens [B, T].

        `positions` default to 0..T-1 and `segments` to one segment a row; packed rows give both.
        """
        return logits(self.config, self.params, tokens, positions, segments)


def logits(
    config: DecoderConfig,
    params: Mapping[str, jax.Array],
    tokens: jax.Array,
    positions: jax.Array | None = None,
    segments: jax.Array | None = None,
) -> jax.Array:
    """The pure form of `Decoder.__call__`."""
    if positions is None:
        positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    if segments is None:
        segments = jnp.ones_like(tokens)
    x = packed_states(config, params, tokens, positions, segments)
    return logits_of(config, params, x)
