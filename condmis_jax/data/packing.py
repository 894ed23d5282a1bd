"""A packing plan for every step, computed before the first one.

A step is `batch_size` conversations. They are packed into few rows by first-fit decreasing; rows
of one length form microbatches whose number of rows is a power of two, so that the whole stage
needs a handful of compiled shapes and almost no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Microbatch:
    """Rows of one compiled shape.

    Attributes:
        rows: conversations (indices into the tokenised rows) in each row; an empty row is padding.
        length: T, tokens in a row.
    """

    rows: tuple[tuple[int, ...], ...]
    length: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), self.length


Step = tuple[Microbatch, ...]

# fmt: off
ROW_TOKENS = (
    64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024
)
# fmt: on
MICROBATCH = 64  # places that a microbatch more may cost: decides between nearly equal rows
SAMPLED_STEPS = 16


def pack_rows(
    lengths: Sequence[int], members: Sequence[int], row_tokens: int
) -> dict[int, list[tuple[int, ...]]]:
    """First-fit decreasing: row length T -> rows of conversation indices.

    T is `row_tokens`, or for a longer conversation the next power-of-two multiple of it.

    Args:
        lengths: tokens of every conversation.
        members: the conversations to pack.
        row_tokens: the usual row length.
    """
    by_length = sorted(members, key=lambda m: (-lengths[m], m))
    rows: list[list[int]] = []
    room: list[int] = []
    size: list[int] = []
    for m in by_length:
        n = lengths[m]
        for r, left in enumerate(room):
            if n <= left:
                rows[r].append(m)
                room[r] -= n
                break
        else:
            T = row_tokens
            while n > T:
                T *= 2
            rows.append([m])
            room.append(T - n)
            size.append(T)
    packed: dict[int, list[tuple[int, ...]]] = {}
    for row, T in zip(rows, size, strict=True):
        packed.setdefault(T, []).append(tuple(row))
    return packed


def plan_step(
    lengths: Sequence[int],
    members: Sequence[int],
    *,
    row_tokens: int,
    microbatch_tokens: int,
    shards: int,
) -> Step:
    """Packs one step's conversations into microbatches.

    Args:
        microbatch_tokens: most tokens in one microbatch; what is more is accumulated.
        shards: rows are split over that many devices, so their number is a multiple of it.
    """
    step = []
    for T, rows in sorted(pack_rows(lengths, members, row_tokens).items()):
        most = shards
        while 2 * most * T <= microbatch_tokens:
            most *= 2
        while rows:
            size = most
            while size > shards and size > len(rows):
                size //= 2
            take, rows = rows[:size], rows[size:]
            step.append(Microbatch((*take, *[()] * (size - len(take))), T))
    return tuple(step)


def best_row_tokens(
    lengths: Sequence[int],
    steps: Sequence[Sequence[int]],
    *,
    microbatch_tokens: int,
    shards: int,
) -> int:
    """The row length that makes these steps cheapest.

    Long rows waste fewer places, but attention's cost a token grows with the row: a row of T tokens
    counts as T * (1 + T / 1024), about the ratio measured for SmolLM2-135M on two CPU cores. Every
    microbatch counts `MICROBATCH` places on top.

    Args:
        steps: conversations of each step; the first `SAMPLED_STEPS` decide.
        microbatch_tokens, shards: see `plan_step`.
    """

    def cost(T: int) -> float:
        plans = [
            plan_step(
                lengths, step, row_tokens=T, microbatch_tokens=microbatch_tokens, shards=shards
            )
            for step in steps[:SAMPLED_STEPS]
        ]
        return sum(
            MICROBATCH + rows * t * (1 + t / 1024)
            for plan in plans
            for rows, t in (microbatch.shape for microbatch in plan)
        )

    return min(ROW_TOKENS, key=cost)


def plan_steps(order: np.ndarray, batch_size: int, drop_last: bool) -> list[np.ndarray]:
    """The conversations of each step, in training order."""
    end = len(order) - len(order) % batch_size if drop_last else len(order)
    return [order[i : min(i + batch_size, end)] for i in range(0, end, batch_size)]
