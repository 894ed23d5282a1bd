"""Gated activations, and the mixture of experts.

The mixture is dropless and exact: pairs of a token and one of its experts are sorted by expert, and
one ragged matrix product a weight takes each expert's tokens through it, however many they are.
Nothing is padded to a capacity and no token is dropped, so the result is that of Hugging Face's
loop over experts. XLA has kernels for `ragged_dot` on accelerators; its CPU backend multiplies
every token with every expert, E / C times the work.

Shape letters: B batch, T sequence, C experts of one token, M = B * T * C pairs, D model width,
F feed-forward width of an expert, E experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp

from condmis_jax.models.config import DecoderConfig

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "gelu": partial(jax.nn.gelu, approximate=False),
}


def gated(config: DecoderConfig, gate: jax.Array, up: jax.Array) -> jax.Array:
    """What goes into the down projection."""
    if config.activation == "clamped":  # HF `GptOssExperts._apply_gate`
        gate = jnp.minimum(gate, config.clamp)
        up = jnp.clip(up, -config.clamp, config.clamp)
        return (up + 1) * gate * jax.nn.sigmoid(config.gate_gain * gate)
    return ACTIVATIONS[config.activation](gate) * up


def choose_experts(config: DecoderConfig, scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(weights float32, experts int32), each [B, T, C], of router scores [B, T, E]."""
    scores = scores.astype(jnp.float32)
    best, experts = jax.lax.top_k(scores, config.experts_per_token)
    if config.router_renormalised:
        # The same as a softmax over all experts, divided by what the chosen ones add up to.
        return jax.nn.softmax(best, axis=-1), experts
    return jnp.exp(best - jax.nn.logsumexp(scores, axis=-1, keepdims=True)), experts


def routed(
    config: DecoderConfig, w: Mapping[str, jax.Array], x: jax.Array, scores: jax.Array
) -> jax.Array:
    """Output [B, T, D] of the experts for x [B, T, D] and router scores [B, T, E]."""
    weights, experts = choose_experts(config, scores)
    expert = experts.reshape(-1)
    order = jnp.argsort(expert)  # [M]
    token = order // config.experts_per_token
    sizes = jnp.bincount(expert, length=config.E)

    def through(name: str, y: jax.Array) -> jax.Array:
        y = jax.lax.ragged_dot(y, w[name], sizes)
        bias = f"{name}_bias"
        return y + w[bias][expert[order]] if bias in w else y

    rows = x.reshape(-1, x.shape[-1])
    h = rows[token]
    h = gated(config, through("experts_gate", h), through("experts_up", h))
    h = through("experts_down", h) * weights.reshape(-1)[order, None].astype(x.dtype)
    return jnp.zeros_like(rows).at[token].add(h).reshape(x.shape)
