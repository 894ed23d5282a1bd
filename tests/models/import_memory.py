"""Writes a random checkpoint of several hundred MB, loads it, prints the peak memory of loading.

A process of its own, because the peak of a process cannot be taken back:

    python tests/models/import_memory.py FOLDER MB_A_SHARD SHARDS DEVICES

The last line is JSON: bytes of the largest shard, of the parameters, and of resident memory over
what it was before loading.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import numpy as np


def write(folder: Path, shard_bytes: int, shards: int) -> int:
    """A bfloat16 Qwen2 of one shard a layer, written shard by shard; bytes of the largest shard."""
    import ml_dtypes
    from safetensors.numpy import save_file

    D, F, V = 1024, (shard_bytes // 2 - 2 * 1024 * 1024) // (3 * 1024) // 8 * 8, 32768
    config = {
        "model_type": "qwen2",
        "hidden_size": D,
        "intermediate_size": F,
        "num_hidden_layers": shards,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "max_position_embeddings": 64,
        "vocab_size": V,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    block = np.random.default_rng(0).normal(size=1 << 20).astype(ml_dtypes.bfloat16)

    def tensor(*shape: int) -> np.ndarray:
        return np.resize(block, shape)

    weight_map: dict[str, str] = {}
    largest = 0
    for i in range(-1, shards):
        a = f"model.layers.{i}."
        if i < 0:
            held = {"model.embed_tokens.weight": tensor(V, D), "model.norm.weight": tensor(D)}
        else:
            held = {f"{a}{n}_layernorm.weight": tensor(D) for n in ("input", "post_attention")}
            for name, rows in (("q", D), ("k", D // 2), ("v", D // 2)):
                held[f"{a}self_attn.{name}_proj.weight"] = tensor(rows, D)
                held[f"{a}self_attn.{name}_proj.bias"] = tensor(rows)
            held[f"{a}self_attn.o_proj.weight"] = tensor(D, D)
            held |= {f"{a}mlp.{n}_proj.weight": tensor(F, D) for n in ("gate", "up")}
            held[f"{a}mlp.down_proj.weight"] = tensor(D, F)
        file = f"model-{i + 1:05d}.safetensors"
        save_file(held, folder / file, metadata={"format": "pt"})
        largest = max(largest, (folder / file).stat().st_size)
        weight_map |= dict.fromkeys(held, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return largest


def resident() -> int:
    """Bytes of resident memory of this process, mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    folder, shard, shards, devices = Path(sys.argv[1]), *map(int, sys.argv[2:])
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pid = os.fork()  # what writing takes must not count
        if not pid:
            write(folder, shard << 20, shards)
            os._exit(0)
        os.waitpid(pid, 0)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    import jax

    from condmis_jax.models import DecoderConfig, load_params
    from condmis_jax.sharding import MeshSettings, make_mesh

    mesh = make_mesh(MeshSettings(data=1, fsdp=-1, tensor=min(2, devices)))
    config = DecoderConfig.from_folder(folder)
    jax.block_until_ready(jax.numpy.ones(1) + 1)
    before, peak, stop = resident(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not stop.wait(0.002):
            peak = max(peak, resident())

    thread = threading.Thread(target=watch)
    thread.start()
    params = jax.block_until_ready(load_params(folder, config, mesh))
    stop.set()
    thread.join()
    held = sum(s.data.nbytes for p in params.values() for s in p.addressable_shards)
    largest = max(p.stat().st_size for p in folder.glob("*.safetensors"))
    print(json.dumps({"shard": largest, "params": held, "peak": max(peak, resident()) - before}))


if __name__ == "__main__":
    main()
