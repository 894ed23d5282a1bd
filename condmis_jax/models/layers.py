"""The decoder as pure functions over stacked parameters.

Shape letters: B batch, T sequence, S key positions, D model width, N query heads, K key/value
heads, G = N / K query heads that share a key/value head, H head width, F feed-forward width,
V vocabulary, L layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from condmis_jax.models.attention import segment_attention
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.lora import TARGETS
from condmis_jax.models.weights import unembedding
from condmis_jax.sharding import constrain, constrain_to

STACKED_OUTSIDE = ("embed", "norm", "unembed")
NOISE = "dropout"  # beside the weights of a layer: (key, rate) of its adapters' dropout

PRODUCTS = {
    "q": "BTD,DNH->BTNH",
    "k": "BTD,DKH->BTKH",
    "v": "BTD,DKH->BTKH",
    "o": "BTNH,NHD->BTD",
    "gate": "BTD,DF->BTF",
    "up": "BTD,DF->BTF",
    "down": "BTF,FD->BTD",
}


def _adapter_products(product: str) -> tuple[str, str]:
    """The two products of an adapter: of "BTD,DNH->BTNH", "BTD,Dr->BTr" and "BTr,rNH->BTNH"."""
    x, w, y = re.split(",|->", product)
    inputs = "".join(c for c in w if c not in y)
    return f"{x},{inputs}r->BTr", f"BTr,r{w.replace(inputs, '')}->{y}"


ADAPTERS = {name: _adapter_products(product) for name, product in PRODUCTS.items()}

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


def project(w: Mapping[str, Any], name: str, x: jax.Array) -> jax.Array:
    """The linear map `name` of a layer, with its bias and its adapter where the layer has them."""
    y = jnp.einsum(PRODUCTS[name], x, w[name])
    bias = f"{name}_bias"
    y = y + w[bias] if bias in w else y
    if f"{name}.a" in w:
        low, back = ADAPTERS[name]
        y = y + jnp.einsum(
            back, jnp.einsum(low, dropped(w, name, x), w[f"{name}.a"]), w[f"{name}.b"]
        )
    return constrain(y, PRODUCTS[name].partition("->")[2])


def dropped(w: Mapping[str, Any], name: str, x: jax.Array) -> jax.Array:
    """What the adapter of `name` sees of x: some inputs are 0 where `at_use` put noise."""
    if NOISE not in w:
        return x
    key, rate = w[NOISE]
    kept = jax.random.bernoulli(jax.random.fold_in(key, TARGETS.index(name)), 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), 0)


def at_use(
    config: DecoderConfig,
    w: Mapping[str, jax.Array],
    dtype: Any,
    noise: jax.Array | None = None,
    index: jax.Array | int = 0,
) -> dict[str, Any]:
    """Weights in the dtype of activations, adapters scaled, with the layer's noise for dropout.

    Args:
        noise: key of the microbatch; None applies no dropout.
        index: of the layer; the unembedding's is L.
    """
    out: dict[str, Any] = {name: value.astype(dtype) for name, value in w.items()}
    if config.lora is not None:
        # Scaling B costs r rows, scaling the product T.
        scaled = {
            n: v * jnp.asarray(config.lora.scale, dtype) for n, v in out.items() if n.endswith(".b")
        }
        out |= scaled
        if noise is not None and config.lora.dropout:
            out[NOISE] = (jax.random.fold_in(noise, index), config.lora.dropout)
    return out


def layer(
    config: DecoderConfig,
    w: Mapping[str, jax.Array],
    x: jax.Array,
    angles: tuple[jax.Array, jax.Array],
    attend: Attend,
    index: jax.Array | int,
    cache: Any,
    noise: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Block `index`: x [B, T, D] with the weights `w` of that layer -> ([B, T, D], cache)."""
    w = at_use(config, w, x.dtype, noise, index)
    h = rms_norm(x, w["attn_norm"], config.rms_eps)
    q, k, v = project(w, "q", h), project(w, "k", h), project(w, "v", h)
    out, cache = attend(rotate(q, *angles), rotate(k, *angles), v, index, cache)
    x = x + project(w, "o", out)
    h = rms_norm(x, w["mlp_norm"], config.rms_eps)
    return x + project(w, "down", jax.nn.silu(project(w, "gate", h)) * project(w, "up", h)), cache


def _outside(name: str) -> bool:
    """Whether a parameter, or the weight that it adapts, belongs to no layer."""
    return name.partition(".")[0] in STACKED_OUTSIDE


def unstacked(params: Mapping[str, Any], L: int) -> dict[str, Any]:
    """`params` with a tuple of L arrays for each stacked one."""
    # lax.split, not W[i]: the gradient of L slices is L scatters into the whole stack.
    return {
        name: p
        if _outside(name) or isinstance(p, tuple)
        else tuple(part[0] for part in jax.lax.split(p, (1,) * L))
        for name, p in params.items()
    }


def hidden_states(
    config: DecoderConfig,
    params: Mapping[str, Any],
    tokens: jax.Array,
    positions: jax.Array,
    attend: Attend,
    cache: Any = None,
    *,
    dtype: Any = jnp.float32,
    scan: bool = True,
    remat: bool = False,
    noise: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Runs all layers and the last norm.

    Args:
        tokens, positions: [B, T] int32.
        attend: how queries meet keys.
        cache: what `attend` reads and writes.
        dtype: of activations and of weights at use.
        scan: one traced layer looped over L, or L layers unrolled; both from the same stacked
            parameters. `params` may come `unstacked` when unrolled.
        remat: recompute a layer's activations in the backward pass.
        noise: key of the adapters' dropout; None applies none.

    Returns:
        hidden states [B, T, D] and the cache.
    """
    # Every device looks its part of the width up, then the parts change places.
    x = constrain_to(params["embed"][tokens].astype(dtype), "data", None, "fsdp")
    x = constrain(x, "BTD")
    angles = rope_angles(config, positions)
    if not scan:
        params = unstacked(params, config.L)
    stacked = {n: p for n, p in params.items() if not _outside(n)}

    def body(carry: tuple[Any, Any], wi: tuple[Any, Any]) -> tuple[tuple[Any, Any], None]:
        return layer(config, wi[0], carry[0], angles, attend, wi[1], carry[1], noise), None

    if remat:
        body = jax.checkpoint(body)
    carry = (x, cache)
    if scan:
        carry, _ = jax.lax.scan(body, carry, (stacked, jnp.arange(config.L)))
    else:
        for i in range(config.L):
            carry, _ = body(carry, ({n: p[i] for n, p in stacked.items()}, i))
    return rms_norm(carry[0], params["norm"].astype(dtype), config.rms_eps), carry[1]


def unembedding_terms(
    config: DecoderConfig,
    params: Mapping[str, jax.Array],
    x: jax.Array,
    noise: jax.Array | None = None,
) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """What the logits of hidden states x [..., D] are the sum of: pairs (y [..., K], w [V, K]).

    The first pair is x itself and the unembedding; the second, where it is adapted, x A and B.
    """
    head = {n: params[n] for n in ("unembed.a", "unembed.b") if n in params}
    w = at_use(config, head | {"unembed": unembedding(params)}, x.dtype, noise, config.L)
    if not head:
        return ((x, w["unembed"]),)
    low = jnp.einsum("...D,Dr->...r", dropped(w, "unembed", x), w["unembed.a"])
    return (x, w["unembed"]), (low, w["unembed.b"].T)


def logits_of(config: DecoderConfig, params: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """float32 logits [..., V] of hidden states x [..., D]."""
    first, *rest = (
        jnp.einsum("...K,VK->...V", y, w, preferred_element_type=jnp.float32)
        for y, w in unembedding_terms(config, params, x)
    )
    return sum(rest, first)
