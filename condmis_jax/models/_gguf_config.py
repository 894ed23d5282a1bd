"""From the metadata of a GGUF file to the `config.json` of the same model.

Source: metadata keys from ggml-org/ggml, docs/gguf.md, and what each means for a family from the
converters of ggml-org/llama.cpp (conversion/*.py) and its loader (src/llama-model.cpp). What a file
does not state has the value that the published models of its family have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from condmis_jax.errors import UserError

PROCEED = "use the model's Hugging Face folder instead of the .gguf file"
# Tables of rotary factors; they become part of config.json.
ROPE_TABLES = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
# Metadata that would change the computation, and the values that leave it as it is.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "expert_gating_func": (1, 3),  # a softmax over all experts, or over the chosen ones
    "expert_shared_count": (0,),
    "leading_dense_block_count": (0,),
    "rope.scale_linear": (1.0, 0.0),
    "rope.scaling.yarn_ext_factor": (1.0, -1.0),
    "rope.scaling.yarn_log_multiplier": (0.0,),
}
SLIDING, FULL = "sliding_attention", "full_attention"
# (metadata, tensors, what every family has) -> what this family's config.json has beside it.
Family = Callable[["Metadata", Mapping[str, Any], dict[str, Any]], dict[str, Any]]


class Metadata:
    """Typed look-ups in the metadata of a GGUF file.

    Attributes:
        values: key -> value.
        where: the file; errors begin with it.
        architecture: of the model; `get`, `size` and `number` put it before their keys.
    """

    def __init__(self, values: Mapping[str, Any], where: str):
        self.values, self.where = values, where
        self.architecture: str = values.get("general.architecture", "")

    def error(self, what: str, instead: str = PROCEED) -> UserError:
        return UserError(f"{self.where}: {what}; {instead}")

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(f"{self.architecture}.{key}", default)

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self._wrong(key, "one positive integer", value)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number, as it was before it became a float32 of the file."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise self._wrong(key, "one positive number", value)
        return plain(value)

    def refuse(self, key: str, neutral: tuple[Any, ...]) -> None:
        """Raises UserError when the key has another value than these."""
        if (value := self.get(key, neutral[0])) not in neutral:
            raise self.error(f"{self.architecture}.{key} {value!r} is not supported")

    def _wrong(self, key: str, wanted: str, value: Any) -> UserError:
        found = "nothing" if value is None else repr(value)
        return self.error(f"metadata key {self.architecture}.{key} must be {wanted}, got {found}")


def plain(value: Any) -> float:
    """The shortest number that is this float32: 1e-05 rather than 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def hf_config(metadata: Metadata, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The `config.json` that says what the file says.

    Args:
        tensors: name -> tensor of `gguf.GGUFReader`.

    Raises:
        UserError: the architecture or a feature is not supported, or a key is missing.
    """
    m = metadata
    if m.architecture not in ARCHITECTURES:
        raise UserError(
            f"{m.where}: architecture {m.architecture!r} is not supported; supported: "
            f"{', '.join(ARCHITECTURES)}"
        )
    if (parts := m.values.get("split.count", 1)) > 1:
        merge = "merge them with llama.cpp's gguf-split --merge"
        raise m.error(f"one of {parts} parts of a model", merge)
    for key, neutral in _NEUTRAL.items():
        m.refuse(key, neutral)
    common = _common(m, tensors)
    return common | ARCHITECTURES[m.architecture](m, tensors, common)


def _common(m: Metadata, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What every family has."""
    if "token_embd.weight" not in tensors:
        raise m.error("tensor token_embd.weight is missing")
    width, heads = m.size("embedding_length"), m.size("attention.head_count")
    head = m.size("attention.key_length", width // heads)
    keys = ["attention.value_length"] + ["rope.dimension_count"] * (m.architecture != "phi3")
    for key in keys:
        if m.size(key, head) != head:
            raise m.error(
                f"{m.architecture}.{key} {m.size(key)} differs from the head width {head}, which "
                "is not supported"
            )
    # In GGUF the fastest axis comes first, so rows of the embedding are its last axis.
    rows = int(tensors["token_embd.weight"].shape[-1])
    if (words := len(m.values.get("tokenizer.ggml.tokens", ()))) > rows:
        raise m.error(f"{words} tokens but only {rows} rows in token_embd.weight")
    config: dict[str, Any] = {
        "hidden_size": width,
        "intermediate_size": m.size("feed_forward_length"),
        "num_hidden_layers": m.size("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": m.size("attention.head_count_kv", heads),
        "head_dim": head,
        "hidden_act": "silu",
        "max_position_embeddings": m.size("context_length"),
        "rms_norm_eps": m.number("attention.layer_norm_rms_epsilon"),
        "vocab_size": rows,
        "tie_word_embeddings": "output.weight" not in tensors,
        "torch_dtype": "float32",
        "use_cache": True,
    }
    for role, word in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        config[f"{role}_token_id"] = m.values.get(f"tokenizer.ggml.{word}_token_id")
    return config


def _named(model_type: str, name: str) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": [f"{name}ForCausalLM"]}


def _biases(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {"attention_bias": "blk.0.attn_q.bias" in tensors}


def _one_rope(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    rope = _rope(m, tensors, common)
    # transformers 5 reads the second, older ones and other readers the first.
    return {"rope_theta": rope["rope_theta"], "rope_parameters": rope}


def _rope(
    m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any], theta: float = 10_000.0
) -> dict[str, Any]:
    """`rope_parameters`: the base, and the scaling that metadata or a table of factors say."""
    rope: dict[str, Any] = {
        "rope_theta": m.number("rope.freq_base", theta),
        "rope_type": "default",
    }
    kind = m.get("rope.scaling.type", "none")
    if "rope_freqs.weight" in tensors:
        m.refuse("rope.scaling.type", ("none",))
        return rope | _llama3(m, tensors, rope["rope_theta"], common["head_dim"])
    if "rope_factors_long.weight" in tensors:
        m.refuse("rope.scaling.type", ("none", "longrope"))
        return rope | _longrope(m, tensors)
    m.refuse("rope.scaling.attn_factor", (1.0,))
    if kind == "none":
        return rope
    if kind not in ("linear", "yarn"):
        raise m.error(f"{m.architecture}.rope.scaling.type {kind!r} is not supported")
    rope |= {"rope_type": kind, "factor": m.number("rope.scaling.factor")}
    if kind == "linear":
        return rope
    original = m.size("rope.scaling.original_context_length")
    rope["original_max_position_embeddings"] = original
    for key, theirs in (
        ("yarn_beta_fast", "beta_fast"),
        ("yarn_beta_slow", "beta_slow"),
        ("yarn_attn_factor", "attention_factor"),
    ):
        if m.get(f"rope.scaling.{key}") is not None:
            rope[theirs] = m.number(f"rope.scaling.{key}")
    return rope


def _llama3(m: Metadata, tensors: Mapping[str, Any], theta: float, head: int) -> dict[str, Any]:
    """The settings that a table of Llama 3's factors was computed from.

    The table has one number less than its settings, but converters always take 8192 for the
    original context. Where the table has two values between none and all of the factor, they give
    the two bounds; with fewer the bounds are those of the published models.
    """
    table = _values(tensors["rope_freqs.weight"]).astype(np.float64)
    original, factor, low, high = 8192, float(table.max()), 1.0, 4.0
    if table.shape != (head // 2,) or not factor > 1 or table.min() < 1:
        raise m.error(
            f"tensor rope_freqs.weight does not hold {head // 2} numbers from 1 up to a factor"
        )
    turns = original / (2 * math.pi) * theta ** -(np.arange(0, head, 2) / head)
    between = (table > 1) & (table < factor)
    if between.sum() > 1:
        share = (1 / table[between] - 1 / factor) / (1 - 1 / factor)
        slope, start = np.polyfit(turns[between], share, 1)
        low, high = (round(float(n), 3) for n in (-start / slope, (1 - start) / slope))
    share = np.clip((turns - low) / (high - low), 0, 1)
    if not np.allclose(1 / ((1 - share) / factor + share), table, rtol=1e-3):
        raise m.error("the factors of tensor rope_freqs.weight are not those of Llama 3")
    return {
        "rope_type": "llama3",
        "factor": plain(factor),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _longrope(m: Metadata, tensors: Mapping[str, Any]) -> dict[str, Any]:
    if "rope_factors_short.weight" not in tensors:
        raise m.error("tensor rope_factors_short.weight is missing")
    rope: dict[str, Any] = {
        "rope_type": "longrope",
        "original_max_position_embeddings": m.size("rope.scaling.original_context_length"),
    }
    for kind in ("short", "long"):
        values = _values(tensors[f"rope_factors_{kind}.weight"])
        rope[f"{kind}_factor"] = [plain(value) for value in values]
    if m.get("rope.scaling.attn_factor") is not None:
        rope["attention_factor"] = m.number("rope.scaling.attn_factor")
    return rope


def _values(tensor: Any) -> np.ndarray:
    from gguf.quants import dequantize

    return dequantize(tensor.data, tensor.tensor_type).reshape(-1)


def _llama(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """Llama, and Mistral, whose files differ in nothing unless they state its window."""
    m.refuse("expert_count", (0,))
    config = _one_rope(m, tensors, common)
    if window := m.get("attention.sliding_window"):
        return config | _named("mistral", "Mistral") | {"sliding_window": window}
    return config | _named("llama", "Llama") | _biases(tensors) | {"mlp_bias": False}


def _full(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """A family whose layers all see every key."""
    m.refuse("attention.sliding_window", (0,))
    return _one_rope(m, tensors, common)


def _qwen2(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    m.refuse("expert_count", (0,))
    return _full(m, tensors, common) | _named("qwen2", "Qwen2")


def _qwen3(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    m.refuse("expert_count", (0,))
    return _full(m, tensors, common) | _named("qwen3", "Qwen3") | _biases(tensors)


def _olmo2(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return _full(m, tensors, common) | _named("olmo2", "Olmo2") | _biases(tensors)


def _gemma(common: dict[str, Any], largest: int) -> dict[str, Any]:
    """What Gemma 2 and 3 have in common; a file says by its depth alone how scores are scaled."""
    scalar = common["head_dim"]
    if common["num_hidden_layers"] == largest:
        scalar = common["hidden_size"] // common["num_attention_heads"]
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar,
        "attention_bias": False,
    }


def _gemma2(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return (
        _one_rope(m, tensors, common)
        | _named("gemma2", "Gemma2")
        | _gemma(common, 46)
        | {
            "sliding_window": m.size("attention.sliding_window", 4096),
            "attn_logit_softcapping": m.number("attn_logit_softcapping", 50.0),
            "final_logit_softcapping": m.number("final_logit_softcapping", 30.0),
        }
    )


def _gemma3(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    window, every = m.get("attention.sliding_window"), m.get("attention.sliding_window_pattern", 6)
    L = common["num_hidden_layers"]
    slides = [bool(window) and (i + 1) % every > 0 for i in range(L)]
    ropes = {
        FULL: _rope(m, tensors, common, 1e6),
        SLIDING: {"rope_theta": m.number("rope.freq_base_swa", 1e4), "rope_type": "default"},
    }
    config = _named("gemma3_text", "Gemma3") | _gemma(common, 62)
    config |= {"layer_types": [SLIDING if s else FULL for s in slides], "rope_parameters": ropes}
    if window:
        config["sliding_window"] = window
    softcap = m.get("final_logit_softcapping")
    return config | {"final_logit_softcapping": softcap and plain(softcap)}


def _phi3(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    config = _one_rope(m, tensors, common) | _named("phi3", "Phi3")
    rope = config["rope_parameters"]
    head = common["head_dim"]
    rope["partial_rotary_factor"] = m.size("rope.dimension_count", head) / head
    config["original_max_position_embeddings"] = rope.get(
        "original_max_position_embeddings", common["max_position_embeddings"]
    )
    config["partial_rotary_factor"] = rope["partial_rotary_factor"]
    return config | {"sliding_window": m.get("attention.sliding_window") or None}


def _experts(m: Metadata) -> dict[str, Any]:
    return {"num_experts_per_tok": m.size("expert_used_count")}


def _qwen3moe(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return (
        _full(m, tensors, common)
        | _named("qwen3_moe", "Qwen3Moe")
        | _biases(tensors)
        | _experts(m)
        | {
            "num_experts": m.size("expert_count"),
            "moe_intermediate_size": m.size("expert_feed_forward_length"),
            "norm_topk_prob": True,
        }
    )


def _gpt_oss(m: Metadata, tensors: Mapping[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    config = _one_rope(m, tensors, common) | _named("gpt_oss", "GptOss")
    if config["rope_parameters"]["rope_type"] == "yarn":
        # GGUF has no key for it. The published models (transformers `GptOssConfig`) do not round
        # the bounds of yarn's ramp to whole dimensions; llama.cpp rounds those of every model.
        config["rope_parameters"]["truncate"] = False
    return (
        config
        | _biases(tensors)
        | _experts(m)
        | {
            "intermediate_size": m.size("expert_feed_forward_length"),
            "num_local_experts": m.size("expert_count"),
            "sliding_window": m.size("attention.sliding_window"),
            "swiglu_limit": 7.0,
        }
    )


# Names of GGUF; Mistral's files are called llama.
ARCHITECTURES: dict[str, Family] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "olmo2": _olmo2,
    "phi3": _phi3,
    "qwen3moe": _qwen3moe,
    "gpt-oss": _gpt_oss,
}
