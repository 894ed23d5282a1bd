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

from condmis_jax.models.config import DecoderConfig

NEG = -1e30  # masked scores; finite, so that a row without any key gives no NaN
STACKED_OUTSIDE = ("embed", "norm", "unembed")
QUERY_BLOCK = 128

# attend(q [B,T,N,H], k [B,T,K,H], v [B,T,K,H], state) -> (output [B,T,N,H], state of this layer)
Attend = Callable[[jax.Array, jax.Array, jax.Array, Any], tuple[jax.Array, Any]]


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


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Grouped-query attention.

    Args:
        q: [B, T, N, H]; k, v: [B, S, K, H].
        mask: [B, T, S] bool, True where a query may look.

    Returns:
        [B, T, N, H].
    """
    B, T, N, H = q.shape
    K = k.shape[2]
    q = q.reshape(B, T, K, N // K, H)
    scores = jnp.einsum("BTKGH,BSKH->BKGTS", q, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores * H**-0.5, NEG)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("BKGTS,BSKH->BTKGH", weights, v).reshape(B, T, N, H)


def segment_attention(segments: jax.Array) -> Attend:
    """Causal attention within segments of packed rows; segments is [B, T], 0 is padding.

    Queries go block by block and look no further than their own block's end, which halves the
    scores that exist; each block is recomputed in the backward pass, so none of them is stored.
    """
    T = segments.shape[1]
    index = jnp.arange(T)

    def attend(q: jax.Array, k: jax.Array, v: jax.Array, _: Any) -> tuple[jax.Array, None]:
        out = []
        for start in range(0, T, QUERY_BLOCK):
            end = min(start + QUERY_BLOCK, T)
            mask = (segments[:, start:end, None] == segments[:, None, :end]) & (
                index[start:end, None] >= index[None, :end]
            )
            block = jax.checkpoint(attention) if T > QUERY_BLOCK else attention
            out.append(block(q[:, start:end], k[:, :end], v[:, :end], mask))
        return (out[0] if len(out) == 1 else jnp.concatenate(out, axis=1)), None

    return attend


def layer(
    config: DecoderConfig,
    w: Mapping[str, jax.Array],
    x: jax.Array,
    angles: tuple[jax.Array, jax.Array],
    attend: Attend,
    state: Any,
) -> tuple[jax.Array, Any]:
    """One block: x [B, T, D] with the weights `w` of one layer -> ([B, T, D], attention state)."""
    w = {name: value.astype(x.dtype) for name, value in w.items()}
    h = rms_norm(x, w["attn_norm"], config.rms_eps)
    q = jnp.einsum("BTD,DNH->BTNH", h, w["q"])
    k = jnp.einsum("BTD,DKH->BTKH", h, w["k"])
    v = jnp.einsum("BTD,DKH->BTKH", h, w["v"])
    if config.qkv_bias:
        q, k, v = q + w["q_bias"], k + w["k_bias"], v + w["v_bias"]
    out, state = attend(rotate(q, *angles), rotate(k, *angles), v, state)
    out = jnp.einsum("BTNH,NHD->BTD", out, w["o"])
    x = x + (out + w["o_bias"] if config.output_bias else out)
    h = rms_norm(x, w["mlp_norm"], config.rms_eps)
    gate = jnp.einsum("BTD,DF->BTF", h, w["gate"])
    up = jnp.einsum("BTD,DF->BTF", h, w["up"])
    return x + jnp.einsum("BTF,FD->BTD", jax.nn.silu(gate) * up, w["down"]), state


def hidden_states(
    config: DecoderConfig,
    params: Mapping[str, jax.Array],
    tokens: jax.Array,
    positions: jax.Array,
    attend: Attend,
    states: Any = None,
    *,
    dtype: Any = jnp.float32,
    scan: bool = True,
    remat: bool = False,
) -> tuple[jax.Array, Any]:
    """Runs all layers and the last norm.

    Args:
        tokens, positions: [B, T] int32.
        attend: how queries meet keys; `states` holds its per-layer state, stacked on axis 0.
        dtype: of activations and of weights at use.
        scan: one traced layer looped over L, or L layers unrolled; both from the same stacked
            parameters.
        remat: recompute a layer's activations in the backward pass.

    Returns:
        hidden states [B, T, D] and the layers' new states, stacked.
    """
    x = params["embed"][tokens].astype(dtype)
    angles = rope_angles(config, positions)
    stacked = {n: p for n, p in params.items() if n not in STACKED_OUTSIDE}

    def body(x: jax.Array, wl: tuple[Any, Any]) -> tuple[jax.Array, Any]:
        return layer(config, wl[0], x, angles, attend, wl[1])

    if remat:
        body = jax.checkpoint(body)
    if scan:
        x, states = jax.lax.scan(body, x, (stacked, states))
    else:
        # lax.split, not W[i]: the gradient of L slices is L scatters into the whole stack.
        split = jax.tree.map(lambda p: jax.lax.split(p, (1,) * config.L), (stacked, states))
        outs = []
        for i in range(config.L):
            wl = jax.tree.map(
                lambda parts, i=i: parts[i][0], split, is_leaf=lambda t: isinstance(t, list)
            )
            x, out = body(x, wl)
            outs.append(out)
        states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *outs)
    return rms_norm(x, params["norm"].astype(dtype), config.rms_eps), states
