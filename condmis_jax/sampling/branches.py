"""Log-probabilities of many short continuations of one prompt, in one pass over it.

The continuations are a tree: a row holds the prompt and, behind it, a token for every beginning
that they share; such a token attends to the prompt and to its own ancestors alone, and stands at
the position that it would have in its continuation. 101 numbers cost as much as a hundred tokens
more of prompt.

Shape letters: S prompt positions, M tokens of the tree, W tokens whose probability is asked; the
others as in ARCHITECTURE.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, use_abstract_mesh

from condmis_jax.errors import UserError
from condmis_jax.models.attention import NEG, segment_attention, softcap
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import hidden_states, logits_of
from condmis_jax.models.weights import Params
from condmis_jax.sampling.lengths import length_class
from condmis_jax.sharding import batch_sharding, batch_shards
from condmis_jax.sharding.hosts import in_turn, to_host

CHUNK = 16  # tokens of the tree whose logits are in memory at a time


@dataclass(frozen=True)
class Branches:
    """What a model makes of the continuations of one prompt; natural logarithms.

    Attributes:
        paths: [continuations] of each one's tokens.
        goes_on: [continuations] that one of all continuations' tokens follows; -inf where the tree
            was asked for no ends.
        top: token id -> log-probability of the likeliest first tokens.
    """

    paths: np.ndarray
    goes_on: np.ndarray
    top: dict[int, float]


@dataclass(frozen=True)
class Tree:
    """Continuations as a tree; node 0 is the prompt's end, node i > 0 the token `tokens[i - 1]`.

    Attributes:
        tokens, parents: of the nodes behind the root, a parent before its children.
        steps: of each continuation, the (node, token) whose probabilities multiply to its own.
        last: the node where each continuation ends; 0 where the tree has no such node.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    steps: tuple[tuple[tuple[int, int], ...], ...]
    last: tuple[int, ...]

    @property
    def depths(self) -> list[int]:
        """Of all nodes, the root's included."""
        depths = [0]
        for parent in self.parents:
            depths.append(depths[parent] + 1)
        return depths


def tree_of(continuations: Sequence[Sequence[int]], ends: bool) -> Tree:
    """The tree of some continuations.

    Args:
        ends: keep the nodes at which continuations end, to learn whether they go on.

    Raises:
        ValueError: a continuation is empty or there twice.
    """
    if len(set(map(tuple, continuations))) < len(continuations) or not all(continuations):
        raise ValueError("continuations must differ and have tokens")
    nodes: dict[tuple[int, ...], int] = {(): 0}
    parents, steps, last = [], [], []
    for path in map(tuple, continuations):
        for depth in range(1, len(path) + ends):
            if path[:depth] not in nodes:
                nodes[path[:depth]] = len(nodes)
                parents.append(nodes[path[: depth - 1]])
        steps.append(tuple((nodes[path[:d]], path[d]) for d in range(len(path))))
        last.append(nodes[path] if ends else 0)
    tokens = tuple(path[-1] for path in nodes if path)
    return Tree(tokens, tuple(parents), tuple(steps), tuple(last))


def branch_log_probs(
    config: DecoderConfig,
    params: Params,
    mesh: Mesh,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    ends: bool = False,
    top: int = 20,
    rows: int = 8,
    dtype: Any = jnp.float32,
) -> list[Branches]:
    """Scores the same continuations behind every prompt, at temperature 1.

    Args:
        prompts: tokens, at least one each.
        continuations: tokens, different from each other.
        ends: also how likely it is that each goes on.
        top: first tokens that are returned beside them.
        rows: prompts at a time; more where the devices that split a batch ask for it.
        dtype: of activations and of weights at use.

    Raises:
        UserError: a prompt with a continuation is longer than the model's positions.
        ValueError: see `tree_of`.
    """
    tree = tree_of(continuations, ends)
    wanted = sorted({token for steps in tree.steps for _, token in steps})
    column = {token: i for i, token in enumerate(wanted)}
    longest = max(len(path) for path in continuations)
    classes: dict[int, list[int]] = defaultdict(list)
    for i, prompt in enumerate(prompts):
        if len(prompt) + longest > config.max_positions:
            raise UserError(
                f"a prompt of {len(prompt)} tokens and a continuation of {longest} exceed the "
                f"model's {config.max_positions} positions"
            )
        classes[length_class(len(prompt))].append(i)
    shards = batch_shards(mesh)
    B = -(-min(rows, len(prompts)) // shards) * shards
    at = batch_sharding(mesh)
    found: list[Any] = [None] * len(prompts)
    for S, members in sorted(classes.items()):
        for start in range(0, len(members), B):
            part = members[start : start + B]
            tokens, lengths = np.zeros((B, S), np.int32), np.ones(B, np.int32)
            for r, i in enumerate(part):
                tokens[r, : len(prompts[i])], lengths[r] = prompts[i], len(prompts[i])
            with use_abstract_mesh(mesh.abstract_mesh):
                placed = [jax.device_put(x, at) for x in (tokens, lengths)]
                asked = jnp.asarray(wanted, jnp.int32)
                scored = in_turn(_scored)(
                    config, jnp.dtype(dtype), tree, top, params, *placed, asked
                )
                picked, values, ids = (to_host(x) for x in scored)
            for r, i in enumerate(part):
                paths = [sum(picked[r, n, column[t]] for n, t in steps) for steps in tree.steps]
                on = np.logaddexp.reduce(picked[r], axis=-1)[list(tree.last)]
                found[i] = Branches(
                    np.asarray(paths),
                    on if ends else np.full(len(paths), -np.inf),
                    {int(t): float(v) for t, v in zip(ids[r], values[r], strict=True)},
                )
    return found


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _scored(
    config: DecoderConfig,
    dtype: Any,
    tree: Tree,
    top: int,
    params: Params,
    tokens: jax.Array,
    lengths: jax.Array,
    wanted: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-probabilities of `wanted` at every node [B, 1 + M, W], of the likeliest tokens at the
    root [B, top], and which these are.
    """
    B, S = tokens.shape
    M = len(tree.tokens)
    depths = np.asarray(tree.depths[1:], np.int32)
    kin = np.eye(M, dtype=bool)
    for node, parent in enumerate(tree.parents):
        if parent:
            kin[node] |= kin[parent - 1]
    nodes = jnp.broadcast_to(jnp.asarray(tree.tokens, jnp.int32), (B, M))
    behind = lengths[:, None] + depths[None] - 1
    positions = jnp.concatenate(
        [jnp.broadcast_to(jnp.arange(S, dtype=jnp.int32), (B, S)), behind], axis=1
    )
    segments = (jnp.arange(S) < lengths[:, None]).astype(jnp.int32)
    sees = jnp.concatenate(
        [
            jnp.broadcast_to(segments[:, None] > 0, (B, M, S)),
            jnp.broadcast_to(jnp.asarray(kin), (B, M, M)),
        ],
        axis=-1,
    )

    def attend(
        q: Any, k: Any, v: Any, layer: Any, kv: Any, *, window: Any = 0, sinks: Any = None
    ) -> tuple[jax.Array, Any]:
        cap, scale = config.attention_softcap, config.query_scale
        out = segment_attention(
            q[:, :S],
            k[:, :S],
            v[:, :S],
            segments,
            scale,
            softcap=cap,
            window=window,
            sinks=sinks,
        )
        if not M:
            return out, kv
        K, R, H = config.K, config.N // config.K, config.H
        mine = q[:, S:].reshape(B, M, K, R, H)
        scores = jnp.einsum("BMKRH,BTKH->BKRMT", mine, k, preferred_element_type=jnp.float32)
        reach = behind[:, :, None] - positions[:, None, :]
        near = sees & ((jnp.asarray(window) == 0) | (reach < window))
        scores = jnp.where(near[:, None, None], softcap(scores * scale, cap), NEG)
        highest = scores.max(-1, keepdims=True)
        if sinks is not None:
            sink = sinks.astype(jnp.float32).reshape(1, K, R, 1, 1)
            highest = jnp.maximum(highest, sink)
        weights = jnp.exp(scores - highest)
        total = weights.sum(-1, keepdims=True)
        if sinks is not None:
            total = total + jnp.exp(sink - highest)
        far = jnp.einsum(
            "BKRMT,BTKH->BMKRH",
            (weights / total).astype(v.dtype),
            v,
            preferred_element_type=jnp.float32,
        )
        return jnp.concatenate([out, far.reshape(B, M, K * R, H).astype(out.dtype)], axis=1), kv

    whole = None
    if config.needs_lengths:
        longest = max([0, *tree.depths])
        whole = jnp.broadcast_to(lengths[:, None] + longest, (B, S + M))
    x, _ = hidden_states(
        config,
        params,
        jnp.concatenate([tokens, nodes], axis=1),
        positions,
        attend,
        lengths=whole,
        dtype=dtype,
    )
    last = jnp.take_along_axis(x, (lengths - 1)[:, None, None], axis=1)
    states = jnp.concatenate([last, x[:, S:]], axis=1)

    def chunk(of: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(logits_of(config, params, of), axis=-1)
        return log_p[..., wanted]

    padded = -(1 + M) % CHUNK
    parts = jnp.pad(states, ((0, 0), (0, padded), (0, 0)))
    parts = parts.reshape(B, -1, CHUNK, parts.shape[-1]).swapaxes(0, 1)
    picked = jax.lax.map(chunk, parts).swapaxes(0, 1).reshape(B, 1 + M + padded, -1)
    first = jax.nn.log_softmax(logits_of(config, params, last[:, 0]), axis=-1)
    return picked[:, : 1 + M], *jax.lax.top_k(first, top)
