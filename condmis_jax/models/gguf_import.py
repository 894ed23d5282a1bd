"""From a `.gguf` file of llama.cpp to an ordinary Hugging Face folder, without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from condmis_jax.errors import UserError
from condmis_jax.models._cache import exclusive, publish, read_source, sha256_of, write_source
from condmis_jax.models._gguf_tokenizer import stop_ids, write_tokenizer

# Raised when a conversion comes out differently, so that folders of an older one are made anew.
CONVERTER = 1
ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
# Metadata that would change the computation, and the values that leave it as it is.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "rope.scaling.type": ("none",),
    "expert_count": (0,),
    "attention.sliding_window": (0,),
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
}
_PROCEED = "use the model's Hugging Face folder instead of the .gguf file"


@dataclass(frozen=True)
class _Planned:
    """One tensor to write: its Hugging Face name and shape, its GGUF name, heads to unpermute."""

    hf: str
    gguf: str
    shape: tuple[int, ...]
    heads: int = 0


def convert_gguf(path: Path, folder: Path, *, origin: Mapping[str, Any] | None = None) -> Path:
    """Writes a Hugging Face folder with the dequantised weights and the tokenizer of a GGUF file.

    The folder appears whole or not at all. Nothing is done when it already holds the conversion of
    a file with the same digest. Weights are written as float32, one tensor in memory at a time.

    Args:
        path: the `.gguf` file, architecture `llama` or `qwen2`.
        folder: is created; an older conversion in it is replaced.
        origin: where the file itself came from; kept in the folder's `source.json`.
    Returns:
        `folder`, holding config.json, generation_config.json, model.safetensors, tokenizer.json,
        tokenizer_config.json and source.json (the file's sha256, and that of each file written).
    Raises:
        UserError: the file is not readable, its architecture, tokenizer or a feature is not
            supported, tensors are missing or surplus, or `folder` holds something else.
    Source: file format and metadata keys from ggml-org/ggml, docs/gguf.md; the order of the query
        and key rows from ggml-org/llama.cpp, convert_hf_to_gguf.py (`LlamaModel.permute`).
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
        metadata = {key: field.contents() for key, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{where}: not a readable GGUF file ({reason}); it may be cut off: fetch it again"
        ) from None
    if reader.endianess != GGUFEndian.LITTLE:
        raise UserError(f"{where}: big-endian GGUF files are not supported; {_PROCEED}")
    config = _config(metadata, tensors, where)
    planned = _plan(config, tensors, where)
    write_tokenizer(metadata, folder, where, config["max_position_embeddings"])
    _write_json(folder / "config.json", config)
    stops = stop_ids(metadata)
    generation = {
        key: config[key] for key in ("bos_token_id", "pad_token_id") if config[key] is not None
    }
    if stops:
        generation["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    _write_json(folder / "generation_config.json", generation)
    _write_safetensors(
        folder / "model.safetensors",
        {p.hf: p.shape for p in planned},
        (_tensor(tensors[p.gguf], p, where) for p in planned),
    )


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _config(metadata: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The `config.json` that says what the metadata say."""
    family = metadata.get("general.architecture")
    if family not in ARCHITECTURES:
        raise UserError(
            f"{where}: architecture {family!r} is not supported; supported: "
            f"{', '.join(ARCHITECTURES)}"
        )
    if metadata.get("split.count", 1) > 1:
        raise UserError(
            f"{where}: one of {metadata['split.count']} parts of a model; merge them with "
            "llama.cpp's gguf-split --merge"
        )
    for key, neutral in _NEUTRAL.items():
        value = metadata.get(f"{family}.{key}", neutral[0])
        if value not in neutral:
            raise UserError(f"{where}: {family}.{key} {value!r} is not supported; {_PROCEED}")
    if "rope_freqs.weight" in tensors:
        raise UserError(
            f"{where}: scaled rotary positions (tensor rope_freqs.weight) are not supported; "
            f"{_PROCEED}"
        )

    def size(key: str, default: int | None = None) -> int:
        value = metadata.get(f"{family}.{key}", default)
        if not isinstance(value, int) or value < 1:
            raise UserError(
                f"{where}: metadata key {family}.{key} must be one positive integer, got "
                f"{'nothing' if value is None else repr(value)}; {_PROCEED}"
            )
        return value

    if "token_embd.weight" not in tensors:
        raise UserError(f"{where}: tensor token_embd.weight is missing; {_PROCEED}")
    width, heads = size("embedding_length"), size("attention.head_count")
    head = size("attention.key_length", width // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if size(key, head) != head:
            raise UserError(
                f"{where}: {family}.{key} {size(key)} differs from the head width {head}, which "
                f"is not supported; {_PROCEED}"
            )
    # In GGUF the fastest axis comes first, so rows of the embedding are its last axis.
    rows = int(tensors["token_embd.weight"].shape[-1])
    if (words := len(metadata.get("tokenizer.ggml.tokens", ()))) > rows:
        raise UserError(
            f"{where}: {words} tokens but only {rows} rows in token_embd.weight; {_PROCEED}"
        )
    theta = float(metadata.get(f"{family}.rope.freq_base", 10_000.0))
    epsilon = metadata.get(f"{family}.attention.layer_norm_rms_epsilon")
    if epsilon is None:
        raise UserError(
            f"{where}: metadata key {family}.attention.layer_norm_rms_epsilon is missing; "
            f"{_PROCEED}"
        )
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[family]],
        "model_type": family,
        "hidden_size": width,
        "intermediate_size": size("feed_forward_length"),
        "num_hidden_layers": size("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": size("attention.head_count_kv", heads),
        "head_dim": head,
        "hidden_act": "silu",
        "max_position_embeddings": size("context_length"),
        # The file holds float32: 1e-05 rather than 9.999999747378752e-06.
        "rms_norm_eps": float(str(np.float32(epsilon))),
        "vocab_size": rows,
        "tie_word_embeddings": "output.weight" not in tensors,
        # transformers 5 reads the second, older ones and other readers the first.
        "rope_theta": theta,
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "torch_dtype": "float32",
        "use_cache": True,
    }
    for role, word in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        config[f"{role}_token_id"] = metadata.get(f"tokenizer.ggml.{word}_token_id")
    if family == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in tensors
        config["mlp_bias"] = False
    return config


def _plan(config: Mapping[str, Any], tensors: Mapping[str, Any], where: str) -> list[_Planned]:
    """Every tensor of the Hugging Face model, and which tensor of the file it comes from."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    family, layers = config["model_type"], config["num_hidden_layers"]
    D, F, V, H = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size", "head_dim"))
    N, K = config["num_attention_heads"], config["num_key_value_heads"]
    names = get_tensor_name_map(MODEL_ARCH[family.upper()], layers)
    planned: list[_Planned] = []

    def add(hf: str, *shape: int, heads: int = 0) -> None:
        name = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise UserError(f"{where}: no GGUF name is known for {hf}; update the gguf package")
        planned.append(_Planned(hf, name, shape, heads))

    # llama.cpp turns the two halves of a rotary head into pairs for this family only.
    turned_q, turned_k = (N, K) if family == "llama" else (0, 0)
    qkv_bias, output_bias = (config["attention_bias"],) * 2 if family == "llama" else (True, False)
    add("model.embed_tokens.weight", V, D)
    for i in range(layers):
        layer = f"model.layers.{i}."
        for side, rows, columns, turned, bias in (
            ("self_attn.q_proj", N * H, D, turned_q, qkv_bias),
            ("self_attn.k_proj", K * H, D, turned_k, qkv_bias),
            ("self_attn.v_proj", K * H, D, 0, qkv_bias),
            ("self_attn.o_proj", D, N * H, 0, output_bias),
            ("mlp.gate_proj", F, D, 0, False),
            ("mlp.up_proj", F, D, 0, False),
            ("mlp.down_proj", D, F, 0, False),
        ):
            add(f"{layer}{side}.weight", rows, columns, heads=turned)
            if bias:
                add(f"{layer}{side}.bias", rows, heads=turned)
        add(f"{layer}input_layernorm.weight", D)
        add(f"{layer}post_attention_layernorm.weight", D)
    add("model.norm.weight", D)
    if not config["tie_word_embeddings"]:
        add("lm_head.weight", V, D)

    wanted = {p.gguf for p in planned}
    missing, surplus = sorted(wanted - set(tensors)), sorted(set(tensors) - wanted)
    if missing or surplus:
        found = [
            f"{what}: {', '.join(names[:8])}" + (f" and {len(names) - 8} more" * (len(names) > 8))
            for what, names in (("missing tensors", missing), ("surplus tensors", surplus))
            if names
        ]
        raise UserError(f"{where}: {'; '.join(found)} (for architecture {family}); {_PROCEED}")
    for p in planned:
        shape = tuple(int(n) for n in reversed(tensors[p.gguf].shape))
        if shape != p.shape:
            raise UserError(
                f"{where}: tensor {p.gguf} has shape {shape}, the metadata ask for {p.shape}"
            )
    return planned


def _tensor(tensor: Any, planned: _Planned, where: str) -> np.ndarray:
    """The dequantised float32 values, rows in Hugging Face order."""
    from gguf.quants import dequantize

    try:
        values = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        raise UserError(
            f"{where}: quantisation {tensor.tensor_type.name} of tensor {planned.gguf} is not "
            f"supported; {_PROCEED}"
        ) from None
    values = np.ascontiguousarray(values, dtype="<f4").reshape(planned.shape)
    return unpermute(values, planned.heads) if planned.heads else values


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Puts the rows of a query or key projection back into Hugging Face's rotary order.

    llama.cpp rotates neighbouring rows (0, 1), (2, 3), …; Hugging Face rotates row i of a head of
    width H with row i + H/2.

    Args:
        rows: [heads * H, …], a weight or a bias.
    Returns:
        the same shape.
    """
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


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
