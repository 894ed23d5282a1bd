"""Schedules samples onto the slots of the decode loop; finished slots are refilled at once."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import Params
from condmis_jax.sampling.decode import Head, Programs, Shape, decode_params, make_programs
from condmis_jax.sampling.heads import head_of
from condmis_jax.sampling.lengths import length_class
from condmis_jax.sampling.noise import SamplingSettings
from condmis_jax.sharding.hosts import to_host


@dataclass(frozen=True)
class Request:
    """One sample to draw.

    Attributes:
        key: given back with the completion.
        prompt: tokens with the assistant turn opened.
        seed: of this sample's noise, 32 bits.
        shared: leading tokens of the prompt that others are expected to begin with too; they are
            read once (`ChatTemplate.shared_prompt`).
    """

    key: Hashable
    prompt: tuple[int, ...]
    seed: int
    shared: int = 0


@dataclass(frozen=True)
class Completion:
    """tokens: without the stop token; finish: "stop", or "length" when it was cut off."""

    key: Hashable
    tokens: list[int]
    finish: Literal["stop", "length"]


class Sampler:
    """Draws completions of one model.

    Args:
        slots: samples decoded at a time; a multiple of `group`.
        group: slots that share a prompt's keys and values. Few prompts with many samples want a
            large group, many prompts with few samples a small one.

    The compiled shape follows from the settings and the length class of a prompt, never from how
    many requests are left, so that a resumed evaluation draws what an unbroken one would have.
    """

    def __init__(
        self,
        config: DecoderConfig,
        params: Params,
        stop: Sequence[int],
        mesh: Mesh,
        *,
        slots: int = 64,
        group: int = 8,
        dtype: Any = jnp.float32,
    ):
        if slots % group:
            raise ValueError(f"slots {slots} is not a multiple of group {group}")
        self._config, self._params, self._mesh = config, params, mesh
        self._decode_params = decode_params(config, params, mesh)
        self._stop, self._dtype = tuple(stop), dtype
        self._P, self._G = slots // group, group

    def sample(
        self,
        requests: Sequence[Request],
        settings: SamplingSettings,
        on_done: Callable[[list[Completion]], None],
    ) -> None:
        """Draws every request and reports completions as soon as they are finished.

        Raises:
            UserError: a prompt with its completion is longer than the model's positions.
        """
        classes: dict[int, list[Request]] = defaultdict(list)
        for request in requests:
            n = len(request.prompt)
            if n + settings.max_new_tokens > self._config.max_positions:
                raise UserError(
                    f"a prompt of {n} tokens with {settings.max_new_tokens} new ones exceeds the "
                    f"model's {self._config.max_positions} positions; lower max_new_tokens"
                )
            if self._config.needs_lengths:
                # The angles of a token depend on the whole conversation: nothing is in common.
                request = replace(request, shared=0)
            classes[length_class(n)].append(request)
        for size in sorted(classes):
            shape = Shape(self._P, self._G, size, settings.max_new_tokens)
            programs = make_programs(
                self._config, settings, shape, self._stop, self._mesh, self._dtype
            )
            batch = _Batch(programs, shape, self._params, self._decode_params, classes[size])
            batch.run(on_done)


def _padded(rows: Sequence[tuple[int, ...]], B: int, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [B, T] of some rows and their numbers [B], 1 where there is no row."""
    tokens, count = np.zeros((B, T), np.int32), np.ones(B, np.int32)
    for r, row in enumerate(rows):
        tokens[r, : len(row)], count[r] = row, len(row)
    return tokens, count


class _Batch:
    """The requests of one length class on their way through the slots."""

    def __init__(
        self,
        programs: Programs,
        shape: Shape,
        params: Params,
        decode_params: Any,
        requests: Sequence[Request],
    ):
        self._programs, self._shape = programs, shape
        self._params, self._decode_params = params, decode_params
        self._head: tuple[tuple[int, ...], Head | None] = ((), None)
        self._heads = {r.prompt: head_of(r.prompt, r.shared) for r in requests}
        # One head after the other, so that one at a time is kept.
        in_turn = sorted(self._heads, key=self._heads.__getitem__)
        self._unserved = deque(in_turn)
        self._waiting: dict[tuple[int, ...], deque[Request]] = {p: deque() for p in in_turn}
        for request in requests:
            self._waiting[request.prompt].append(request)
        self._bound: list[tuple[int, ...] | None] = [None] * shape.P
        self._unread: dict[int, tuple[int, ...]] = {}  # by group, prompts not in the cache yet
        self._in_slot: list[list[Request | None]] = [[None] * shape.G for _ in range(shape.P)]
        self._cache, self._slots = programs.empty()

    def run(self, on_done: Callable[[list[Completion]], None]) -> None:
        total = self._shape.P * self._shape.G
        while True:
            self._refill()
            busy = sum(r is not None for group in self._in_slot for r in group)
            if not busy:
                return
            idle = total - busy
            waiting = any(self._waiting.values())
            # Come back when an eighth of the busy slots can be refilled; at the end, when all are
            # done.
            want = idle + (max(busy // 8, 1) if waiting else busy)
            self._cache, self._slots = self._programs.decode(
                self._decode_params, self._cache, self._slots, np.int32(want)
            )
            finished = self._collect()
            if finished:
                on_done(finished)

    def _refill(self) -> None:
        P, G = self._shape.P, self._shape.G
        fresh, seeds = np.zeros((P, G), bool), np.zeros((P, G), np.uint32)
        for p in range(P):
            free = [g for g in range(G) if self._in_slot[p][g] is None]
            if not free:
                continue
            prompt = self._bound[p]
            if (prompt is None or not self._waiting[prompt]) and len(free) == G:
                prompt = self._next_prompt()
                if prompt is not None and prompt != self._bound[p]:
                    self._bind(p, prompt)
            if prompt is None:
                continue
            queue = self._waiting[prompt]
            for g in free:
                if not queue:
                    break
                request = queue.popleft()
                self._in_slot[p][g] = request
                fresh[p, g], seeds[p, g] = True, request.seed
        if fresh.any():
            self._read()
            self._slots = self._programs.start(self._slots, fresh, seeds)

    def _next_prompt(self) -> tuple[int, ...] | None:
        """A prompt that no group serves yet, else the one with the longest queue.

        A group keeps its prompt while it has a queue, so those with one are bound or unserved.
        """
        if self._unserved:
            return self._unserved.popleft()
        candidates = [p for p in self._bound if p is not None and self._waiting[p]]
        return max(candidates, key=lambda p: len(self._waiting[p]), default=None)

    def _bind(self, group: int, prompt: tuple[int, ...]) -> None:
        """Gives a group a prompt: another group's, or one that is still to be read."""
        if prompt in self._bound:
            source = self._bound.index(prompt)
            if source in self._unread:
                self._read()
            self._cache, self._slots = self._programs.share(
                self._cache, self._slots, np.int32(source), np.int32(group)
            )
        else:
            self._unread[group] = prompt
        self._bound[group] = prompt

    def _read(self) -> None:
        """Brings all prompts into the cache, some of one head and length class at a time."""
        alike: dict[tuple[tuple[int, ...], int], list[tuple[int, tuple[int, ...]]]]
        alike = defaultdict(list)
        for group, prompt in self._unread.items():
            head = self._heads[prompt]
            rest = prompt[len(head) :]
            alike[head, length_class(len(rest))].append((group, rest))
        self._unread.clear()
        for (head, T), rests in alike.items():
            if head and head != self._head[0]:
                row = _padded([head], 1, length_class(len(head)))
                self._head = head, self._programs.begin(self._params, *row)
            B = self._shape.rows(T)
            for start in range(0, len(rests), B):
                part = rests[start : start + B]
                groups = np.full(B, self._shape.P, np.int32)
                groups[: len(part)] = [group for group, _ in part]
                self._cache, self._slots = self._programs.prefill(
                    self._params,
                    self._cache,
                    self._slots,
                    groups,
                    self._head[1] if head else None,
                    np.int32(len(head)),
                    *_padded([rest for _, rest in part], B, T),
                )

    def _collect(self) -> list[Completion]:
        done = to_host(self._slots.done)
        rows = [
            (p, g)
            for p, group in enumerate(self._in_slot)
            for g, request in enumerate(group)
            if request is not None and done[p, g]
        ]
        if not rows:
            return []
        count, out = to_host(self._slots.count), to_host(self._slots.out)
        stopped = to_host(self._slots.stopped)
        finished = []
        for p, g in rows:
            request = self._in_slot[p][g]
            assert request is not None
            finish = "stop" if stopped[p, g] else "length"
            finished.append(Completion(request.key, out[p, g, : count[p, g]].tolist(), finish))
            self._in_slot[p][g] = None
        return finished
