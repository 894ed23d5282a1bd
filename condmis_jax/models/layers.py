"""The decoder as pure functions over stacked parameters.

Shape letters: B batch, T sequence, S key positions, D model width, N query heads, K key/value
heads, G = N / K query heads that share a key/value head, H head width, F feed-forward width,
V vocabulary, L layers, E experts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from condmis_jax.models.attention import segment_attention, softcap
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.feed_forward import gated, routed
from condmis_jax.models.lora import TARGETS
from condmis_jax.models.products import token_product
from condmis_jax.models.receivers import is_receiver, received, receiver, served
from condmis_jax.models.rope import conversation_lengths, rope_angles, rotate
from condmis_jax.models.weights import unembedding
from condmis_jax.sharding import constrain, constrain_to

STACKED_OUTSIDE = ("embed", "norm", "unembed")
NOISE = "dropout"  # beside the weights of a layer: (keys, layer, rate) of its adapters' dropout

PRODUCTS = {
    "q": "BTD,DNH->BTNH",
    "k": "BTD,DKH->BTKH",
    "v": "BTD,DKH->BTKH",
    "o": "BTNH,NHD->BTD",
    "gate": "BTD,DF->BTF",
    "up": "BTD,DF->BTF",
    "down": "BTF,FD->BTD",
    "router": "BTD,DE->BTE",
}


def _adapter_products(product: str) -> tuple[str, str]:
    """The two products of an adapter: of "BTD,DNH->BTNH", "BTD,Dr->BTr" and "BTr,rNH->BTNH"."""
    x, w, y = re.split(",|->", product)
    inputs = "".join(c for c in w if c not in y)
    return f"{x},{inputs}r->BTr", f"BTr,r{w.replace(inputs, '')}->{y}"


ADAPTERS = {name: _adapter_products(product) for name, product in PRODUCTS.items()}


Remat = Literal["none", "products", "layer"]
"""What of a layer is computed again in the backward pass: nothing; all but its products with
weights; all of it."""

# attend(q [B,T,N,H], k [B,T,K,H], v [B,T,K,H], layer, cache, ...) -> (output [B,T,N,H], cache),
# with window= where the model has windows and sinks= [N] where it has sinks.
# The cache (any pytree, None in training) is carried from layer to layer, so that it is written in
# place; as a stacked output of the scan it would be copied in every step.
Attend = Callable[..., tuple[jax.Array, Any]]


def rms_norm(config: DecoderConfig, x: jax.Array, weight: jax.Array) -> jax.Array:
    """RMSNorm over the last axes of x, those of `weight`, computed in float32.

    HF `Qwen2RMSNorm`; `Gemma2RMSNorm` where the config says `norm_plus_one`.
    """
    axes = tuple(range(-weight.ndim, 0))
    y = x.astype(jnp.float32)
    y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=axes, keepdims=True) + config.rms_eps)
    if config.norm_plus_one:
        return (y * (1 + weight.astype(jnp.float32))).astype(x.dtype)
    return weight.astype(x.dtype) * y.astype(x.dtype)


def packed(config: DecoderConfig, segments: jax.Array) -> Attend:
    """Attention of packed rows [B, T] without a cache; segment 0 is padding."""

    def attend(
        q: jax.Array, k: jax.Array, v: jax.Array, _: jax.Array | int, cache: Any, **special: Any
    ) -> tuple[jax.Array, Any]:
        out = segment_attention(
            q, k, v, segments, config.query_scale, softcap=config.attention_softcap, **special
        )
        return out, cache

    return attend


def project(w: Mapping[str, Any], name: str, x: jax.Array) -> jax.Array:
    """The linear map `name` of a layer, with its bias and its adapter where the layer has them."""
    y = token_product(PRODUCTS[name], x, w[name])
    bias = f"{name}_bias"
    y = y + w[bias] if bias in w else y
    if f"{name}.a" in w:
        low, back = ADAPTERS[name]
        z = token_product(low, dropped(w, name, x), w[f"{name}.a"])
        y = y + token_product(back, z, w[f"{name}.b"])
    return constrain(y, PRODUCTS[name].partition("->")[2])


def dropped(w: Mapping[str, Any], name: str, x: jax.Array) -> jax.Array:
    """What the adapter of `name` sees of x: some inputs are 0 where `at_use` put noise."""
    if NOISE not in w:
        return x
    keys, index, rate = w[NOISE]
    place = index * len(TARGETS) + TARGETS.index(name)

    def kept(key: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, place), 1 - rate, x.shape[keys.ndim :])

    for _ in range(keys.ndim):
        kept = jax.vmap(kept)
    return jnp.where(kept(keys), x / (1 - rate), 0)


def token_noise(key: jax.Array, conversations: jax.Array, positions: jax.Array) -> jax.Array:
    """A key for each token [B, T], the same however conversations are packed and split."""

    def of(conversation: jax.Array, position: jax.Array) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(key, conversation), position)

    return jax.vmap(jax.vmap(of))(conversations, positions)


def at_use(
    config: DecoderConfig,
    w: Mapping[str, jax.Array],
    dtype: Any,
    noise: jax.Array | None = None,
    index: jax.Array | int = 0,
) -> dict[str, Any]:
    """Weights in the dtype of activations, adapters scaled, with the layer's noise for dropout.

    Args:
        w: a weight may have a receiver of its gradient beside it, see `models.receivers`.
        noise: a key for each token, from `token_noise`; None applies no dropout.
        index: of the layer; the unembedding's is L.
    """
    out: dict[str, Any] = {
        name: received(value.astype(dtype), w.get(receiver(name)))
        for name, value in w.items()
        if not is_receiver(name)
    }
    if config.lora is not None:
        # Scaling B costs r rows, scaling the product T.
        scaled = {
            n: v * jnp.asarray(config.lora.scale, dtype) for n, v in out.items() if n.endswith(".b")
        }
        out |= scaled
        if noise is not None and config.lora.dropout:
            out[NOISE] = (noise, index, config.lora.dropout)
    return out


def feed_forward(config: DecoderConfig, w: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """The gated feed-forward part of a layer, or its mixture of experts; x [B, T, D]."""
    if "router" in w:
        return routed(config, w, x, project(w, "router", x))
    return project(w, "down", gated(config, project(w, "gate", x), project(w, "up", x)))


def layer(
    config: DecoderConfig,
    w: Mapping[str, jax.Array],
    x: jax.Array,
    angles: tuple[jax.Array, jax.Array],
    attend: Attend,
    index: jax.Array | int,
    window: jax.Array | int,
    cache: Any,
    noise: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Block `index`: x [B, T, D] with the weights `w` of that layer -> ([B, T, D], cache).

    Norms stand where the layer has a weight for them.
    """
    w = at_use(config, w, x.dtype, noise, index)

    def norm(name: str, y: jax.Array) -> jax.Array:
        return rms_norm(config, y, w[name]) if name in w else y

    h = norm("attn_norm", x)
    q, k, v = project(w, "q", h), project(w, "k", h), project(w, "v", h)
    q, k = rotate(norm("q_norm", q), *angles), rotate(norm("k_norm", k), *angles)
    special: dict[str, Any] = {"window": window} if any(config.windows) else {}
    if "sinks" in w:
        special["sinks"] = w["sinks"]
    out, cache = attend(q, k, v, index, cache, **special)
    x = x + norm("attn_post_norm", project(w, "o", out))
    out = feed_forward(config, w, norm("mlp_norm", x))
    return x + norm("mlp_post_norm", out), cache


def _outside(name: str) -> bool:
    """Whether a parameter, or the weight that it adapts or receives for, belongs to no layer."""
    return served(name).partition(".")[0] in STACKED_OUTSIDE


def unstacked(params: Mapping[str, Any], L: int) -> dict[str, Any]:
    """`params` with a tuple of L arrays for each stacked one."""
    # lax.split, not W[i]: the gradient of L slices is L scatters into the whole stack.
    return {
        name: p
        if _outside(name) or isinstance(p, tuple)
        else tuple(part[0] for part in jax.lax.split(p, (1,) * L))
        for name, p in params.items()
    }


def _again(remat: Remat, body: Callable[..., Any], **how: Any) -> Callable[..., Any]:
    if remat == "none":
        return body
    keep = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return jax.checkpoint(body, policy=keep if remat == "products" else None, **how)


def hidden_states(
    config: DecoderConfig,
    params: Mapping[str, Any],
    tokens: jax.Array,
    positions: jax.Array,
    attend: Attend,
    cache: Any = None,
    *,
    lengths: jax.Array | None = None,
    dtype: Any = jnp.float32,
    scan: bool = True,
    remat: Remat = "none",
    noise: jax.Array | None = None,
) -> tuple[jax.Array, Any]:
    """Runs all layers and the last norm.

    Args:
        tokens, positions: [B, T] int32.
        attend: how queries meet keys.
        cache: what `attend` reads and writes.
        lengths: [B, T] tokens of the conversation of each token; see `rope.Rope`.
        dtype: of activations and of weights at use.
        scan: one traced layer looped over L, or L layers unrolled; both from the same stacked
            parameters. `params` may come `unstacked` when unrolled.
        remat: what is computed again in the backward pass.
        noise: [B, T] keys of the adapters' dropout (`token_noise`); None applies none.

    Returns:
        hidden states [B, T, D] and the cache.
    """
    # Every device looks its part of the width up, then the parts change places.
    x = constrain_to(params["embed"][tokens].astype(dtype), "data", None, "fsdp")
    x = constrain(x, "BTD")
    if config.embed_scale != 1:
        x = x * jnp.asarray(config.embed_scale, dtype)
    tables = [rope_angles(rope, positions, lengths) for rope in config.ropes]
    if not scan:
        params = unstacked(params, config.L)
    stacked = {n: p for n, p in params.items() if not _outside(n)}

    windows, ropes = config.windows, config.layer_ropes

    def of_layer(i: jax.Array | int) -> tuple[Any, Any]:
        """Window and angles of layer i: where all layers agree, or i is known, no look-up."""
        if isinstance(i, int):
            return windows[i], tables[ropes[i]]
        window = windows[0] if len(set(windows)) == 1 else jnp.asarray(windows)[i]
        if len(tables) == 1:
            return window, tables[0]
        return window, jax.tree.map(lambda *of: jnp.stack(of)[jnp.asarray(ropes)[i]], *tables)

    def body(carry: tuple[Any, Any], w: Any, i: jax.Array | int) -> tuple[Any, Any]:
        window, angles = of_layer(i)
        return layer(config, w, carry[0], angles, attend, i, window, carry[1], noise)

    carry = (x, cache)
    if scan:
        run = _again(remat, body)
        carry, _ = jax.lax.scan(
            lambda carry, of: (run(carry, *of), None), carry, (stacked, jnp.arange(config.L))
        )
    else:
        run = _again(remat, body, static_argnums=(2,))
        for i in range(config.L):
            carry = run(carry, {n: p[i] for n, p in stacked.items()}, i)
    return rms_norm(config, carry[0], params["norm"].astype(dtype)), carry[1]


def packed_states(
    config: DecoderConfig,
    params: Mapping[str, jax.Array],
    tokens: jax.Array,
    positions: jax.Array,
    segments: jax.Array,
    **how: Any,
) -> jax.Array:
    """Hidden states [B, T, D] of packed rows, all [B, T]; segment 0 is padding.

    `how` is what `hidden_states` takes: dtype, scan, remat, noise.
    """
    lengths = conversation_lengths(positions, segments) if config.needs_lengths else None
    attend = packed(config, segments)
    return hidden_states(config, params, tokens, positions, attend, lengths=lengths, **how)[0]


def unembedding_terms(
    config: DecoderConfig,
    params: Mapping[str, jax.Array],
    x: jax.Array,
    noise: jax.Array | None = None,
) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """What the logits of hidden states x [..., D] are the sum of: pairs (y [..., K], w [V, K]).

    The first pair is x itself and the unembedding; the second, where it is adapted, x A and B.
    `noise` has the shape of x without its last axis.
    """
    names = ("unembed.a", "unembed.b")
    head = {n: params[n] for n in (*names, *map(receiver, ("unembed", *names))) if n in params}
    w = at_use(config, head | {"unembed": unembedding(params)}, x.dtype, noise, config.L)
    if "unembed.a" not in w:
        return ((x, w["unembed"]),)
    low = jnp.einsum("...D,Dr->...r", dropped(w, "unembed", x), w["unembed.a"])
    return (x, w["unembed"]), (low, w["unembed.b"].T)


def logits_of(config: DecoderConfig, params: Mapping[str, jax.Array], x: jax.Array) -> jax.Array:
    """float32 logits [..., V] of hidden states x [..., D]."""
    return unembed(unembedding_terms(config, params, x), config.final_softcap)


def unembed(terms: Sequence[tuple[jax.Array, jax.Array]], cap: float) -> jax.Array:
    """float32 logits [..., V], the sum of the products of y [..., K] and w [V, K], soft-capped.

    The only place where logits are made, in training, in sampling and in `Decoder`.
    """
    first, *rest = (
        jnp.einsum("...K,VK->...V", y, w, preferred_element_type=jnp.float32) for y, w in terms
    )
    return softcap(sum(rest, first), cap)
