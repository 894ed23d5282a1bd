"""From a `.gguf` file of llama.cpp to an ordinary Hugging Face folder, without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from condmis_jax.clients.download import sha256_of
from condmis_jax.errors import UserError
from condmis_jax.models._cache import exclusive, publish, read_source, write_source
from condmis_jax.models._gguf_config import PROCEED, Metadata, hf_config
from condmis_jax.models._gguf_tensors import plan, read
from condmis_jax.models._gguf_tokenizer import stop_ids, write_tokenizer
from condmis_jax.models.config import DecoderConfig

# Raised when a conversion comes out differently, so that folders of an older one are made anew.
CONVERTER = 2


def convert_gguf(path: Path, folder: Path, *, origin: Mapping[str, Any] | None = None) -> Path:
    """Writes a Hugging Face folder with the dequantised weights and the tokenizer of a GGUF file.

    The folder appears whole or not at all. Nothing is done when it already holds the conversion of
    a file with the same digest. Weights are written as float32, one tensor in memory at a time.

    Args:
        path: the `.gguf` file, of an architecture of `_gguf_config.ARCHITECTURES`.
        folder: is created; an older conversion in it is replaced.
        origin: where the file itself came from; kept in the folder's `source.json`.
    Returns:
        `folder`, holding config.json, generation_config.json, model.safetensors, tokenizer.json,
        tokenizer_config.json and source.json (the file's sha256, and that of each file written).
    Raises:
        UserError: the file is not readable, its architecture, tokenizer or a feature is not
            supported, tensors are missing or surplus, or `folder` holds something else.
    Source: file format from ggml-org/ggml, docs/gguf.md.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a .gguf file")
    digest = sha256_of(path)

    def done() -> bool:
        source = read_source(folder) or {}
        return (source.get("sha256"), source.get("converter")) == (digest, CONVERTER)

    if done():
        return folder
    with exclusive(folder) as work:
        if done():
            return folder
        shutil.rmtree(work)
        work.mkdir()
        try:
            _write(path, work)
            source = {"kind": "gguf", "file": path.name, "sha256": digest, "converter": CONVERTER}
            write_source(work, {**source, "origin": dict(origin or {})})
            publish(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _write(path: Path, folder: Path) -> None:
    from gguf import GGUFEndian, GGUFReader

    where = str(path)
    try:
        reader = GGUFReader(path)
        values = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{where}: not a readable GGUF file ({reason}); it may be cut off: fetch it again"
        ) from None
    if reader.endianess != GGUFEndian.LITTLE:
        raise UserError(f"{where}: big-endian GGUF files are not supported; {PROCEED}")
    metadata = Metadata(values, where)
    config = hf_config(metadata, tensors)
    planned = plan(DecoderConfig.from_dict(config, where), metadata.architecture, tensors, where)
    write_tokenizer(values, folder, where, config["max_position_embeddings"])
    _write_json(folder / "config.json", config)
    stops = stop_ids(values)
    generation = {
        key: config[key] for key in ("bos_token_id", "pad_token_id") if config[key] is not None
    }
    if stops:
        generation["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    _write_json(folder / "generation_config.json", generation)
    _write_safetensors(
        folder / "model.safetensors",
        {p.hf: p.shape for p in planned},
        (read(p, tensors, where) for p in planned),
    )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _write_safetensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], tensors: Iterable[np.ndarray]
) -> None:
    """Writes float32 tensors one by one; `safetensors.numpy` wants all of them in memory at once.

    Source: the format section of the safetensors README (length, JSON header, bytes).
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for tensor in tensors:
            file.write(tensor.data)
