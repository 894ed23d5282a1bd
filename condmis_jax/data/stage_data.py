"""Everything a stage trains on: rows, tokens, the plan of every step, the realised dose."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from condmis_jax.data.mixture import build_mixture, epoch_order
from condmis_jax.data.packing import Step, best_row_tokens, plan_step, plan_steps
from condmis_jax.data.sources import Row, Source
from condmis_jax.data.template import ChatTemplate, LossOn, Tokenised
from condmis_jax.errors import UserError

CHECKED_ROWS = 8


@dataclass(frozen=True)
class DataSettings:
    """A stage's data.

    Attributes:
        mixture: sources by name.
        rows: conversations of an epoch; None takes all, or as many as the shares allow.
        held_out: conversations set aside for the held-out loss, drawn before training.
        max_tokens: a longer conversation is cut at its end.
        row_tokens: usual length T of a packed row; None takes the cheapest for the lengths found.
        microbatch_tokens: most tokens in one forward pass; the rest of a step is accumulated.
        loss_on: every assistant turn, or the last one only.
    """

    mixture: dict[str, Source]
    rows: int | None = None
    held_out: int = 0
    max_tokens: int = 2048
    row_tokens: int | None = None
    microbatch_tokens: int = 4096
    loss_on: LossOn = "all"

    def __post_init__(self) -> None:
        if self.rows is not None and self.rows < 1:
            raise ValueError("rows must be at least 1")
        if min(self.max_tokens, self.row_tokens or 8, self.microbatch_tokens) < 8:
            raise ValueError("max_tokens, row_tokens and microbatch_tokens must be at least 8")
        if self.held_out < 0:
            raise ValueError("held_out must not be negative")


@dataclass(frozen=True)
class Length:
    """How long a stage trains: one of epochs, steps or tokens (of packed conversations)."""

    epochs: float | None = None
    steps: int | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        stated = [v for v in (self.epochs, self.steps, self.tokens) if v is not None]
        if len(stated) != 1:
            raise ValueError("state exactly one of epochs, steps and tokens")
        if stated[0] <= 0:
            raise ValueError("must be positive")


@dataclass(frozen=True)
class StageData:
    """What a stage trains on, planned to the last step.

    Attributes:
        data: every tokenised conversation.
        plan: the microbatches of every optimiser step.
        held_out: the microbatches of the held-out loss.
        dose: by source: conversations, loss tokens and truncated conversations over all steps.
        fingerprint: facts that a resume must find again.
    """

    data: list[Tokenised]
    plan: list[Step]
    held_out: list[Step]
    dose: dict[str, dict[str, int]]
    fingerprint: dict[str, Any]


def prepare(
    settings: DataSettings,
    length: Length,
    batch_size: int,
    drop_last: bool,
    template: ChatTemplate,
    *,
    seed: int,
    shards: int,
    key: str,
    rollouts: Sequence[Row] | None = None,
) -> StageData:
    """Loads, mixes, tokenises and plans.

    Args:
        seed: of sampling and order.
        shards: data-parallel devices.
        key: config key of the stage, for errors.
        rollouts: rows that the stage sampled; see `load_source`.

    Raises:
        UserError: see `build_mixture` and `ChatTemplate.tokenise`; or a row is longer than the
            model's positions; or nothing is left to train on.
    """
    mixture = build_mixture(
        settings.mixture, settings.rows, settings.held_out, seed, f"{key}.data.mixture", rollouts
    )
    data, cut = [], np.zeros(len(mixture.rows), bool)
    for i, row in enumerate(mixture.rows):
        if i < CHECKED_ROWS:
            template.check_generation_mask(row.conversation, row.where)
        whole = template.tokenise(row.conversation, row.where, settings.loss_on)
        cut[i] = len(whole.tokens) > settings.max_tokens
        kept = min(len(whole.tokens), settings.max_tokens)
        if template.positions is not None and kept > template.positions:
            raise UserError(
                f"{key}.data.max_tokens: {settings.max_tokens} lets {row.where} have {kept} "
                f"tokens, and the model has {template.positions} positions; set it to that at most"
            )
        # The held-out loss stays a plain mean over tokens.
        weight = 1.0 if mixture.held_out[i] else row.weight
        data.append(
            Tokenised(
                whole.tokens[: settings.max_tokens], whole.loss[: settings.max_tokens], weight
            )
        )
    lengths = [len(d.tokens) for d in data]
    held, train = np.flatnonzero(mixture.held_out), np.flatnonzero(~mixture.held_out)
    members = _members(train, lengths, length, batch_size, drop_last, seed)
    if not members:
        raise UserError(f"{key}: {len(train)} rows give no step of batch_size {batch_size}")

    most = settings.microbatch_tokens
    row_tokens = settings.row_tokens or best_row_tokens(
        lengths, [m.tolist() for m in members], microbatch_tokens=most, shards=shards
    )

    def pack(ids: np.ndarray) -> Step:
        return plan_step(
            lengths, ids.tolist(), row_tokens=row_tokens, microbatch_tokens=most, shards=shards
        )

    dose = {}
    seen = np.concatenate(members)
    for i, name in enumerate(mixture.names):
        mine = [m for m in seen if mixture.source_of[m] == i]
        dose[name] = {
            "conversations": len(mine),
            "loss_tokens": sum(int(data[m].loss[1:].sum()) for m in mine),
            "truncated": int(cut[mine].sum()) if mine else 0,
            "without_loss": sum(not data[m].loss[1:].any() for m in mine),
        }
    return StageData(
        data=data,
        plan=[pack(m) for m in members],
        held_out=[pack(m) for m in plan_steps(held, batch_size, drop_last=False)],
        dose=dose,
        fingerprint={
            "steps": len(members),
            "tokens": int(sum(lengths[m] for m in seen)),
            "sha256": _digest(data, members),
        },
    )


def _members(
    train: np.ndarray,
    lengths: list[int],
    length: Length,
    batch_size: int,
    drop_last: bool,
    seed: int,
) -> list[np.ndarray]:
    """The conversations of each step for the asked length.

    An epoch is ceil(n / batch_size) steps, as in the trainers of the paper's recipes: a batch never
    reaches into the next epoch.
    """
    members: list[np.ndarray] = []
    left = length.tokens
    epoch = 0
    while True:
        order = train[epoch_order(len(train), seed + epoch)]
        if length.epochs is not None:
            order = order[: max(round((length.epochs - epoch) * len(train)), 0)]
        steps = plan_steps(order, batch_size, drop_last)
        if not steps:
            return members
        for step in steps:
            if length.steps is not None and len(members) == length.steps:
                return members
            if left is not None and left <= 0:
                return members
            members.append(step)
            if left is not None:
                left -= sum(lengths[m] for m in step)
        epoch += 1


def _digest(data: Sequence[Tokenised], members: Sequence[np.ndarray]) -> str:
    """sha256 of what every step trains on: a changed row or another order is other data."""
    h = hashlib.sha256()
    for item in data:
        h.update(item.tokens.tobytes())
        h.update(item.loss.tobytes())
        if item.weight != 1:
            h.update(np.float64(item.weight).tobytes())
    for ids in members:
        h.update(np.asarray(ids, np.int64).tobytes())
    return h.hexdigest()


def describe(dose: Mapping[str, Mapping[str, int]]) -> str:
    """One line on the realised dose, for the log."""
    total = sum(d["conversations"] for d in dose.values())
    parts = [
        f"{name} {d['conversations']} ({100 * d['conversations'] / total:.1f} %), "
        f"{d['loss_tokens']:,} loss tokens"
        for name, d in dose.items()
    ]
    return "; ".join(parts)
