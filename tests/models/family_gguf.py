"""GGUF files of the tiny models of every family, as llama.cpp's converters write them.

Names and conventions are written out here, from conversion/*.py of ggml-org/llama.cpp, and not
taken from what is tested.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ARCHITECTURES = {
    "mistral": "llama",
    "gemma3_text": "gemma3",
    "qwen3_moe": "qwen3moe",
    "gpt_oss": "gpt-oss",
}
# What a file cannot state has the value that every published model has.
STATED: dict[str, dict[str, Any]] = {
    "qwen2-sliding": {"use_sliding_window": False},
    "llama3": {
        "head_dim": 64,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.5,
            "high_freq_factor": 5.0,
            "original_max_position_embeddings": 8192,
        },
    },
    "gemma2": {"query_pre_attn_scalar": 16},
    "gemma3": {
        "query_pre_attn_scalar": 16,
        "num_hidden_layers": 7,
        "layer_types": ["sliding_attention"] * 5 + ["full_attention", "sliding_attention"],
    },
    "olmo2": {"attention_bias": False},
    "qwen3_moe-plain": {"norm_topk_prob": True, "use_sliding_window": False},
    "gpt_oss": {"swiglu_limit": 7.0},
}
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.sinks": "attn_sinks",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
    "mlp.router": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
    "input_layernorm": "attn_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
Kinds = Callable[[str, np.ndarray], str | None]


def _name(hf: str, model_type: str) -> str:
    base, dot, suffix = hf.rpartition(".")
    if suffix not in ("weight", "bias"):
        base, dot, suffix = hf, ".", "weight"
    layer = re.match(r"model\.layers\.(\d+)\.(.*)", base)
    start, rest = (f"blk.{layer[1]}.", layer[2]) if layer else ("", base)
    if rest == "post_attention_layernorm":
        behind = ("gemma2", "gemma3_text", "olmo2", "gpt_oss")
        return f"{start}{'post_attention_norm' if model_type in behind else 'ffn_norm'}.weight"
    return start + NAMES[rest] + dot + suffix


def _pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order, row by row: row 2i of a head is HF's row i, row 2i+1 HF's i + H/2."""
    width = rows.shape[0] // heads
    order = [
        head * width + i + half * width // 2
        for head in range(heads)
        for i in range(width // 2)
        for half in (0, 1)
    ]
    return rows[order]


def stored_tensors(model: Any, folder: Path) -> dict[str, np.ndarray]:
    """GGUF name -> float32 values, of a model; `folder` is where transformers saves it."""
    from safetensors.numpy import load_file

    model.save_pretrained(folder)
    config, kind = model.config, model.config.model_type
    found: dict[str, np.ndarray] = {}
    experts: dict[str, dict[int, np.ndarray]] = {}
    for name, value in load_file(folder / "model.safetensors").items():
        if one := re.match(r"(.*experts)\.(\d+)\.(.*)", name):
            experts.setdefault(f"{one[1]}.{one[3]}", {})[int(one[2])] = value
        elif ".experts." in name:  # gpt-oss: inputs first, gate and up alternating
            weight = not name.endswith("_bias")
            value = value.swapaxes(1, 2) if weight else value
            name = name.removesuffix("_bias") + (".weight" if weight else ".bias")
            if "gate_up" in name:
                found[_name(name.replace("gate_up", "gate"), kind)] = value[:, ::2]
                found[_name(name.replace("gate_up", "up"), kind)] = value[:, 1::2]
            else:
                found[_name(name, kind)] = value
        else:
            if ARCHITECTURES.get(kind, kind) == "llama":
                if ".q_proj." in name:
                    value = _pairs(value, config.num_attention_heads)
                if ".k_proj." in name:
                    value = _pairs(value, config.num_key_value_heads)
            if "gemma" in kind and "norm" in name:
                value = value + np.float32(1)
            found[_name(name, kind)] = value
    for name, by_number in experts.items():
        found[_name(name, kind)] = np.stack([by_number[e] for e in sorted(by_number)])
    return found


def write_family(
    path: Path, model: Any, kinds: Kinds = lambda *_: None, *, dequantised: bool = False
) -> None:
    """Writes the GGUF file of a model.

    Args:
        kinds: (name, values) -> the quantisation of that tensor, None for float32.
        dequantised: float32 values of what the quantised file would hold, instead of it.
    """
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import dequantize

    kind = model.config.model_type
    w = GGUFWriter(path, ARCHITECTURES.get(kind, kind))
    _metadata(w, model.config)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(["a", "b", "ab"])
    w.add_token_types([1, 1, 1])
    w.add_token_merges(["a b"])
    tensors = stored_tensors(model, path.with_suffix(".saved")) | _rope_tables(w, model.config)
    for name, values in tensors.items():
        values = np.ascontiguousarray(values)
        if (chosen := kinds(name, values)) is None:
            w.add_tensor(name, values)
            continue
        quantisation = GGMLQuantizationType[chosen]
        blocks = _quantised(name, values, quantisation)
        if dequantised:
            w.add_tensor(name, dequantize(blocks, quantisation))
        else:
            w.add_tensor(name, blocks, raw_dtype=quantisation)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def _quantised(name: str, values: np.ndarray, kind: Any) -> np.ndarray:
    """Blocks of a quantisation; random ones where `gguf` can only read it."""
    from gguf.constants import GGML_QUANT_SIZES
    from gguf.quants import quantize

    scales = {"Q4_K": slice(0, 4), "Q6_K": slice(208, 210)}  # float16 numbers in a block
    if kind.name not in scales:
        return quantize(values, kind)
    numbers, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(len(name))
    blocks = rng.integers(0, 256, (values.size // numbers, size)).astype(np.uint8)
    where = scales[kind.name]
    blocks[:, where] = np.full((where.stop - where.start) // 2, 1e-3, np.float16).view(np.uint8)
    return blocks.reshape(*values.shape[:-1], -1)


def _metadata(w: Any, c: Any) -> None:
    kind = c.model_type
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    head = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    if kind != "phi3":
        w.add_key_length(head)
        w.add_value_length(head)
    if kind in ("llama", "mistral"):
        w.add_rope_dimension_count(head)
    if kind == "phi3":
        partial = c.rope_parameters.get("partial_rotary_factor", 1.0)
        w.add_rope_dimension_count(int(partial * head))
        w.add_sliding_window(c.sliding_window or 0)
    # Not written for Mistral today, but files of it exist.
    if kind in ("mistral", "gemma2", "gemma3_text", "gpt_oss") and c.sliding_window:
        w.add_sliding_window(c.sliding_window)
    if kind == "gemma2":
        w.add_attn_logit_softcapping(c.attn_logit_softcapping)
        w.add_final_logit_softcapping(c.final_logit_softcapping)
    if kind in ("qwen3_moe", "gpt_oss"):
        width = c.moe_intermediate_size if kind == "qwen3_moe" else c.intermediate_size
        w.add_expert_feed_forward_length(width)
        w.add_expert_count(c.num_local_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
    rope = c.rope_parameters.get("full_attention", c.rope_parameters)
    if kind != "gemma2":  # the usual base, which its converter leaves out
        w.add_rope_freq_base(rope["rope_theta"])
    if local := c.rope_parameters.get("sliding_attention"):
        w.add_rope_freq_base_swa(local["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        w.add_string(f"{w.arch}.rope.scaling.type", rope["rope_type"])
        w.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        w.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
        if "beta_fast" in rope:
            w.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
            w.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])


def _rope_tables(w: Any, c: Any) -> dict[str, np.ndarray]:
    """Factors of the rotary frequencies, which some families hold in tensors."""
    rope = c.rope_parameters
    if rope.get("rope_type") == "llama3":
        factors = []
        for i in range(c.head_dim // 2):
            wave = 2 * math.pi * rope["rope_theta"] ** (2 * i / c.head_dim)
            low, high = rope["low_freq_factor"], rope["high_freq_factor"]
            if wave < 8192 / high:
                factors.append(1.0)
            elif wave > 8192 / low:
                factors.append(rope["factor"])
            else:
                smooth = (8192 / wave - low) / (high - low)
                factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        return {"rope_freqs.weight": np.array(factors, np.float32)}
    if rope.get("rope_type") == "longrope":
        inside = rope["original_max_position_embeddings"]
        scale = c.max_position_embeddings / inside
        w.add_rope_scaling_orig_ctx_len(inside)
        w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(inside)))
        return {
            f"rope_factors_{kind}.weight": np.array(rope[f"{kind}_factor"], np.float32)
            for kind in ("short", "long")
        }
    return {}
