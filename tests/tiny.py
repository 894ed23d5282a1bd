"""A random model of the Qwen2 form, small enough that a whole experiment takes seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

SIZES: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
}


def write_model(folder: Path, seed: int = 0) -> Path:
    """Writes a Hugging Face folder with the world's tokenizer and random weights."""
    from condmis_jax.models import DecoderConfig, init_params, save_folder
    from condmis_jax.sharding import MeshSettings, make_mesh
    from condmis_jax.testbeds import world

    words = folder.with_name(f"{folder.name}-tokenizer")
    corpus = [m.content for c in world.rows("posttraining", 300, 0) for m in c.messages]
    tokenizer = world.build_tokenizer(corpus, 512, words)
    config = DecoderConfig.from_dict({**SIZES, "vocab_size": tokenizer.get_vocab_size()})
    params = init_params(config, seed, make_mesh(MeshSettings()))
    save_folder(folder, config, params, words)
    return folder


def command(script: str, *flags: str) -> list[str]:
    return [sys.executable, str(ROOT / script), *flags]


def environment(**changes: str) -> dict[str, str]:
    """The environment of an entry point: the CPU, and no proxy between it and loopback."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {**kept, "JAX_PLATFORMS": "cpu", **changes}


def run(script: str, *flags: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Runs an entry point from the root of the checkout, to its end."""
    return subprocess.run(
        command(script, *flags),
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def xla_flags(devices: int) -> str:
    """XLA_FLAGS of this process, for a process with so many simulated devices."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
