"""Jitted pieces of an optimiser step: gradients of microbatches, then one update."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, use_abstract_mesh

from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import Remat, packed_states, token_noise, unembedding_terms
from condmis_jax.models.receivers import differentiable, served
from condmis_jax.models.weights import Params, shardings, trained_names, weight_table
from condmis_jax.sharding import batch_sharding, batch_shards, replicated
from condmis_jax.sharding.hosts import in_turn, own_shards
from condmis_jax.training.loss import completion_loss, flatten_rows
from condmis_jax.training.optimiser import state_shardings

Arrays = dict[str, jax.Array]

FIRST = "first:"
"""In front of the name of a parameter: as it was when the stage began."""


@dataclass(frozen=True)
class ComputeSettings:
    """How the forward and backward pass run.

    Attributes:
        dtype: of activations, of weights at use and of their gradients in one microbatch; sums over
            microbatches, parameters and moments stay float32.
        scan_layers: one traced layer looped over L; False unrolls (faster for tiny models on CPU).
        remat: what is computed again in the backward pass instead of being kept: "layer" all of a
            layer, the least memory; "products" all but its products with weights, the fastest on a
            CPU (SmolLM2-135M); "none" nothing.
    """

    dtype: Literal["float32", "bfloat16"] = "float32"
    scan_layers: bool = True
    remat: Remat = "layer"


def batch_loss(
    config: DecoderConfig,
    compute: ComputeSettings,
    groups: int,
    params: Params,
    batch: Arrays,
    noise: jax.Array | None = None,
    kl: float = 0.0,
) -> jax.Array:
    """Loss of one microbatch: the sum over its loss tokens, each weighted by the batch's scale.

    Args:
        groups: devices that the rows are split over.
        noise: key of the step, for the adapters' dropout; None applies none.
        kl: weight of KL(model || first model), whose parameters `params` then holds under names
            that begin with `FIRST`.
    """
    keys = None
    if noise is not None:
        keys = token_noise(noise, batch["conversations"], batch["positions"])

    def terms_of(params: Params, keys: jax.Array | None) -> Any:
        x = packed_states(
            config,
            params,
            batch["tokens"],
            batch["positions"],
            batch["segments"],
            dtype=jnp.dtype(compute.dtype),
            scan=compute.scan_layers,
            remat=compute.remat,
            noise=keys,
        )
        flat = None if keys is None else flatten_rows(keys, groups)
        return unembedding_terms(config, params, flatten_rows(x, groups), flat)

    own = {n: p for n, p in params.items() if not n.startswith(FIRST)}
    terms, reference = terms_of(own, keys), ()
    if kl:
        first = {n.removeprefix(FIRST): p for n, p in params.items() if n.startswith(FIRST)}
        reference = jax.lax.stop_gradient(terms_of({**own, **first}, None))
    learned = (config.lora is None, True)[: len(terms)]
    return completion_loss(terms, batch, learned, config.final_softcap, reference, kl)


@dataclass(frozen=True)
class TrainStep:
    """Compiled functions of one stage, shared by all of its steps.

    Attributes:
        gradients: (params, microbatch) -> (gradients, loss); gradients in the dtype in which they
            were computed.
        accumulate: (gradients, loss so far, params, microbatch) -> (gradients, loss); donates.
        update: (params, optimiser state, gradients) -> (params, state, norm); donates what is
            trained and the state.
        zeros: () -> gradients of zero.
        evaluate: (params, microbatch) -> loss.
        init_optimiser: params -> optimiser state.
        keep_first: params -> params with copies under `FIRST` of what is trained, where the loss
            compares with them.

    Gradients and optimiser state exist for trained parameters only; `params` always holds all.
    """

    gradients: Callable[..., tuple[Params, jax.Array]]
    accumulate: Callable[..., tuple[Params, jax.Array]]
    update: Callable[..., Any]
    zeros: Callable[[], Any]
    evaluate: Callable[..., Any]
    init_optimiser: Callable[[Params], Any]
    keep_first: Callable[[Params], Params]
    mesh: Mesh

    def total(
        self, params: Params, microbatches: Sequence[dict[str, Any]]
    ) -> tuple[Params, jax.Array]:
        """Gradients and loss of a step. A single microbatch needs no second buffer for the sum."""
        if len(microbatches) == 1:
            return self.gradients(params, self.place(microbatches[0]))
        gradients, loss = self.zeros()
        for arrays in microbatches:
            gradients, loss = self.accumulate(gradients, loss, params, self.place(arrays))
        return gradients, loss

    def place(self, batch: dict[str, Any]) -> Arrays:
        """Puts the arrays of a microbatch on the mesh: rows split over devices, the rest copied.

        Args:
            batch: `data.pack_arrays` of the shards that lie on this host (`own_shards`).
        """
        rows, copied = batch_sharding(self.mesh), replicated(self.mesh)
        hosts = batch_shards(self.mesh) // len(own_shards(self.mesh))

        def put(value: Any) -> jax.Array:
            if value.ndim == 0:
                return jax.make_array_from_process_local_data(copied, value, ())
            shape = (value.shape[0] * hosts, *value.shape[1:])
            return jax.make_array_from_process_local_data(rows, value, shape)

        return {name: put(value) for name, value in batch.items()}


@lru_cache(maxsize=8)
def _microbatch_programs(
    config: DecoderConfig, compute: ComputeSettings, mesh: Mesh, seed: int, kl: float
) -> dict[str, Callable[..., Any]]:
    """What does not depend on the optimiser: stages of one experiment trace and compile it once."""
    groups = batch_shards(mesh)
    trained, places = _trained(config, mesh)

    def loss_of(
        params: Params, batch: Arrays, noise: jax.Array | None = None, kl: float = 0.0
    ) -> jax.Array:
        with use_abstract_mesh(mesh.abstract_mesh):
            return batch_loss(config, compute, groups, params, batch, noise, kl)

    def gradients_of(params: Params, batch: Arrays) -> tuple[Params, jax.Array]:
        noise = None
        if config.lora is not None and config.lora.dropout:
            noise = jax.random.fold_in(jax.random.key(seed), batch["step"])

        def loss_of_trained(part: Params) -> jax.Array:
            return loss_of({**params, **part}, batch, noise, kl)

        sought = differentiable(params, trained, compute.dtype)
        value, new = jax.value_and_grad(loss_of_trained)(sought)
        return {served(n): g for n, g in new.items()}, value

    def accumulate(
        gradients: Params, loss: jax.Array, params: Params, batch: Arrays
    ) -> tuple[Params, jax.Array]:
        new, value = gradients_of(params, batch)
        return jax.tree.map(jnp.add, gradients, new), loss + value

    return {
        "gradients": in_turn(jax.jit(gradients_of, out_shardings=(places, None))),
        "accumulate": in_turn(
            jax.jit(accumulate, donate_argnums=(0, 1), out_shardings=(places, None))
        ),
        "zeros": in_turn(jax.jit(partial(_zeros, config), out_shardings=(places, None))),
        "evaluate": in_turn(jax.jit(loss_of)),
    }


def _zeros(config: DecoderConfig) -> tuple[Params, jax.Array]:
    table = [w for w in weight_table(config) if w.trained]
    return {w.name: jnp.zeros(w.shape(config), jnp.float32) for w in table}, jnp.float32(0)


def _trained(config: DecoderConfig, mesh: Mesh) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of the trained parameters, and where they lie."""
    trained = trained_names(config)
    places = shardings(config, mesh)
    return trained, {name: places[name] for name in trained}


def make_step(
    config: DecoderConfig,
    compute: ComputeSettings,
    optimiser: optax.GradientTransformation,
    mesh: Mesh,
    *,
    seed: int = 0,
    kl: float = 0.0,
) -> TrainStep:
    """Compiles nothing yet; every shape compiles on its first use.

    Args:
        kl: weight of the divergence from the first parameters, in nats a loss token; `evaluate`
            leaves it out.
        seed: of the adapters' dropout, whose noise depends on it, the step, the conversation, the
            position, the layer and the target only.
    """
    trained, places = _trained(config, mesh)
    dropout = config.lora is not None and config.lora.dropout
    programs = _microbatch_programs(config, compute, mesh, seed if dropout else 0, kl)

    def update(part: Params, state: Any, gradients: Params) -> tuple[Any, Any, jax.Array]:
        gradients = jax.tree.map(lambda g, p: g.astype(p.dtype), gradients, part)
        updates, state = optimiser.update(gradients, state, part)
        return optax.apply_updates(part, updates), state, optax.tree.norm(gradients)

    zeros = jax.eval_shape(partial(_zeros, config))[0]
    moments = state_shardings(optimiser, zeros, places, replicated(mesh))
    jitted_update = in_turn(
        jax.jit(update, donate_argnums=(0, 1), out_shardings=(places, moments, None))
    )
    jitted_init = in_turn(jax.jit(optimiser.init, out_shardings=moments))

    def update_params(params: Params, state: Any, gradients: Params) -> tuple[Any, Any, jax.Array]:
        new, state, norm = jitted_update({n: params[n] for n in trained}, state, gradients)
        return {**params, **new}, state, norm

    copy = in_turn(jax.jit(lambda part: jax.tree.map(jnp.copy, part), out_shardings=places))

    def keep_first(params: Params) -> Params:
        if not kl:
            return params
        first = copy({n: params[n] for n in trained})
        return {**params, **{f"{FIRST}{n}": p for n, p in first.items()}}

    return TrainStep(
        **programs,
        update=update_params,
        init_optimiser=lambda params: jitted_init({n: params[n] for n in trained}),
        keep_first=keep_first,
        mesh=mesh,
    )
