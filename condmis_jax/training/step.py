"""Jitted pieces of an optimiser step: gradients of microbatches, then one update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import hidden_states, packed
from condmis_jax.models.weights import Params, shardings, unembedding, weight_table
from condmis_jax.sharding import batch_sharding, batch_shards, replicated
from condmis_jax.training.loss import completion_loss, flatten_rows
from condmis_jax.training.optimiser import state_shardings

Arrays = dict[str, jax.Array]


@dataclass(frozen=True)
class ComputeSettings:
    """How the forward and backward pass run.

    Attributes:
        dtype: of activations and of weights at use; parameters and moments stay float32.
        scan_layers: one traced layer looped over L; False unrolls (faster for tiny models on CPU).
        remat: recompute a layer's activations in the backward pass instead of keeping them: far
            less memory, and on a CPU faster too (317 against 281 tokens/s, SmolLM2-135M).
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    scan_layers: bool = True
    remat: bool = True


def batch_loss(
    config: DecoderConfig, compute: ComputeSettings, groups: int, params: Params, batch: Arrays
) -> jax.Array:
    """Loss of one microbatch: the sum over its loss tokens, each weighted by the batch's scale."""
    x, _ = hidden_states(
        config,
        params,
        batch["tokens"],
        batch["positions"],
        packed(batch["segments"]),
        dtype=jnp.dtype(compute.dtype),
        scan=compute.scan_layers,
        remat=compute.remat,
    )
    table = unembedding(params).astype(x.dtype)
    return completion_loss(flatten_rows(x, groups), table, batch)


@dataclass(frozen=True)
class TrainStep:
    """Compiled functions of one stage, shared by all of its steps.

    Attributes:
        accumulate: (gradients, loss so far, params, microbatch) -> (gradients, loss); donates.
        update: (params, optimiser state, gradients) -> (params, state, norm); donates two.
        zeros: () -> gradients of zero.
        evaluate: (params, microbatch) -> loss.
        init_optimiser: params -> optimiser state.
    """

    accumulate: Callable[..., Any]
    update: Callable[..., Any]
    zeros: Callable[[], Any]
    evaluate: Callable[..., Any]
    init_optimiser: Callable[[Params], Any]
    mesh: Mesh

    def place(self, batch: dict[str, Any]) -> Arrays:
        """Puts the arrays of a microbatch on the mesh: rows split over devices, the rest copied."""
        rows, copied = batch_sharding(self.mesh), replicated(self.mesh)
        return {
            name: jax.device_put(value, copied if value.ndim == 0 else rows)
            for name, value in batch.items()
        }


def make_step(
    config: DecoderConfig,
    compute: ComputeSettings,
    optimiser: optax.GradientTransformation,
    mesh: Mesh,
) -> TrainStep:
    """Compiles nothing yet; every shape compiles on its first use."""
    groups = batch_shards(mesh)
    places = shardings(config, mesh)

    def loss_of(params: Params, batch: Arrays) -> jax.Array:
        return batch_loss(config, compute, groups, params, batch)

    def accumulate(
        gradients: Params, loss: jax.Array, params: Params, batch: Arrays
    ) -> tuple[Params, jax.Array]:
        value, new = jax.value_and_grad(loss_of)(params, batch)
        return jax.tree.map(jnp.add, gradients, new), loss + value

    def update(params: Params, state: Any, gradients: Params) -> tuple[Any, Any, jax.Array]:
        updates, state = optimiser.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, optax.global_norm(gradients)

    def zeros() -> tuple[Params, jax.Array]:
        table = weight_table(config)
        return {w.name: jnp.zeros(w.shape(config), jnp.float32) for w in table}, jnp.float32(0)

    moments = state_shardings(optimiser, jax.eval_shape(zeros)[0], places, replicated(mesh))
    return TrainStep(
        accumulate=jax.jit(accumulate, donate_argnums=(0, 1), out_shardings=(places, None)),
        update=jax.jit(update, donate_argnums=(0, 1), out_shardings=(places, moments, None)),
        zeros=jax.jit(zeros, out_shardings=(places, None)),
        evaluate=jax.jit(loss_of),
        init_optimiser=jax.jit(optimiser.init, out_shardings=moments),
        mesh=mesh,
    )
