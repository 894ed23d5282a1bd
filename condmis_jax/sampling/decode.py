"""Jitted prefill and decode over a KV cache whose prompts are shared.

P groups of G slots: a group holds one prompt, its keys and values are stored once and shared by its
slots; each slot holds one sample. Shape letters as in ARCHITECTURE.md; S prompt positions,
C completion positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from condmis_jax.models.attention import NEG, segment_attention, softcap
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import hidden_states, logits_of, unstacked
from condmis_jax.models.weights import Params
from condmis_jax.sampling.heads import attention_behind
from condmis_jax.sampling.noise import SamplingSettings, choose
from condmis_jax.sharding import BATCH
from condmis_jax.sharding.hosts import in_turn

Head = tuple[jax.Array, jax.Array]  # keys and values [L, K, S, H] of what prompts begin with
Layers = Any  # an array [L, ...], or a tuple of L arrays where layers are unrolled


class Cache(NamedTuple):
    """What every layer holds: keys and values of prompts and of completions.

    prompt_k, prompt_v: [P, K, S, H]. own_k: [P, K, G, H, C]; own_v: [P, K, G, C, H]. Axes that a
    product batches over stand in front, and a completion's keys have positions last: on a CPU the
    product of three query rows with them then takes a third of the time.
    """

    prompt_k: Layers
    prompt_v: Layers
    own_k: Layers
    own_v: Layers


def _write(layers: Layers, layer: Any, at: tuple[Any, ...], value: jax.Array) -> Layers:
    """`layers` with `value` at an index of one layer."""
    if isinstance(layers, tuple):
        return (*layers[:layer], layers[layer].at[at].set(value), *layers[layer + 1 :])
    return layers.at[(layer, *at)].set(value)


def _write_all(layers: Layers, at: tuple[Any, ...], values: jax.Array) -> Layers:
    """`layers` with values [L, ...] at an index of every layer; what lies outside is dropped."""
    if isinstance(layers, tuple):
        return tuple(x.at[at].set(v, mode="drop") for x, v in zip(layers, values, strict=True))
    return layers.at[(slice(None), *at)].set(values, mode="drop")


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

    def rows(self, T: int) -> int:
        """How many prompts are read at a time, of which T tokens each are not read yet.

        The more samples share a prompt, the fewer groups fall free together, and a row without a
        prompt costs as much as one with.
        """
        return max(1, min(self.P, READ // (T * self.G)))


@dataclass(frozen=True)
class Programs:
    """The compiled programs of one shape.

    Attributes:
        empty: () -> (Cache, Slots), every slot done.
        begin: (params, tokens [1, T], count [1]) -> the keys and values of a head: of the `count`
            first tokens of prompts that begin alike.
        prefill: (params, cache, slots, groups [B], head, before, tokens [B, T], count [B]) ->
            (cache, slots), prompts of `before` tokens that the head holds and `count` more; without
            a head None and 0. A row for group P is read for nothing.
        share: (cache, slots, source, group) -> (cache, slots), the prompt of another group.
        start: (slots, fresh [P, G] bool, seeds [P, G]) -> slots with the first token drawn.
        decode: (`decode_params`, cache, slots, want) -> (cache, slots) after up to `STRIDE` tokens
            a slot, or as soon as `want` slots are done.
    """

    empty: Callable[[], tuple[Cache, Slots]]
    begin: Callable[..., Head]
    prefill: Callable[..., tuple[Cache, Slots]]
    share: Callable[..., tuple[Cache, Slots]]
    start: Callable[..., Slots]
    decode: Callable[..., tuple[Cache, Slots]]


_product = partial(jnp.einsum, preferred_element_type=jnp.float32)

READ = 256  # tokens of prompts that are read at a time, where each has one sample
STRIDE = 32  # most decode steps between two looks of the host


def unrolls(mesh: Mesh) -> bool:
    """Whether layers are unrolled in the decode loop.

    On a CPU a layer's slice of a stacked array is a copy, each token, of all weights and caches; an
    accelerator's compiler reads it in place, and compiles one layer instead of L.
    """
    return next(iter(mesh.devices.flat)).platform == "cpu"


def decode_params(config: DecoderConfig, params: Params, mesh: Mesh) -> dict[str, Any]:
    """The parameters in the form that `Programs.decode` takes; on a CPU a second copy of them."""
    if not unrolls(mesh):
        return dict(params)
    return in_turn(jax.jit(unstacked, static_argnums=1))(params, config.L)


@lru_cache(maxsize=16)
def make_programs(
    config: DecoderConfig,
    settings: SamplingSettings,
    shape: Shape,
    stop: tuple[int, ...],
    mesh: Mesh,
    dtype: Any,
) -> Programs:
    """Programs for one shape; compiled on first use, the same for every sampler."""
    P, G, S, C = shape.P, shape.G, shape.S, shape.C
    stops = jnp.asarray(stop, jnp.int32)
    heads = "tensor" if config.K % mesh.shape["tensor"] == 0 else None
    split = BATCH if P % (mesh.shape["data"] * mesh.shape["fsdp"]) == 0 else None

    def place(*axes: Any) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*axes))

    unrolled = unrolls(mesh)

    layers_at = (place(split, heads),) * config.L if unrolled else place(None, split, heads)
    cache_at: Any = Cache(*[layers_at] * 4)
    slots_at: Any = Slots(*[place(split)] * 8)  # pyright: ignore[reportArgumentType]

    def empty() -> tuple[Cache, Slots]:
        K, H = config.K, config.H

        def zeros(*shape: int) -> Layers:
            if unrolled:
                return tuple(jnp.zeros(shape, dtype) for _ in range(config.L))
            return jnp.zeros((config.L, *shape), dtype)

        prompt = (P, K, S, H)
        cache = Cache(zeros(*prompt), zeros(*prompt), zeros(P, K, G, H, C), zeros(P, K, G, C, H))
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

    def read(
        params: Params, head: Head | None, before: Any, tokens: jax.Array, count: jax.Array
    ) -> tuple[jax.Array, Head]:
        """Hidden states [B, T, D] of B times T tokens behind `before` others, those of `head`, and
        keys and values [L, B, K, S, H] of all; `count` [B] of the T are real.
        """
        B, T = tokens.shape
        positions = before + jnp.arange(T)
        one_segment = jnp.ones((B, T), jnp.int32)

        def attend(
            q: Any, k: Any, v: Any, layer: Any, kv: Any, **special: Any
        ) -> tuple[jax.Array, Any]:
            # What lies behind the last position is padding, and dropped.
            kv = tuple(
                old.at[layer, :, :, positions].set(new.swapaxes(0, 1).astype(dtype), mode="drop")
                for old, new in zip(kv, (k, v), strict=True)
            )
            cap, scale = config.attention_softcap, config.query_scale
            if head is None:
                out = segment_attention(q, k, v, one_segment, scale, softcap=cap, **special)
            else:
                keys, values = kv[0][layer], kv[1][layer]
                out = attention_behind(q, keys, values, positions, scale, cap, **special)
            return out, kv

        kept = (config.L, B, config.K, S, config.H)
        none = jnp.zeros(kept, dtype)
        lengths = jnp.repeat((before + count + C)[:, None], T, axis=1)
        return hidden_states(
            config,
            params,
            tokens,
            jnp.broadcast_to(positions, (B, T)),
            attend,
            tuple(jnp.broadcast_to(x[:, None], kept) for x in head) if head else (none, none),
            lengths=lengths,
            dtype=dtype,
        )

    def begin(params: Params, tokens: jax.Array, count: jax.Array) -> Head:
        k, v = read(params, None, 0, tokens, count)[1]
        return k[:, 0], v[:, 0]

    def prefill(
        params: Params,
        cache: Cache,
        slots: Slots,
        groups: jax.Array,
        head: Head | None,
        before: Any,
        tokens: jax.Array,
        count: jax.Array,
    ) -> tuple[Cache, Slots]:
        x, kv = read(params, head, before, tokens, count)
        prompt_k, prompt_v = (
            _write_all(old, (groups,), new) for old, new in zip(cache[:2], kv, strict=True)
        )
        logits = logits_of(config, params, x[jnp.arange(len(x)), count - 1])
        return cache._replace(prompt_k=prompt_k, prompt_v=prompt_v), slots._replace(
            prompt_length=slots.prompt_length.at[groups].set(before + count, mode="drop"),
            first_logits=slots.first_logits.at[groups].set(logits, mode="drop"),
        )

    def share(cache: Cache, slots: Slots, source: Any, group: Any) -> tuple[Cache, Slots]:
        def copied(x: jax.Array, axis: int) -> jax.Array:
            one = jax.lax.dynamic_index_in_dim(x, source, axis)
            return jax.lax.dynamic_update_index_in_dim(x, one, group, axis)

        def layers(x: Layers) -> Layers:
            return tuple(copied(y, 0) for y in x) if unrolled else copied(x, 1)

        return cache._replace(
            prompt_k=layers(cache.prompt_k), prompt_v=layers(cache.prompt_v)
        ), slots._replace(
            prompt_length=copied(slots.prompt_length, 0),
            first_logits=copied(slots.first_logits, 0),
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
        # What a conversation may come to, as in `prefill`: its keys are rotated once.
        lengths = jnp.repeat(slots.prompt_length + C, G)[:, None]
        p, g = jnp.arange(P)[:, None, None], jnp.arange(G)[None, None]
        h = jnp.arange(config.K)[None, :, None]
        K, R, H = config.K, config.N // config.K, config.H

        def seen(window: Any) -> tuple[jax.Array, jax.Array]:
            """Which keys of its prompt [P, 1 or G, S] and its own [P, G, C] a sample attends to."""
            s, c = jnp.arange(S), jnp.arange(C)
            prompt = (s < slots.prompt_length[:, None])[:, None]
            mine = c <= own[..., None]
            if isinstance(window, int) and window == 0:
                return prompt, mine
            place = slots.prompt_length[:, None] + own
            prompt = prompt & ((window == 0) | (place[..., None] - s < window))
            return prompt, mine & ((window == 0) | (own[..., None] - c < window))

        def attend(
            q: Any,
            k: Any,
            v: Any,
            layer: Any,
            kv: Cache,
            *,
            window: Any = 0,
            sinks: jax.Array | None = None,
        ) -> tuple[jax.Array, Cache]:
            q = q.reshape(P, G, K, R, H).transpose(0, 2, 1, 3, 4)
            k, v = (x.reshape(P, G, K, H).transpose(0, 2, 1, 3).astype(dtype) for x in (k, v))
            own_k = _write(kv.own_k, layer, (p, h, g, slice(None), own[:, None]), k)
            own_v = _write(kv.own_v, layer, (p, h, g, own[:, None]), v)
            kv = kv._replace(own_k=own_k, own_v=own_v)
            # All samples of a group meet the prompt's keys in one product.
            shared = _product("PKQH,PKSH->PKQS", q.reshape(P, K, G * R, H), kv.prompt_k[layer])
            shared = shared.reshape(P, K, G, R, S) * config.query_scale
            mine = _product("PKGRH,PKGHC->PKGRC", q, own_k[layer]) * config.query_scale
            in_prompt, in_own = seen(window)
            cap = config.attention_softcap
            shared = jnp.where(in_prompt[:, None, :, None], softcap(shared, cap), NEG)
            mine = jnp.where(in_own[:, None, :, None], softcap(mine, cap), NEG)
            top = jnp.maximum(shared.max(-1, keepdims=True), mine.max(-1, keepdims=True))
            if sinks is not None:
                sink = sinks.astype(jnp.float32).reshape(K, 1, R, 1)
                top = jnp.maximum(top, sink)
            shared, mine = jnp.exp(shared - top), jnp.exp(mine - top)
            total = shared.sum(-1, keepdims=True) + mine.sum(-1, keepdims=True)
            if sinks is not None:
                total = total + jnp.exp(sink - top)
            out = _product(
                "PKQS,PKSH->PKQH", shared.astype(dtype).reshape(P, K, G * R, S), kv.prompt_v[layer]
            ).reshape(P, K, G, R, H)
            out = out + _product("PKGRC,PKGCH->PKGRH", mine.astype(dtype), own_v[layer])
            out = (out / total).transpose(0, 2, 1, 3, 4)
            return out.astype(dtype).reshape(P * G, 1, config.N, H), kv

        x, cache = hidden_states(
            config,
            params,
            slots.token.reshape(P * G, 1),
            positions,
            attend,
            cache,
            lengths=lengths,
            dtype=dtype,
            scan=not unrolled,
        )
        # Apart from the draw: one fusion of both takes twice the time of the two on a CPU.
        logits = jax.lax.optimization_barrier(logits_of(config, params, x[:, 0]))
        return cache, take(slots, logits, ~slots.done)

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
        empty=in_turn(jax.jit(empty, out_shardings=both)),
        begin=in_turn(jax.jit(begin, out_shardings=place(None, heads))),
        prefill=in_turn(jax.jit(prefill, donate_argnums=(1, 2), out_shardings=both)),
        share=in_turn(jax.jit(share, donate_argnums=(0, 1), out_shardings=both)),
        start=in_turn(jax.jit(start, donate_argnums=(0,), out_shardings=slots_at)),
        decode=in_turn(jax.jit(decode, donate_argnums=(1, 2), out_shardings=both)),
    )
