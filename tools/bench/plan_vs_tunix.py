"""Memory of a training step on a TPU slice, predicted: condmis_jax beside google-tunix.

    python tools/bench/plan_vs_tunix.py

Both compile the same shape (Qwen2.5-7B), full finetuning with AdamW and clipping, float32 weights,
bfloat16 compute, every layer recomputed, 16 x 2048 tokens, ahead of time for the same slice with
the same libtpu, each in a pinned environment of its own below the cache folder. The peer is
`PeftTrainer`'s own train step on its own Qwen2 with the sharding that its configs declare; its
activation constraints, which it drops on a machine without accelerators, are turned on. It has two
forms of attention, and both are compiled. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
JAX, LIBTPU = "jax==0.10.2", "libtpu==0.0.42.1"
ENVIRONMENTS = {
    "ours": ["-c", str(ROOT / "constraints.txt"), "-e", str(ROOT), JAX, LIBTPU],
    "peer": ["google-tunix==0.1.7", "safetensors<0.8", JAX, LIBTPU],
}
SIZES = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--topology", default="v5e:4x4")
    parser.add_argument("--tensor", type=int, default=1, help="devices that split heads")
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=28, help="fewer only to try the command")
    parser.add_argument("--worker", choices=["ours", "peer", "peer-flash"])
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(ours(args) if args.worker == "ours" else peer(args)))
        return
    found: dict[str, Any] = {}
    for worker in ("ours", "peer", "peer-flash"):
        begin = time.perf_counter()
        done = subprocess.run(
            [environment(worker.partition("-")[0]), __file__, "--worker", worker, *sys.argv[1:]],
            env=os.environ
            | {
                "JAX_PLATFORMS": "cpu",
                "TPU_SKIP_MDS_QUERY": "1",
                "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"error: {worker} failed; its message is above")
        found[worker] = json.loads(done.stdout.splitlines()[-1])
        found[worker]["seconds"] = round(time.perf_counter() - begin)
        print(worker, found[worker], file=sys.stderr, flush=True)
    best = min(found["peer"]["temporaries"], found["peer-flash"]["temporaries"])
    about = {
        "bench": "plan_vs_tunix",
        "what": f"Qwen2.5-7B shape, {args.rows} x {args.length} tokens, {args.topology}",
        "ratio_to_default_attention": round(
            found["ours"]["temporaries"] / found["peer"]["temporaries"], 3
        ),
        "ratio_to_better_of_both": round(found["ours"]["temporaries"] / best, 3),
    }
    print(json.dumps({**about, **found}))


def environment(name: str) -> str:
    """The interpreter of a pinned environment, installed on first use."""
    cache = Path(os.environ.get("CONDMIS_CACHE") or Path.home() / ".cache" / "condmis_jax")
    wanted = ENVIRONMENTS[name]
    digest = hashlib.sha256(" ".join(wanted).encode()).hexdigest()[:12]
    folder = cache / "bench" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
        (folder / "installed").touch()
    return str(python)


def described(memory: Any, begin: float, **more: Any) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "compile_seconds": round(time.perf_counter() - begin, 1),
        **more,
        "versions": {n: version(n) for n in ("jax", "jaxlib", "libtpu", "flax", "optax")},
    }


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Our step is two programs; gradients lie between them and count as temporaries."""
    import sys

    sys.path.insert(0, str(ROOT))
    from condmis_jax.models import DecoderConfig
    from condmis_jax.planning import topology
    from condmis_jax.planning.programs import training_programs
    from condmis_jax.sharding import MeshSettings, make_mesh
    from condmis_jax.training import ComputeSettings, OptimiserSettings, make_optimiser

    config = DecoderConfig.from_dict(
        {
            **SIZES,
            "model_type": "qwen2",
            "num_hidden_layers": args.layers,
            "max_position_embeddings": 32768,
            "rope_theta": 1e6,
            "rms_norm_eps": 1e-6,
        }
    )
    topology.prepare(args.topology)
    mesh = make_mesh(MeshSettings(1, -1, args.tensor), topology.devices(args.topology))
    begin = time.perf_counter()
    found = training_programs(
        config,
        ComputeSettings(dtype="bfloat16"),
        make_optimiser(OptimiserSettings("constant"), 1e-5, 10, config),
        mesh,
        (args.rows, args.length),
        microbatches=1,
    )
    backward, update = found.backward, found.update
    if backward.temporaries is None or update.temporaries is None:
        sys.exit("our step does not fit this slice")
    return {
        "temporaries": max(
            backward.temporaries + found.gradients, found.gradients + update.temporaries
        ),
        "parts": {
            "gradients": found.gradients,
            "backward": backward.temporaries,
            "update": update.temporaries,
        },
        "state": found.params + found.optimiser,
        "compile_seconds": round(time.perf_counter() - begin, 1),
        "mesh": dict(mesh.shape),
        "versions": topology.versions(),
    }


def peer(args: argparse.Namespace) -> dict[str, Any]:
    """tunix's own train step, from abstract arrays with the shardings its modules declare."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax
    from flax import nnx
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding, PartitionSpec
    from tunix.models.qwen2 import model as qwen2  # pyright: ignore[reportMissingImports]
    from tunix.sft import peft_trainer, utils  # pyright: ignore[reportMissingImports]

    devices = topologies.get_topology_desc(platform="tpu", topology_name=args.topology).devices
    mesh = Mesh(np.array(devices).reshape(-1, args.tensor), ("fsdp", "tp"))
    # Its `shard` looks whether the first device is a CPU, and then constrains nothing.
    jax.devices = lambda *_, **__: list(devices)
    config = qwen2.ModelConfig.qwen2p5_7b()
    config.num_layers = args.layers
    config.dtype, config.param_dtype = jnp.bfloat16, jnp.float32
    config.remat_config = qwen2.RematConfig.DECODER
    config.use_flash_attention = args.worker == "peer-flash"
    trainers = []

    def make() -> Any:
        optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-5))
        trainer = peft_trainer.PeftTrainer(
            qwen2.Qwen2(config, rngs=nnx.Rngs(0)),
            optimiser,
            peft_trainer.TrainingConfig(eval_every_n_steps=100, max_steps=10),
        )
        trainers.append(trainer)
        return trainer.model, trainer.optimizer

    def inputs(batch: Any) -> dict[str, Any]:
        return {
            "input_tokens": batch.input_tokens,
            "input_mask": batch.input_mask,
            "positions": utils.build_positions_from_mask(batch.input_mask),
            "attention_mask": utils.make_causal_attn_mask(batch.input_mask),
        }

    with mesh:
        parts = nnx.eval_shape(make)
        (trainer,) = trainers
        trainer = trainer.with_gen_model_input_fn(inputs)
        held = []
        for part in parts:
            state = nnx.state(part)
            leaves, tree = jax.tree.flatten(state)
            specs = jax.tree.leaves(
                nnx.get_partition_spec(state), is_leaf=lambda x: isinstance(x, PartitionSpec)
            )
            placed = [
                jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec))
                for x, spec in zip(leaves, specs, strict=True)
            ]
            nnx.update(part, jax.tree.unflatten(tree, placed))
            held.append(
                sum(np.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in placed)
            )
        rows = NamedSharding(mesh, PartitionSpec("fsdp"))
        shape = (args.rows, args.length)
        batch = peft_trainer.TrainingInput(
            input_tokens=jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows),
            input_mask=jax.ShapeDtypeStruct(shape, jnp.bool_, sharding=rows),
        )
        step = nnx.jit(trainer.create_train_step_fn(), donate_argnames=("optimizer",))
        begin = time.perf_counter()
        compiled = step.lower(*parts, batch).compile()
    memory = getattr(compiled, "compiled", compiled).memory_analysis()
    return described(
        memory,
        begin,
        temporaries=memory.temp_size_in_bytes,  # pyright: ignore[reportOptionalMemberAccess]
        state=int(sum(held)),
        mesh={k: int(v) for k, v in mesh.shape.items()},
    )


if __name__ == "__main__":
    main()
