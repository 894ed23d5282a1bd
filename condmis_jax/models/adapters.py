"""LoRA adapters of a loaded model: made, merged, and read and written as PEFT folders.

The format is peft's: adapter_config.json and adapter_model.safetensors, tensors named
`base_model.model.<module>.lora_A.weight` [r, inputs] and `…lora_B.weight` [outputs, r].
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models._weight import Weight
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.lora import Lora
from condmis_jax.models.registry import ADAPTER_CONFIG, parse_hub_name
from condmis_jax.models.weights import Params, adaptable, shardings, weight_table

TENSORS = "adapter_model.safetensors"
# Keys of adapter_config.json that describe the file or its making and change nothing here; a key
# that is neither here nor read below must be at a value that switches it off.
HARMLESS = {
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "exclude_modules",
    "inference_mode",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
}
# Other initialisers change the base weights as well.
KEEPS_BASE = (None, True, False, "gaussian", "orthogonal", "eva")


def merged_config(config: DecoderConfig) -> DecoderConfig:
    """The config of the model with its adapters merged; an adapted tied unembedding is untied."""
    if config.lora is None:
        return config
    if not (config.tied and "unembed" in config.lora.targets):
        return replace(config, lora=None)
    return replace(config, lora=None, tied=False, raw={**config.raw, "tie_word_embeddings": False})


def merged_weight(config: DecoderConfig, params: Params, w: Weight) -> jax.Array:
    """The weight `w` of `merged_config`, one at a time: W + scale * A B in float32."""
    value = params[w.name if w.name in params else "embed"]
    factors = {a.name: a for a in weight_table(config) if a.adapts == w.name}
    if not factors or config.lora is None:
        return value
    a, b = factors[f"{w.name}.a"], factors[f"{w.name}.b"]
    delta = jnp.einsum(f"{a.letters},{b.letters}->{w.letters}", params[a.name], params[b.name])
    return value.astype(jnp.float32) + config.lora.scale * delta


def save_adapter(folder: Path, config: DecoderConfig, params: Params, base: str) -> None:
    """Writes a folder that `peft.PeftModel.from_pretrained` loads on top of the base model.

    Args:
        base: the `model` string of the base model, which adapter_config.json then names.

    Raises:
        UserError: the model has no adapters, or PEFT has none of their form.
    """
    from safetensors.numpy import save_file

    lora = config.lora
    if lora is None:
        raise UserError(f"{folder}: this model was trained in full, it has no adapter to export")
    _refuse_fused(folder, config, lora.targets)
    tensors = {}
    for w in weight_table(config):
        if w.adapts is None:
            continue
        host = np.asarray(params[w.name])
        for name, index in w.places(config):
            tensors[name] = w.to_hf(host[index], config)
    modules = [
        w.hf.removesuffix(".lora_A.weight").rpartition(".")[2]
        for w in weight_table(config)
        if w.name.endswith(".a")
    ]
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        **_named_base(base),
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "lora_dropout": lora.dropout,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(tensors, temporary / TENSORS, metadata={"format": "pt"})
    (temporary / TENSORS).chmod(0o644)
    (temporary / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)


def _named_base(base: str) -> dict[str, str]:
    """The base model as peft names one: a hub's revision is a key of its own."""
    hub = None if Path(base).expanduser().exists() else parse_hub_name(base)
    if hub is None:
        return {"base_model_name_or_path": base}
    return {"base_model_name_or_path": hub.repo, "revision": hub.revision}


def load_adapter(
    folder: Path, config: DecoderConfig, base: Params, mesh: Mesh
) -> tuple[DecoderConfig, Params]:
    """Reads a PEFT folder for the base model `config`, `base`.

    Returns:
        the config with its `lora`, and the adapters' parameters alone.

    Raises:
        UserError: the adapter needs something unsupported, is not of this base model, or is broken.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / TENSORS
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; only safetensors are read") from None
    except SafetensorError as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None
    settings = _read_settings(folder / ADAPTER_CONFIG)
    _drop_copies(path, tensors, base)
    targets = _targets(path, tensors, config)
    _refuse_fused(path, config, targets)
    try:
        lora = Lora(
            rank=settings["r"],
            alpha=settings["lora_alpha"],
            rslora=bool(settings.get("use_rslora")),
            dropout=settings.get("lora_dropout") or 0.0,
            targets=targets,
            base_dtype="bfloat16" if base["embed"].dtype == jnp.bfloat16 else "float32",
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / ADAPTER_CONFIG}: {error}") from None
    config = replace(config, lora=lora)
    places = shardings(config, mesh)
    params: Params = {}
    for w in weight_table(config):
        if w.adapts is None:
            continue
        host = np.empty(w.shape(config), np.float32)
        for name, index in w.places(config):
            tensor = tensors.pop(name)
            if tensor.shape != w.hf_shape(config):
                raise UserError(
                    f"{path}: tensor {name} has shape {tensor.shape}, rank {lora.rank} of this "
                    f"base model asks for {w.hf_shape(config)}"
                )
            host[index] = w.from_region(tensor, config, w.whole(config))
        params[w.name] = jax.device_put(host, places[w.name])
    if tensors:
        raise UserError(
            f"{path}: tensor {next(iter(tensors))} has no place in a {config.family} decoder's "
            f"adapter ({len(tensors)} in all)"
        )
    return config, params


def _refuse_fused(path: Path, config: DecoderConfig, targets: tuple[str, ...]) -> None:
    """Ours are adapters of q, k, v, gate and up; of a fused matrix peft has one for all of them."""
    fused = [w.hf for w in weight_table(config) if w.part and w.name in targets]
    if fused:
        raise UserError(
            f"{path}: a {config.family} decoder has several linear maps in one matrix "
            f"({fused[0].split('.')[-2]}), whose PEFT adapter is another one; merge the adapter "
            "and use the merged folder"
        )


def _read_settings(path: Path) -> dict[str, Any]:
    """adapter_config.json, refused when it asks for more than plain LoRA."""
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None

    def refuse(key: str) -> None:
        raise UserError(
            f"{path}: {key} = {settings.get(key)!r} is not supported; merge the adapter with peft "
            "and give the merged folder"
        )

    if settings.get("peft_type") != "LORA":
        refuse("peft_type")
    if settings.get("init_lora_weights") not in KEEPS_BASE:
        refuse("init_lora_weights")
    for key, value in settings.items():
        if key in HARMLESS or key == "init_lora_weights" or (key == "bias" and value == "none"):
            continue
        if value not in (None, False, {}, []):
            refuse(key)
    return settings


def _drop_copies(path: Path, tensors: dict[str, np.ndarray], base: Params) -> None:
    """Takes out the copies of base weights that peft writes beside an adapted unembedding."""
    for name in [n for n in tensors if ".lora_" not in n]:
        tail = name.removeprefix("base_model.model.").replace(".base_layer", "")
        ours = {"lm_head.weight": "unembed", "model.embed_tokens.weight": "embed"}.get(tail)
        if ours is None:
            continue
        value = np.asarray(base[ours if ours in base else "embed"])
        if not np.array_equal(tensors.pop(name).astype(value.dtype), value):
            raise UserError(f"{path}: tensor {name} is not the base model's; merge it with peft")


def _targets(path: Path, tensors: dict[str, np.ndarray], config: DecoderConfig) -> tuple[str, ...]:
    """The linear maps that the file has adapters for."""
    found = []
    for target in adaptable(config):
        probe = replace(config, lora=Lora(1, 1.0, targets=(target,)))
        names = [n for w in weight_table(probe) if w.adapts for n in w.hf_names(config)]
        missing = [n for n in names if n not in tensors]
        if not missing:
            found.append(target)
        elif len(missing) < len(names):
            raise UserError(
                f"{path}: tensor {missing[0]} is missing; adapters of some layers only are not "
                "supported, merge the adapter with peft"
            )
    if not found:
        raise UserError(f"{path}: holds no adapter of a {config.family} decoder's linear maps")
    return tuple(found)
