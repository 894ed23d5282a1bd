"""Hugging Face folders in and out: config.json, safetensors (sharded or not), tokenizer files."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models.adapters import merged_config, merged_weight
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import Params, Weight, shardings, weight_table

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# Tensors that some exporters write although they follow from the others.
DERIVED = ("rotary_emb.inv_freq", "lm_head.weight")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
)


def _files(folder: Path) -> dict[str, Path]:
    """Tensor name -> the safetensors file that holds it."""
    from safetensors import SafetensorError, safe_open

    index = folder / INDEX
    if index.exists():
        try:
            entries = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].items())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{index}: not a safetensors index") from None
        paths = {}
        for name, file in entries:
            # An index is input like any other: a shard outside its own folder is refused.
            if not isinstance(file, str) or Path(file).name != file or not (folder / file).exists():
                raise UserError(f"{index}: shard {file!r} is not a file of this folder")
            paths[name] = folder / file
        return paths
    single = folder / SINGLE
    if not single.exists():
        raise UserError(f"{folder}: neither {SINGLE} nor {INDEX}; only safetensors are read")
    try:
        with safe_open(single, framework="numpy") as file:
            return dict.fromkeys(file.keys(), single)
    except SafetensorError as error:
        raise UserError(f"{single}: not a readable safetensors file ({error})") from None


def load_params(folder: Path, config: DecoderConfig, mesh: Mesh, dtype: Any = np.float32) -> Params:
    """Reads the weights of a Hugging Face folder onto the mesh.

    One stacked parameter at a time is on the host, then it goes to its devices.

    Args:
        folder: holds safetensors, with an index when sharded.
        dtype: of the parameters in memory; masters are float32.

    Raises:
        UserError: a tensor is missing, surplus or of the wrong shape (named), or a file is broken.
    """
    from safetensors import SafetensorError, safe_open

    files = _files(folder)
    table = weight_table(config)
    wanted = [name for w in table for name in w.hf_names(config)]
    if missing := [n for n in wanted if n not in files]:
        raise UserError(f"{folder}: tensor {missing[0]} is missing ({len(missing)} in all)")
    surplus = [n for n in files if n not in set(wanted) and not n.endswith(DERIVED)]
    if surplus:
        raise UserError(
            f"{folder}: tensor {surplus[0]} has no place in a {config.family} decoder "
            f"({len(surplus)} in all)"
        )
    places = shardings(config, mesh)
    params: Params = {}
    with ExitStack() as stack:
        opened: dict[Path, Any] = {}

        def read(name: str, w: Weight) -> np.ndarray:
            path = files[name]
            try:
                if path not in opened:
                    opened[path] = stack.enter_context(safe_open(path, framework="numpy"))
                tensor = opened[path].get_tensor(name)
            except SafetensorError as error:
                raise UserError(f"{path}: not a readable safetensors file ({error})") from None
            if tensor.shape != w.hf_shape(config):
                raise UserError(
                    f"{path}: tensor {name} has shape {tensor.shape}, config.json asks for "
                    f"{w.hf_shape(config)}"
                )
            return w.from_hf(tensor, config)

        for w in table:
            host = np.empty(w.shape(config), dtype)
            if w.stacked:
                for i, name in enumerate(w.hf_names(config)):
                    host[i] = read(name, w)
            else:
                host[...] = read(w.hf, w)
            params[w.name] = jax.device_put(host, places[w.name])
    return params


def save_folder(
    folder: Path,
    config: DecoderConfig,
    params: Params,
    tokenizer_from: Path | None = None,
    *,
    dtype: Any = np.float32,
    max_shard_bytes: int = 5 << 30,
) -> None:
    """Writes a Hugging Face folder that `transformers` loads.

    The folder appears whole or not at all. Adapters are merged, one weight at a time.

    Args:
        tokenizer_from: a folder whose tokenizer files are copied.
        dtype: of the tensors written (float32 or ml_dtypes' bfloat16).
        max_shard_bytes: a larger model is split into several files with an index.
    """
    from safetensors.numpy import save_file

    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    shards: list[dict[str, np.ndarray]] = [{}]
    held = 0
    adapted, config = config, merged_config(config)
    for w in weight_table(config):
        host = np.asarray(merged_weight(adapted, params, w)).astype(dtype)
        parts = host if w.stacked else host[None]
        for name, part in zip(w.hf_names(config), parts, strict=True):
            tensor = w.to_hf(part, config)
            if held and held + tensor.nbytes > max_shard_bytes:
                shards.append({})
                held = 0
            shards[-1][name] = tensor
            held += tensor.nbytes
    meta = {"format": "pt"}
    if len(shards) == 1:
        save_file(shards[0], temporary / SINGLE, metadata=meta)
    else:
        weight_map = {}
        for i, shard in enumerate(shards, 1):
            name = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
            save_file(shard, temporary / name, metadata=meta)
            weight_map |= dict.fromkeys(shard, name)
        total = sum(t.nbytes for s in shards for t in s.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (temporary / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    raw = dict(config.raw)
    raw.pop("quantization_config", None)
    raw.pop("dtype", None)
    raw["torch_dtype"] = jnp.dtype(dtype).name
    (temporary / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    if tokenizer_from is not None:
        for file in TOKENIZER_FILES:
            if (tokenizer_from / file).exists():
                shutil.copyfile(tokenizer_from / file, temporary / file)
    for file in temporary.iterdir():
        file.chmod(0o644)  # safetensors makes its files readable by their owner only
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
