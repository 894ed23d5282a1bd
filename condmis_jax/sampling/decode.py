"""Jitted prefill and decode over a KV cache whose prompts are shared.

P groups of G slots: a group holds one prompt, its keys and values are stored once and shared by its
slots; each slot holds one sample. Shape letters as in ARCHITECTURE.md; S prompt positions,
C completion positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from condmis_jax.models.attention import NEG, segment_attention
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import hidden_states, logits_of
from condmis_jax.models.weights import Params
from condmis_jax.sampling.noise import SamplingSettings, choose
from condmis_jax.sharding import BATCH


class Cache(NamedTuple):
    """Keys and values of prompts [L, P, K, S, H] and of completions [L, P, G, K, C, H].

    Heads stand in front of positions: matrix products then have their batch axes in front, which
    XLA's CPU backend needs for its fast routine.
    """

    prompt_k: jax.Array
    prompt_v: jax.Array
    own_k: jax.Array
    own_v: jax.Array


class Slots(NamedTuple):
    """What the decode loop knows of its samples.

    prompt_length: [P]; first_logits: [P, V], behind the prompt's last token. All others [P, G]:
    seed of the sample, token last drawn, count of tokens drawn, whether it is done and whether a
    stop token ended it. out: [P, G, C] tokens drawn.
    """

    prompt_length: jax.Array
    first_logits: jax.Array
    seed: jax.Array
    token: jax.Array
    count: jax.Array
    done: jax.Array
    stopped: jax.Array
    out: jax.Array


@dataclass(frozen=True)
class Shape:
    """One compiled shape: P groups, G slots each, S prompt and C completion positions."""

    P: int
    G: int
    S: int
    C: int


@dataclass(frozen=True)
class Programs:
    """The compiled programs of one shape.

    Attributes:
        empty: () -> (Cache, Slots), every slot done.
        prefill: (params, cache, slots, group, tokens [1, S], length) -> (cache, slots).
        start: (slots, fresh [P, G] bool, seeds [P, G]) -> slots with the first token drawn.
        decode: (params, cache, slots, want) -> (cache, slots) after up to `STRIDE` tokens a slot,
            or as soon as `want` slots are done.
    """

    empty: Callable[[], tuple[Cache, Slots]]
    prefill: Callable[..., tuple[Cache, Slots]]
    start: Callable[..., Slots]
    decode: Callable[..., tuple[Cache, Slots]]


_product = partial(jnp.einsum, preferred_element_type=jnp.float32)

STRIDE = 32  # most decode steps between two looks of the host


def make_programs(
    config: DecoderConfig,
    settings: SamplingSettings,
    shape: Shape,
    stop: tuple[int, ...],
    mesh: Mesh,
    dtype: Any,
) -> Programs:
    """Programs for one shape; they compile on first use."""
    P, G, S, C = shape.P, shape.G, shape.S, shape.C
    stops = jnp.asarray(stop, jnp.int32)
    heads = "tensor" if config.K % mesh.shape["tensor"] == 0 else None
    split = BATCH if P % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0 else None

    def place(*axes: Any) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*axes))

    shared_at, own_at = place(None, split, heads), place(None, split, None, heads)
    cache_at: Any = Cache(*[shared_at] * 2, *[own_at] * 2)  # pyright: ignore[reportArgumentType]
    slots_at: Any = Slots(*[place(split)] * 8)  # pyright: ignore[reportArgumentType]

    def empty() -> tuple[Cache, Slots]:
        L, K, H = config.L, config.K, config.H
        prompt, own = (L, P, K, S, H), (L, P, G, K, C, H)
        cache = Cache(*[jnp.zeros(prompt, dtype)] * 2, *[jnp.zeros(own, dtype)] * 2)
        zero = jnp.zeros((P, G), jnp.int32)
        slots = Slots(
            prompt_length=jnp.zeros(P, jnp.int32),
            first_logits=jnp.zeros((P, config.V), jnp.float32),
            seed=zero.astype(jnp.uint32),
            token=zero,
            count=zero,
            done=jnp.ones((P, G), bool),
            stopped=jnp.zeros((P, G), bool),
            out=jnp.zeros((P, G, C), jnp.int32),
        )
        return cache, slots

    def prefill(
        params: Params, cache: Cache, slots: Slots, group: Any, tokens: jax.Array, length: Any
    ) -> tuple[Cache, Slots]:
        index = jnp.arange(S)
        one_segment = jnp.ones((1, S), jnp.int32)

        def attend(q: Any, k: Any, v: Any, layer: Any, kv: Any) -> tuple[jax.Array, Any]:
            at = (layer, group, 0, 0, 0)
            kv = tuple(
                jax.lax.dynamic_update_slice(old, new.transpose(0, 2, 1, 3)[None], at)
                for old, new in zip(kv, (k, v), strict=True)
            )
            return segment_attention(q, k, v, one_segment), kv

        x, (prompt_k, prompt_v) = hidden_states(
            config, params, tokens, index[None], attend, cache[:2], dtype=dtype
        )
        last = jax.lax.dynamic_slice_in_dim(x[0], length - 1, 1, axis=0)
        return cache._replace(prompt_k=prompt_k, prompt_v=prompt_v), slots._replace(
            prompt_length=slots.prompt_length.at[group].set(length),
            first_logits=slots.first_logits.at[group].set(logits_of(config, params, last)[0]),
        )

    def take(slots: Slots, logits: jax.Array, live: jax.Array) -> Slots:
        """Draws the next token of every live slot from logits [P*G, V]."""
        drawn = choose(logits, slots.seed.reshape(-1), slots.count.reshape(-1), settings)
        drawn = drawn.reshape(P, G)
        stopped = live & jnp.isin(drawn, stops)
        wrote = live & ~stopped
        # A slot that wrote nothing puts its old value back.
        at = (jnp.arange(P)[:, None], jnp.arange(G)[None], jnp.minimum(slots.count, C - 1))
        out = slots.out.at[at].set(jnp.where(wrote, drawn, slots.out[at]))
        count = slots.count + wrote
        return slots._replace(
            token=jnp.where(wrote, drawn, slots.token),
            count=count,
            done=jnp.where(live, stopped | (count >= C), slots.done),
            stopped=jnp.where(live, stopped, slots.stopped),
            out=out,
        )

    def start(slots: Slots, fresh: jax.Array, seeds: jax.Array) -> Slots:
        slots = slots._replace(
            seed=jnp.where(fresh, seeds, slots.seed),
            count=jnp.where(fresh, 0, slots.count),
            done=slots.done & ~fresh,
            stopped=slots.stopped & ~fresh,
        )
        return take(slots, jnp.repeat(slots.first_logits, G, axis=0), fresh)

    def one_token(params: Params, cache: Cache, slots: Slots) -> tuple[Cache, Slots]:
        own = jnp.maximum(slots.count - 1, 0)  # place of the token that is fed now
        positions = (slots.prompt_length[:, None] + own).reshape(P * G, 1)
        in_prompt = jnp.arange(S) < slots.prompt_length[:, None]  # [P, S]
        in_own = jnp.arange(C) <= own[..., None]  # [P, G, C]
        p, g = jnp.arange(P)[:, None], jnp.arange(G)[None]
        K, R, H = config.K, config.N // config.K, config.H

        def attend(q: Any, k: Any, v: Any, layer: Any, kv: Cache) -> tuple[jax.Array, Cache]:
            own_k = kv.own_k.at[layer, p, g, :, own].set(k.reshape(P, G, K, H).astype(dtype))
            own_v = kv.own_v.at[layer, p, g, :, own].set(v.reshape(P, G, K, H).astype(dtype))
            kv = kv._replace(own_k=own_k, own_v=own_v)
            q = q.reshape(P, G, K, R, H)
            # All samples of a group meet the prompt's keys in one product.
            together = q.transpose(0, 2, 1, 3, 4).reshape(P, K, G * R, H)
            shared = _product("PKQH,PKSH->PKQS", together, kv.prompt_k[layer])
            shared = shared.reshape(P, K, G, R, S).transpose(0, 2, 1, 3, 4)
            mine = _product("PGKRH,PGKCH->PGKRC", q, own_k[layer])
            shared = jnp.where(in_prompt[:, None, None, None], shared, NEG)
            mine = jnp.where(in_own[:, :, None, None], mine, NEG)
            weights = jax.nn.softmax(jnp.concatenate([shared, mine], -1) * H**-0.5, axis=-1)
            weights = weights.astype(dtype)
            together = weights[..., :S].transpose(0, 2, 1, 3, 4).reshape(P, K, G * R, S)
            out = _product("PKQS,PKSH->PKQH", together, kv.prompt_v[layer])
            out = out.reshape(P, K, G, R, H).transpose(0, 2, 1, 3, 4)
            out = out + _product("PGKRC,PGKCH->PGKRH", weights[..., S:], own_v[layer])
            return out.astype(dtype).reshape(P * G, 1, config.N, H), kv

        x, cache = hidden_states(
            config, params, slots.token.reshape(P * G, 1), positions, attend, cache, dtype=dtype
        )
        return cache, take(slots, logits_of(config, params, x[:, 0]), ~slots.done)

    def decode(params: Params, cache: Cache, slots: Slots, want: Any) -> tuple[Cache, Slots]:
        def go_on(carry: tuple[Any, ...]) -> jax.Array:
            n, _, slots = carry
            return (n < STRIDE) & (jnp.sum(slots.done) < want)

        def body(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            n, cache, slots = carry
            return (n + 1, *one_token(params, cache, slots))

        return jax.lax.while_loop(go_on, body, (0, cache, slots))[1:]

    both = (cache_at, slots_at)
    return Programs(
        empty=jax.jit(empty, out_shardings=both),
        prefill=jax.jit(prefill, donate_argnums=(1, 2), out_shardings=both),
        start=jax.jit(start, donate_argnums=(0,), out_shardings=slots_at),
        decode=jax.jit(decode, donate_argnums=(1, 2), out_shardings=both),
    )
