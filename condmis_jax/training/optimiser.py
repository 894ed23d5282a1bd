"""The optimiser of a stage: AdamW with clipping, warm-up and a schedule that reaches its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import optax

from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import Params, weight_table


@dataclass(frozen=True)
class OptimiserSettings:
    """AdamW.

    Attributes:
        schedule: after warm-up; "linear" and "cosine" reach 0 behind the last step.
        warmup_steps: linear from 0.
        weight_decay: of matrices, adapters included; norms and biases are not decayed.
        clip_norm: global norm of the gradient; None does not clip.
    """

    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = 1.0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError("warmup_steps must not be negative")
        if not (0 <= self.b1 < 1 and 0 <= self.b2 < 1):
            raise ValueError("b1 and b2 must be in [0, 1)")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ValueError("clip_norm must be positive, or None")


def learning_rate_schedule(settings: OptimiserSettings, peak: float, steps: int) -> optax.Schedule:
    """Learning rate of step 0..steps-1; warm-up starts above 0 and the decay ends at 0 behind the
    last step, so that no step is spent at a rate of zero."""
    warmup = min(settings.warmup_steps, steps)
    rest = max(steps - warmup, 1)
    after = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
    }[settings.schedule]
    if not warmup:
        return after
    rising = optax.linear_schedule(peak / warmup, peak, max(warmup - 1, 1))
    return optax.join_schedules([rising, after], [warmup])


def make_optimiser(
    settings: OptimiserSettings, learning_rate: float, steps: int, config: DecoderConfig
) -> optax.GradientTransformation:
    """The optax chain for `steps` optimiser steps with this peak learning rate."""
    decayed = {w.name: w.decayed for w in weight_table(config) if w.trained}

    def mask(_: Params) -> dict[str, bool]:
        return decayed

    parts = [optax.clip_by_global_norm(settings.clip_norm)] if settings.clip_norm else []
    parts.append(
        optax.adamw(
            learning_rate_schedule(settings, learning_rate, steps),
            b1=settings.b1,
            b2=settings.b2,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            mask=mask,
        )
    )
    return optax.chain(*parts)


def state_shardings(
    optimiser: optax.GradientTransformation,
    params: Any,
    places: dict[str, jax.sharding.NamedSharding],
    elsewhere: jax.sharding.NamedSharding,
) -> Any:
    """Shardings of the optimiser state: moments lie where their parameter lies, counters elsewhere.

    `params` may be shapes only.
    """
    return optax.tree_utils.tree_map_params(
        optimiser,
        lambda _, place: place,
        jax.eval_shape(optimiser.init, params),
        places,
        transform_non_params=lambda _: elsewhere,
    )
