"""Whether an experiment fits a slice, and how long a step takes at best."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from jax.sharding import Mesh

from condmis_jax.config import nearest
from condmis_jax.data.packing import best_row_tokens, plan_step
from condmis_jax.errors import UserError
from condmis_jax.evaluation.completions import slot_groups
from condmis_jax.experiment import Experiment
from condmis_jax.interventions import Stage
from condmis_jax.models.config import DecoderConfig
from condmis_jax.planning import flops, topology
from condmis_jax.planning.chips import Chip
from condmis_jax.planning.programs import (
    Program,
    Sampling,
    Training,
    sampling_programs,
    training_programs,
)
from condmis_jax.planning.roofline import Roofline, training_roofline
from condmis_jax.sampling.decode import Shape
from condmis_jax.sharding import batch_shards, make_mesh
from condmis_jax.suites import DEFAULT_SAMPLES
from condmis_jax.training import make_optimiser

STEPS = 1000  # horizon of the schedule; no compiled size depends on it


@dataclass(frozen=True)
class Workload:
    """What data would have said.

    Attributes:
        conversation_tokens: of every conversation; None takes the stage's max_tokens, the most.
        prompt_tokens: length class of the prompts that are sampled from.
    """

    conversation_tokens: int | None = None
    prompt_tokens: int = 128


@dataclass(frozen=True)
class Plan:
    """An experiment on a slice; all sizes are bytes on one device.

    Attributes:
        microbatches: (R, T) of every microbatch of an optimiser step.
        padding: share of the step's places that hold no token.
        training_peak, sampling_peak: everything that lies in memory at the worst moment.
        advice: what to change when it does not fit or wastes the slice.
    """

    model: str
    topology: str
    chip: Chip
    devices: int
    mesh: dict[str, int]
    stage: str
    parameters: int
    microbatches: tuple[tuple[int, int], ...]
    padding: float
    training: Training
    sampling: Sampling
    flops: flops.Flops
    roofline: Roofline
    training_peak: int
    sampling_peak: int
    fits: bool
    advice: tuple[str, ...]
    versions: dict[str, str | None]


def make_plan(
    experiment: Experiment, config: DecoderConfig, slice_name: str, work: Workload, stage: str = ""
) -> Plan:
    """Compiles the train step and the sampler of an experiment for a slice.

    Args:
        config: of `experiment.model`; only its config.json is needed.
        slice_name: `v5e:16x16`, see `topology.parse`.
        stage: name of the stage whose step is planned; the first one unless given.

    Raises:
        UserError: an unknown stage or slice, or a mesh that does not fit it.
    """
    name = stage or experiment.order[0]
    if name not in experiment.stages:
        raise UserError(f"--stage {name!r}{nearest(name, experiment.stages)}")
    recipe = experiment.stages[name]
    chip, _ = topology.parse(slice_name)
    mesh = make_mesh(experiment.mesh, topology.devices(slice_name))
    tokens = work.conversation_tokens or recipe.data.max_tokens
    microbatches = step_shapes(recipe, tokens, batch_shards(mesh))
    largest = max(microbatches, key=lambda m: m[0] * m[1])
    config = replace(config, lora=experiment.lora.resolve())
    optimiser = make_optimiser(recipe.optimiser, recipe.learning_rate, STEPS, config)
    training = training_programs(
        config, experiment.compute, optimiser, mesh, largest, microbatches=len(microbatches)
    )
    evaluation = experiment.evaluation
    samples = max((s.samples or DEFAULT_SAMPLES for s in evaluation.suites.values()), default=1)
    groups, group = slot_groups(samples, evaluation.slots, batch_shards(mesh))
    shape = Shape(groups, group, work.prompt_tokens, evaluation.sampling.max_new_tokens)
    sampling = sampling_programs(config, evaluation.sampling, shape, mesh, evaluation.dtype)
    places = sum(r * t for r, t in microbatches)
    counted = flops.Flops(0, 0)
    for r, t in microbatches:
        counted += flops.training(config, r, t, r * t, remat=experiment.compute.remat)
    training_peak, sampling_peak = training_bytes(training), sampling_bytes(training, sampling)
    fits = max(training_peak, sampling_peak) <= chip.hbm_bytes
    padding = 1 - recipe.batch_size * tokens / places
    return Plan(
        experiment.model,
        slice_name,
        chip,
        mesh.size,
        dict(mesh.shape),
        name,
        sum(flops.count(config, w) for w in flops.weight_table(config)),
        microbatches,
        padding,
        training,
        sampling,
        counted,
        training_roofline(chip, mesh.size, counted, training, len(microbatches), config, mesh),
        training_peak,
        sampling_peak,
        fits,
        advise(training, sampling, chip, mesh, experiment, largest[0], padding),
        topology.versions(),
    )


def step_shapes(recipe: Stage, tokens: int, shards: int) -> tuple[tuple[int, int], ...]:
    """The step that the packing plan would make of conversations of one length."""
    lengths = [tokens] * recipe.batch_size
    members = list(range(recipe.batch_size))
    most = recipe.data.microbatch_tokens
    row_tokens = recipe.data.row_tokens or best_row_tokens(
        lengths, [members], microbatch_tokens=most, shards=shards
    )
    step = plan_step(lengths, members, row_tokens=row_tokens, microbatch_tokens=most, shards=shards)
    return tuple(m.shape for m in step)


def _extra(program: Program, held: int) -> int:
    """Memory of a program beyond what lies there anyway."""
    if program.temporaries is None:
        return max((program.needed or 0) - held, 0)
    return program.temporaries + max(program.outputs - program.aliased, 0)


def training_bytes(training: Training) -> int:
    """The worst moment of a step: weights and moments lie there all the time, gradients from the
    first microbatch on, with the temporaries of the program that runs."""
    kept = training.params + training.optimiser
    backward = _extra(training.backward, training.params + training.summed)
    update = _extra(training.update, kept + training.gradients)
    return kept + max(training.summed + training.batch + backward, training.gradients + update)


def sampling_bytes(training: Training, sampling: Sampling) -> int:
    """The worst moment of sampling, when nothing of the optimiser is left."""
    held = training.params + sampling.cache + sampling.slots
    return held + max(_extra(sampling.prefill, held), _extra(sampling.decode, held))


def advise(
    training: Training,
    sampling: Sampling,
    chip: Chip,
    mesh: Mesh,
    experiment: Experiment,
    rows: int,
    padding: float,
) -> tuple[str, ...]:
    """What to change: the largest parts of what does not fit first."""
    said = []
    shards, weights = batch_shards(mesh), mesh.shape["fsdp"] * mesh.shape["tensor"]
    if training_bytes(training) > chip.hbm_bytes:
        held = training.params + training.optimiser + training.gradients
        if held > 0.6 * chip.hbm_bytes:
            if weights < mesh.size:
                said.append(
                    f"--config.mesh.data=1 --config.mesh.fsdp=-1: weights, moments and gradients "
                    f"are split over {weights} of {mesh.size} devices"
                )
            else:
                said.append(
                    "LoRA with a bfloat16 base (frozen weights need no moments and no gradients), "
                    "or a larger slice: weights, moments and gradients alone take "
                    f"{held / 2**30:.1f} GiB of {chip.hbm_bytes / 2**30:.1f}"
                )
        if experiment.compute.dtype == "float32":
            said.append("--config.compute.dtype=bfloat16: halves activations")
        if experiment.compute.remat != "layer":
            said.append("--config.compute.remat=layer: keeps one activation a layer")
        if rows > shards:
            said.append(
                f"a smaller data.microbatch_tokens: {rows} rows a microbatch, "
                f"{shards} are the fewest on this mesh"
            )
        elif mesh.shape["tensor"] == 1 and held <= 0.6 * chip.hbm_bytes:
            said.append("--config.mesh.tensor=2 or more: splits activations and logits")
    if sampling_bytes(training, sampling) > chip.hbm_bytes:
        said.append(
            f"fewer --config.evaluation.slots (now {experiment.evaluation.slots}) or a smaller "
            "sampling.max_new_tokens"
        )
        if experiment.evaluation.dtype == "float32":
            said.append("--config.evaluation.dtype=bfloat16: halves the cache")
    if padding > 0.5:
        said.append(
            f"{padding:.0%} of the places are padding: {shards} devices split the rows; use more "
            "mesh.tensor and less data and fsdp, or a larger batch_size or microbatch"
        )
    return tuple(said)


def summary(plan: Plan) -> dict[str, Any]:
    """The plan as one JSON object."""
    t, s = plan.training, plan.sampling
    programs = (t.backward, t.update, s.prefill, s.decode)
    return {
        "model": plan.model,
        "parameters": plan.parameters,
        "topology": plan.topology,
        "devices": plan.devices,
        "mesh": plan.mesh,
        "stage": plan.stage,
        "microbatches": [list(m) for m in plan.microbatches],
        "padding": round(plan.padding, 3),
        "bytes_per_device": {
            "parameters": t.params,
            "optimiser": t.optimiser,
            "gradients": t.gradients,
            "batch": t.batch,
            "temporaries": {p.name: p.temporaries for p in programs},
            "needed_where_it_failed": {p.name: p.needed for p in programs if p.needed is not None},
            "kv_cache": s.cache,
            "slots": s.slots,
            "training_peak": plan.training_peak,
            "sampling_peak": plan.sampling_peak,
            "hbm": round(plan.chip.hbm_bytes),
        },
        "fits": plan.fits,
        "flops_per_step": {
            "model": plan.flops.model,
            "executed": plan.flops.executed,
            "compiler_per_device_loops_once": t.backward.flops,
        },
        "collectives": {p.name: {k: asdict(c) for k, c in p.collectives.items()} for p in programs},
        "roofline": asdict(plan.roofline),
        "compile_seconds": {p.name: round(p.seconds, 1) for p in programs},
        "advice": list(plan.advice),
        "versions": plan.versions,
    }
