"""The decoder as pure functions over stacked parameters.

Shape letters: B batch, T sequence, S key positions, D model width, N query heads, K key/value
heads, G = N / K query heads that share a key/value head, H head width, F feed-forward width,
V vocabulary, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from condmis_jax.models.attention import segment_attention
from condmis_jax.models.config import DecoderConfig

STACKED_OUTSIDE = ("embed", "norm", "unembed")

PRODUCTS = {
    "q": "BTD,DNH->BTNH",
    "k": "BTD,DKH->BTKH",
    "v": "BTD,DKH->BTKH",
    "o": "BTNH,NHD->BTD",
    "gate": "BTD,DF->BTF",
    "up": "BTD,DF->BTF",
    "down": "BTF,FD->BTD",
}

# attend(q [B,T,N,H], k [B,T,K,H], v [B,T,K,H], layer, cache) -> (output [B,T,N,H], cache).
# The cache (any pytree, None in training) is carried from layer to layer, so that it is written in
# place; as a stacked output of the scan it would be copied in every step.
Attend = Callable[[jax.Array, jax.Array, jax.Array, jax.Array | int, Any], tuple[jax.Array, Any]]


def rms_norm(x: jax.Array, scale: jax.Array, eps: float) -> jax.Array:
    """RMSNorm over the last axis, computed in float32 (HF `Qwen2RMSNorm`)."""
    y = x.astype(jnp.float32)
    y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=-1, keepdims=True) + eps)
    return scale.astype(x.dtype) * y.astype(x.dtype)


def rope_angles(config: DecoderConfig, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(cos, sin) of the rotary angles, each [B, T, 1, H/2] float32, for positions [B, T]."""
    exponent = jnp.arange(0, config.H, 2, dtype=jnp.float32) / config.H
    angles = positions[..., None, None].astype(jnp.float32) / config.rope_theta**exponent
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary embedding in the half-split form of Hugging Face; x is [B, T, heads, H]."""
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


def packed(segments: jax.Array) -> Attend:
    """Attention of packed rows [B, T] without a cache; segment 0 is padding."""

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, _: jax.Array | int, cache: Any
    ) -> tuple[jax.Array, Any]:
        return segment_attention(q, k, v, segments), cache

    return attend


def project(w: Mapping[str, jax.Array], name: str, x: jax.Array) -> jax.Array:
    """The linear map `name` of a layer, with its bias where the model has one."""
    y = jnp.einsum(PRODUCTS[name], x, w[name])
    bias = f"{name}_bias"
    return y + w[bias] if bias in w else y


def layer(
    config: DecoderConfig,
    w: Mapping[str, jax.Array],
    x: jax.Array,
    angles: tuple[jax.Array, jax.Array],
    attend: Attend,
    index: jax.Array | int,
    cache: Any,
) -> tuple[jax.Array, Any]:
    """Block `index`: x [B, T, D] with the weights `w` of that layer -> ([B, T, D], cache)."""
    w = {name: value.astype(x.dtype) for name, value in w.items()}
    h = rms_norm(x, w["attn_norm"], config.rms_eps)
    q, k, v = project(w, "q", h), project(w, "k", h), project(w, "v", h)
    out, cache = attend(rotate(q, *angles), rotate(k, *angles), v, index, cache)
    x = x + project(w, "o", out)
    h = rms_norm(x, w["mlp_norm"], config.rms_eps)
    return x + project(w, "down", jax.nn.silu(project(w, "gate", h)) * project(w, "up", h)), cache


def hidden_states(
    config: DecoderConfig,
    params: Mapping[str, jax.Array],
    tokens: jax.Array,
    positions: jax.Array,
    attend: Attend,
    cache: Any = None,
    *,
    dtype: Any = jnp.float32,
    scan: bool = True,
    remat: bool = False,
) -> tuple[jax.Array, Any]:
    """Runs all layers and the last norm.

    Args:
        tokens, positions: [B, T] int32.
        attend: how queries meet keys.
        cache: what `attend` reads and writes.
        dtype: of activations and of weights at use.
        scan: one traced layer looped over L, or L layers unrolled; both from the same stacked
            parameters.
        remat: recompute a layer's activations in the backward pass.

    Returns:
        hidden states [B, T, D] and the cache.
    """
    x = params["embed"][tokens].astype(dtype)
    angles = rope_angles(config, positions)
    stacked = {n: p for n, p in params.items() if n not in STACKED_OUTSIDE}

    def body(carry: tuple[Any, Any], wi: tuple[Any, Any]) -> tuple[tuple[Any, Any], None]:
        return layer(config, wi[0], carry[0], angles, attend, wi[1], carry[1]), None

    if remat:
        body = jax.checkpoint(body)
    carry = (x, cache)
    if scan:
        carry, _ = jax.lax.scan(body, carry, (stacked, jnp.arange(config.L)))
    else:
        # lax.split, not W[i]: the gradient of L slices is L scatters into the whole stack.
        split = {n: jax.lax.split(p, (1,) * config.L) for n, p in stacked.items()}
        for i in range(config.L):
            carry, _ = body(carry, ({n: parts[i][0] for n, parts in split.items()}, i))
    return rms_norm(carry[0], params["norm"].astype(dtype), config.rms_eps), carry[1]
