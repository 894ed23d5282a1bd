"""Packed microbatches as arrays, and the grain pipeline that yields them step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grain
import numpy as np

from condmis_jax.data.packing import Microbatch, Step
from condmis_jax.data.template import Tokenised

Arrays = dict[str, np.ndarray]


def pack_arrays(
    batch: Microbatch,
    data: Sequence[Tokenised],
    scale: float,
    shards: int,
    own: Sequence[int] | None = None,
) -> Arrays:
    """The arrays of a microbatch. R rows of T tokens lie on G = `shards` devices, M = R/G*T each.

    Args:
        scale: weight of a loss token, 1 / (loss tokens of the whole step): the losses and gradients
            of a step's microbatches add up to the mean over its tokens, however unequal they are.
        own: the shards whose rows are made, all by default; R and G are then those of this host.

    Returns:
        tokens, positions, segments: [R, T] int32; positions restart in each conversation, segment 0
            is padding.
        conversations: [R, T] int32, index in `data` of each token's conversation, -1 for padding.
        index: [G, M] int32, places in a device's flattened rows whose *next* token carries loss,
            those first.
        target: [G, M] int32, that next token. weight: [G, M] float32, `scale` times the weight of
            the conversation, or 0.
        used: [] int32, the largest number of loss places on a device, of any host.
    """
    each, T = len(batch.rows) // shards, batch.length
    parts = [batch.rows[each * g : each * (g + 1)] for g in range(shards)]
    used = max(sum(int(data[m].loss[1:].sum()) for row in part for m in row) for part in parts)
    rows = [row for g in (range(shards) if own is None else own) for row in parts[g]]
    R = len(rows)
    tokens = np.zeros((R, T), np.int32)
    positions = np.zeros((R, T), np.int32)
    segments = np.zeros((R, T), np.int32)
    conversations = np.full((R, T), -1, np.int32)
    target = np.zeros((R, T), np.int32)
    loss = np.zeros((R, T), bool)
    weight = np.zeros((R, T), np.float32)
    for r, row in enumerate(rows):
        start = 0
        for s, m in enumerate(row, 1):
            item = data[m]
            n = len(item.tokens)
            span = slice(start, start + n)
            tokens[r, span] = item.tokens
            positions[r, span] = np.arange(n)
            segments[r, span] = s
            conversations[r, span] = m
            # A place predicts the token behind it; the first token of a conversation has no place.
            target[r, start : start + n - 1] = item.tokens[1:]
            loss[r, start : start + n - 1] = item.loss[1:]
            weight[r, start : start + n - 1] = item.loss[1:] * item.weight
            start += n
    flat_loss = loss.reshape(-1, each * T)
    index = np.argsort(~flat_loss, axis=1, kind="stable").astype(np.int32)
    return {
        "tokens": tokens,
        "positions": positions,
        "segments": segments,
        "conversations": conversations,
        "index": index,
        "target": np.take_along_axis(target.reshape(-1, each * T), index, axis=1),
        "weight": np.take_along_axis(weight.reshape(-1, each * T), index, axis=1)
        * np.float32(scale),
        "used": np.asarray(used, np.int32),
    }


@dataclass(frozen=True)
class StepBatch:
    """One optimiser step: its microbatches and what they hold.

    Beside the arrays of `pack_arrays` a microbatch holds the int32 scalar `step`: noise of a token
    that depends on it, the conversation and the position is the same after a resume, in another
    packing and on other devices.
    """

    step: int
    microbatches: tuple[Arrays, ...]
    tokens: int
    loss_tokens: int


class _StepSource:
    """grain's random access to steps: packing happens in grain's threads, ahead of the loop."""

    def __init__(
        self,
        plan: Sequence[Step],
        data: Sequence[Tokenised],
        shards: int,
        own: Sequence[int] | None,
    ):
        self._plan, self._data, self._shards, self._own = plan, data, shards, own

    def __len__(self) -> int:
        return len(self._plan)

    def __getitem__(self, index: int) -> StepBatch:
        batches = self._plan[index]
        members = [m for b in batches for row in b.rows for m in row]
        # The first token of a conversation is predicted from nothing, so it never carries loss.
        loss_tokens = sum(int(self._data[m].loss[1:].sum()) for m in members)
        scale = 1.0 / max(loss_tokens, 1)
        arrays = tuple(
            pack_arrays(b, self._data, scale, self._shards, self._own)
            | {"step": np.asarray(index, np.int32)}
            for b in batches
        )
        return StepBatch(
            index, arrays, sum(len(self._data[m].tokens) for m in members), loss_tokens
        )


def step_iterator(
    plan: Sequence[Step],
    data: Sequence[Tokenised],
    shards: int,
    own: Sequence[int] | None = None,
) -> grain.DatasetIterator[StepBatch]:
    """Steps from the first one; `set_state` (one number) continues anywhere.

    Args:
        shards, own: see `pack_arrays`; the state is the same on every host.
    """
    dataset = grain.MapDataset.source(_StepSource(plan, data, shards, own))
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
    return iter(dataset.to_iter_dataset(options))  # type: ignore[return-value]
