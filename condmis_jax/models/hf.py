"""Hugging Face folders in and out: config.json, safetensors (sharded or not), tokenizer files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models._weight import Weight
from condmis_jax.models.adapters import merged_config, merged_weight
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.streaming import stream
from condmis_jax.models.weights import Params, shardings, weight_table

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
# Parts of a Gemma 3 checkpoint that sees, beside its language model.
VISION = ("vision_tower.", "multi_modal_projector.")
READABLE = ("F64", "F32", "F16", "BF16")


def _files(folder: Path) -> dict[str, Path]:
    """Tensor name -> the safetensors file that holds it."""
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
    with _opened(single) as file:
        return dict.fromkeys(file.keys(), single)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, open for a moment: what is read of a mapped file counts as memory."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None


def _language_model(files: dict[str, Path], config: DecoderConfig) -> dict[str, tuple[str, Path]]:
    """Our tensor name -> name in the file, and the file; without the parts that see images."""
    found = {}
    for name, path in files.items():
        bare = name.removeprefix("model.")
        if config.family == "gemma3_text" and bare.startswith(VISION):
            continue
        ours = name
        if config.family == "gemma3_text" and bare.startswith("language_model."):
            # The whole model inside (older files), or its inner part without the unembedding.
            inner = bare.removeprefix("language_model.")
            ours = inner if bare == name else f"model.{inner}"
        found[ours] = (name, path)
    return found


def _check(
    folder: Path, config: DecoderConfig, files: dict[str, tuple[str, Path]]
) -> tuple[Weight, ...]:
    """The weight table, when the checkpoint has its tensors, of the right shape, and no others."""
    table = weight_table(config)
    wanted = {name: w for w in table for name in w.hf_names(config)}
    if missing := [n for n in wanted if n not in files]:
        raise UserError(f"{folder}: tensor {missing[0]} is missing ({len(missing)} in all)")
    surplus = [n for n in files if n not in wanted and not n.endswith(DERIVED)]
    if surplus:
        raise UserError(
            f"{folder}: tensor {surplus[0]} has no place in a {config.family} decoder "
            f"({len(surplus)} in all)"
        )
    by_file: dict[Path, list[str]] = {}
    for name in wanted:
        by_file.setdefault(files[name][1], []).append(name)
    for path, names in by_file.items():
        with _opened(path) as file:
            for name in names:
                tensor = file.get_slice(files[name][0])
                shape, asked = tuple(tensor.get_shape()), wanted[name].hf_shape(config)
                if tensor.get_dtype() not in READABLE:
                    raise UserError(
                        f"{path}: tensor {name} is stored as {tensor.get_dtype()}; quantised "
                        f"checkpoints are not read, use one in {', '.join(READABLE)}"
                    )
                if shape != asked:
                    raise UserError(
                        f"{path}: tensor {name} has shape {shape}, config.json asks for {asked}"
                    )
    return table


def load_params(folder: Path, config: DecoderConfig, mesh: Mesh, dtype: Any = np.float32) -> Params:
    """Reads the weights of a Hugging Face folder straight onto the mesh; see `streaming`.

    Args:
        folder: holds safetensors, with an index when sharded.
        dtype: of the parameters in memory; masters are float32.

    Raises:
        UserError: a tensor is missing, surplus or of the wrong shape (named), or a file is broken.
    """
    files = _language_model(_files(folder), config)
    table = _check(folder, config, files)

    def read(name: str, index: tuple[slice, ...]) -> np.ndarray:
        stored, path = files[name]
        with _opened(path) as file:
            return file.get_slice(stored)[index]

    places = shardings(config, mesh)
    return {w.name: stream(w, config, places[w.name], dtype, read) for w in table}


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
    sources: dict[str, list[Weight]] = {}
    for w in weight_table(config):
        sources.setdefault(w.hf, []).append(w)
    for together in sources.values():
        hosts = [np.asarray(merged_weight(adapted, params, w)) for w in together]
        for name, index in together[0].places(config):
            tensor = np.empty(together[0].hf_shape(config), dtype)
            for w, host in zip(together, hosts, strict=True):
                tensor[w.region(config, w.whole(config))] = w.to_hf(host[index], config)
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
