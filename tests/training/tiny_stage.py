"""A stage of a few seconds, the same in every process.

tiny_stage.py run FOLDER      trains it slowly, so that a test can interrupt it
tiny_stage.py meshes          losses of the first steps of several models on several meshes of 8
                              devices, as JSON
tiny_stage.py hosts FOLDER KIND FILE
                              trains it over 8 devices, as one of the hosts of kind KIND; the
                              shards of this host as JSON, the parameters to FILE
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from condmis_jax.data import StageData, Tokenised, step_iterator
from condmis_jax.data.packing import plan_step
from condmis_jax.errors import UserError
from condmis_jax.models import DecoderConfig, Lora, init_params
from condmis_jax.models.lora import TARGETS
from condmis_jax.sharding import HostsSettings, MeshSettings, batch_shards, make_mesh
from condmis_jax.sharding.hosts import is_first, joined, own_shards, to_host
from condmis_jax.sharding.runtime import setup
from condmis_jax.training import (
    ComputeSettings,
    OptimiserSettings,
    TrainStep,
    make_optimiser,
    make_step,
    train,
)

STEPS, BATCH, EVERY = 30, 5, 5
HOSTS_STEPS = 14
SIZES = {
    "model_type": "qwen2",
    "vocab_size": 150,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
CONFIG = DecoderConfig.from_dict(SIZES)
MODELS = {
    "full": CONFIG,
    "adapters": replace(CONFIG, lora=Lora(4, 8, dropout=0.3, targets=TARGETS)),
    "experts": DecoderConfig.from_dict(
        {
            **SIZES,
            "model_type": "qwen3_moe",
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 24,
        }
    ),
}
MESHES = {
    "one": MeshSettings(data=1),
    "data": MeshSettings(data=8),
    "all": MeshSettings(data=2, fsdp=2, tensor=2),
    "tensor": MeshSettings(data=1, fsdp=2, tensor=4),  # splits 4 heads, not 2 key/value heads
}
SHARDED = {
    "full": ("data", "all", "tensor"),
    "adapters": ("all",),
    "experts": ("all", "tensor"),
}


def conversations(n: int) -> list[Tokenised]:
    """Texts with a rule to learn; very unequal numbers of loss tokens."""
    rng = np.random.default_rng(0)
    data = []
    for i in range(n):
        length = int(rng.integers(4, 40))
        tokens = (int(rng.integers(1, 60)) + 2 * np.arange(length)) % 149 + 1
        loss = np.arange(length) >= (1 if i % 3 == 0 else length - 2)
        data.append(Tokenised(tokens.astype(np.int32), loss))
    return data


def stage_data(*, steps: int = STEPS, shards: int = 1, **packing: int) -> StageData:
    data = conversations(BATCH * steps)
    lengths = [len(d.tokens) for d in data]
    options = {"row_tokens": 48, "microbatch_tokens": 96} | packing
    plan = [
        plan_step(lengths, list(range(BATCH * i, BATCH * (i + 1))), shards=shards, **options)
        for i in range(steps)
    ]
    return StageData(data=data, plan=plan, held_out=plan[:2], dose={}, fingerprint={})


def tiny_step(
    mesh: Any, steps: int = STEPS, config: DecoderConfig = CONFIG, seed: int = 0, **compute: Any
) -> TrainStep:
    # Where a gradient is only rounding, as a key bias's is, a small eps would make it a full step.
    settings = OptimiserSettings(warmup_steps=3, weight_decay=0.1, eps=1e-3)
    optimiser = make_optimiser(settings, 1e-2, steps, config)
    return make_step(config, ComputeSettings(**compute), optimiser, mesh, seed=seed)


def tiny_params(config: DecoderConfig, mesh: Any) -> Any:
    """First parameters; B of an adapter is not 0, so that what its A sees matters at once."""
    params = init_params(config, 0, mesh)
    for i, name in enumerate(sorted(n for n in params if n.endswith(".b"))):
        drawn = 0.3 * jax.random.normal(jax.random.key(i), params[name].shape)
        params[name] = jax.device_put(drawn, params[name].sharding)
    return params


def run(
    folder: Path,
    mesh: Any,
    change: Callable[[TrainStep], TrainStep] = lambda s: s,
    steps: int = STEPS,
    **kept: int,
) -> Any:
    """Trains the stage, or goes on with it; returns parameters as numpy arrays."""
    params = init_params(CONFIG, 0, mesh)
    step = change(tiny_step(mesh, steps))
    data = stage_data(steps=steps, shards=batch_shards(mesh))
    done = train(folder, "tiny", CONFIG, params, data, step, checkpoint_every=EVERY, **kept)
    return {name: to_host(value) for name, value in done.items()}


def first_losses(
    mesh: Any, steps: int, config: DecoderConfig = CONFIG, seed: int = 0, **packing: int
) -> tuple[list[float], Any]:
    """Losses of the first steps, and the parameters behind them."""
    data = stage_data(steps=steps, shards=batch_shards(mesh), **packing)
    step = tiny_step(mesh, steps, config, seed)
    params = tiny_params(config, mesh)
    state = step.init_optimiser(params)
    losses = []
    for batch in step_iterator(data.plan, data.data, batch_shards(mesh)):
        gradients, loss = step.total(params, batch.microbatches)
        params, state, _ = step.update(params, state, gradients)
        losses.append(float(loss))
    return losses, params


def slowed(step: TrainStep) -> TrainStep:
    def update(*args: Any) -> Any:
        time.sleep(0.1)
        return step.update(*args)

    return replace(step, update=update)


def meshes() -> None:
    print(json.dumps({model: of_meshes(model) for model in MODELS}))


def of_meshes(model: str) -> dict[str, Any]:
    config, found = MODELS[model], {}
    for name in ("one", *SHARDED[model]):
        settings = MESHES[name]
        devices = jax.devices()[:1] if name == "one" else jax.devices()
        losses, params = first_losses(make_mesh(settings, devices), 5, config)
        found[name] = {
            "losses": losses,
            "norm": float(sum(np.square(np.asarray(p)).sum() for p in params.values())),
            "devices": max(len(p.sharding.device_set) for p in params.values()),
            "pieces": {
                n: len(set(map(str, p.sharding.devices_indices_map(p.shape).values())))
                for n, p in params.items()
            },
        }
    return found


def hosts(folder: Path, kind: Any, file: Path) -> None:
    with joined(HostsSettings(kind, patience_seconds=10)):
        mesh = make_mesh(MeshSettings(data=1, fsdp=8))
        print(json.dumps({"own": own_shards(mesh), "all": batch_shards(mesh)}), flush=True)
        params = run(folder, mesh, slowed, HOSTS_STEPS)
        if is_first():
            np.savez(file, **params)


def full(folder: Path) -> None:
    # Without `setup`: what JAX keeps in its cache would be cut off too.
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
    try:
        run(folder, make_mesh(MeshSettings(), jax.devices()[:1]))
    except UserError as error:
        print(error)  # not to stderr, where Orbax's threads complain on their own
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "full":
        full(Path(sys.argv[2]))
        sys.exit()
    setup()
    if sys.argv[1] == "run":
        run(Path(sys.argv[2]), make_mesh(MeshSettings(), jax.devices()[:1]), slowed)
    elif sys.argv[1] == "hosts":
        hosts(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        meshes()
