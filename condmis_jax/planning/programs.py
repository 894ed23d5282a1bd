"""The real programs of training and sampling, compiled for devices that may be absent."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import shardings, trained_names, weight_table
from condmis_jax.planning.collectives import Collective, collectives
from condmis_jax.sampling import SamplingSettings
from condmis_jax.sampling.decode import Shape, make_programs
from condmis_jax.sharding import batch_sharding, batch_shards, replicated
from condmis_jax.training import ComputeSettings, make_step
from condmis_jax.training.loss import chunks_of
from condmis_jax.training.optimiser import state_shardings


@dataclass(frozen=True)
class Program:
    """What the compiler says of one program, in bytes on one device.

    Attributes:
        temporaries: beyond arguments and results; None when it did not fit and the compiler gave up
            before saying.
        arguments, outputs: what it takes and gives; `aliased` is in both, on the same memory.
        needed: all memory it would have needed, when it did not fit.
        flops: XLA's own count on one device, every loop's body once.
        collectives: by kind.
        seconds: of compilation.
    """

    name: str
    temporaries: int | None
    arguments: int
    outputs: int
    aliased: int
    needed: int | None
    flops: float | None
    collectives: dict[str, Collective]
    seconds: float


def compile_program(name: str, lowered: Any, dynamic_trips: int = 1) -> Program:
    """Compiles, and reads memory, FLOPs and collectives from the result."""
    begin = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        needed = _needed(str(error))
        if needed is None:
            raise
        seconds = time.perf_counter() - begin
        return Program(name, None, 0, 0, 0, needed, None, {}, seconds)
    seconds = time.perf_counter() - begin
    memory = compiled.memory_analysis()
    cost = compiled.cost_analysis() or {}
    return Program(
        name,
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        memory.output_size_in_bytes,
        memory.alias_size_in_bytes,
        None,
        cost.get("flops"),
        collectives(compiled.as_text(), dynamic_trips),
        seconds,
    )


def _needed(message: str) -> int | None:
    """Bytes that libtpu says a program that does not fit would use."""
    found = re.search(r"Used ([\d.]+)([KMGT]) of", message)
    if "RESOURCE_EXHAUSTED" not in message and found is None:
        return None
    return round(float(found[1]) * 1024 ** (1 + "KMGT".index(found[2]))) if found else 0


def shapes(tree: Any, places: Any) -> Any:
    """Abstract arrays with their sharding."""
    return jax.tree.map(
        lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree, places
    )


def bytes_per_device(tree: Any) -> int:
    """Of abstract arrays with shardings."""
    return sum(
        math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree)
    )


def abstract_params(config: DecoderConfig, mesh: Mesh) -> dict[str, Any]:
    """The parameters as they are held, without any data."""
    places = shardings(config, mesh)
    return {
        w.name: jax.ShapeDtypeStruct(w.shape(config), w.dtype, sharding=places[w.name])
        for w in weight_table(config)
    }


def abstract_microbatch(mesh: Mesh, rows: int, length: int) -> dict[str, Any]:
    """What `TrainStep.place` makes of a microbatch of `data.StepBatch`."""
    at, copied = batch_sharding(mesh), replicated(mesh)
    groups = batch_shards(mesh)
    places = rows // groups * length

    def array(shape: tuple[int, ...], dtype: Any, place: NamedSharding) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=place)

    return {
        **{
            n: array((rows, length), jnp.int32, at)
            for n in ("tokens", "positions", "segments", "conversations")
        },
        **{n: array((groups, places), jnp.int32, at) for n in ("index", "target")},
        "weight": array((groups, places), jnp.float32, at),
        **{n: array((), jnp.int32, copied) for n in ("used", "step")},
    }


@dataclass(frozen=True)
class Training:
    """Programs of an optimiser step and what lies on one device between them, in bytes.

    Attributes:
        trained: how many weights of one device are trained.
        gradients: what `update` takes: in the dtype of the computation where a step has one
            microbatch, float32 sums where it has more.
        summed: gradients that lie there while `backward` runs: none for a step of one microbatch.
        backward: `TrainStep.gradients` for a step of one microbatch, else `TrainStep.accumulate`.
    """

    trained: int
    params: int
    optimiser: int
    gradients: int
    batch: int
    summed: int
    backward: Program
    update: Program


def training_programs(
    config: DecoderConfig,
    compute: ComputeSettings,
    optimiser: optax.GradientTransformation,
    mesh: Mesh,
    shape: tuple[int, int],
    *,
    microbatches: int,
) -> Training:
    """Compiles the programs of a step of `microbatches` microbatches of one shape (R, T)."""
    step: Any = make_step(config, compute, optimiser, mesh)
    params = abstract_params(config, mesh)
    batch = abstract_microbatch(mesh, *shape)
    trained = {n: params[n] for n in trained_names(config)}
    places = {name: p.sharding for name, p in trained.items()}
    moments = state_shardings(optimiser, trained, places, replicated(mesh))
    state = shapes(jax.eval_shape(optimiser.init, trained), moments)
    if microbatches == 1:
        made = jax.eval_shape(step.gradients, params, batch)[0]
    else:
        made = jax.eval_shape(step.zeros)[0]
    gradients = shapes(made, places)
    chunks = chunks_of(shape[0] // batch_shards(mesh) * shape[1])
    if microbatches == 1:
        lowered = step.gradients.lower(params, batch)
    else:
        loss = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(mesh))
        lowered = step.accumulate.lower(gradients, loss, params, batch)
    update = jax.jit(step.update, donate_argnums=(0, 1)).lower(params, state, gradients)
    size = bytes_per_device(gradients)
    return Training(
        bytes_per_device(trained) // 4,
        bytes_per_device(params),
        bytes_per_device(state),
        size,
        bytes_per_device(batch),
        0 if microbatches == 1 else size,
        compile_program("gradients" if microbatches == 1 else "accumulate", lowered, chunks),
        compile_program("update", update),
    )


@dataclass(frozen=True)
class Sampling:
    """Programs of the sampler and the bytes on one device of its cache and slots."""

    shape: Shape
    cache: int
    slots: int
    prefill: Program
    decode: Program


def sampling_programs(
    config: DecoderConfig, settings: SamplingSettings, shape: Shape, mesh: Mesh, dtype: str
) -> Sampling:
    """Compiles `prefill` and `decode` of one shape."""
    programs = make_programs(config, settings, shape, (0,), mesh, jnp.dtype(dtype))
    params = abstract_params(config, mesh)
    cache, slots = jax.eval_shape(programs.empty)
    zero, one = np.int32(0), np.int32(1)
    groups = count = np.ones(shape.rows(shape.S), np.int32)
    prompts = np.zeros((len(groups), shape.S), np.int32)
    prefill: Any = programs.prefill
    decode: Any = programs.decode
    return Sampling(
        shape,
        bytes_per_device(cache),
        bytes_per_device(slots),
        compile_program(
            "prefill", prefill.lower(params, cache, slots, groups, None, zero, prompts, count)
        ),
        compile_program("decode", decode.lower(params, cache, slots, one)),
    )
