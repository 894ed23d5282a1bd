"""From `config.json` to `DecoderConfig`: what each model family says, in one short function each.

Source of every default and formula: `configuration_*.py` and `modeling_*.py` of the family in
transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.models._reader import Reader
from condmis_jax.models.config import Activation, DecoderConfig
from condmis_jax.models.rope import read_rope

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
}
SLIDING, FULL = "sliding_attention", "full_attention"


def _common(c: Reader, *, head: int | None = None, act: str = "silu") -> dict[str, Any]:
    """Fields that every family has, with the plainest choice for the others."""
    D, N, L = c.size("hidden_size"), c.size("num_attention_heads"), c.size("num_hidden_layers")
    K, H = c.size("num_key_value_heads", N), c.size("head_dim", head or D // N)
    if N % K:
        raise c.error(f"num_attention_heads {N} is not a multiple of num_key_value_heads {K}")
    name = c.get("hidden_activation", c.get("hidden_act", act))
    c.refuse(name not in ACTIVATIONS, f"hidden_act {name!r}")
    c.refuse(c.get("mlp_bias"), "mlp_bias")
    c.refuse(c.get("use_bidirectional_attention"), "use_bidirectional_attention")
    bias = bool(c.get("attention_bias", False))
    return {
        "V": c.size("vocab_size"),
        "D": D,
        "L": L,
        "N": N,
        "K": K,
        "H": H,
        "F": c.size("intermediate_size"),
        "ropes": (),
        "layer_ropes": (0,) * L,
        "windows": (0,) * L,
        "rms_eps": c.number("rms_norm_eps", 1e-6),
        "tied": bool(c.get("tie_word_embeddings", False)),
        "qkv_bias": bias,
        "output_bias": bias,
        "max_positions": c.size("max_position_embeddings"),
        "query_scale": H**-0.5,
        "activation": ACTIVATIONS[name],
    }


def _layer_kinds(c: Reader, L: int, default: list[str]) -> list[str]:
    """`layer_types`, the kind of each layer."""
    kinds = c.get("layer_types", default)
    if not isinstance(kinds, list) or len(kinds) != L:
        raise c.error(f"layer_types must be a list of {L} names")
    for kind in kinds:
        c.refuse(kind not in (SLIDING, FULL), f"layer type {kind!r}")
    return kinds


def _windows(c: Reader, kinds: list[str]) -> tuple[int, ...]:
    """The window of each layer, from its kind."""
    if SLIDING not in kinds:
        return (0,) * len(kinds)
    window = c.size("sliding_window")
    return tuple(window if kind == SLIDING else 0 for kind in kinds)


def _same_windows(c: Reader, L: int) -> tuple[int, ...]:
    """The same window in every layer, where there is one."""
    return (c.size("sliding_window") if c.get("sliding_window") else 0,) * L


def _llama(c: Reader) -> dict[str, Any]:
    fields = _common(c)
    return fields | {"ropes": (read_rope(c, fields["H"]),)}


def _mistral(c: Reader) -> dict[str, Any]:
    fields = _llama(c)
    windows = _same_windows(c, fields["L"])
    return fields | {"windows": windows, "qkv_bias": False, "output_bias": False}


def _qwen(c: Reader) -> dict[str, Any]:
    """Qwen 2 and 3: the upper layers may slide, where `use_sliding_window` says so."""
    fields = _llama(c)
    if not c.get("use_sliding_window"):
        return fields
    first = c.get("max_window_layers", 28)
    default = [SLIDING if i >= first else FULL for i in range(fields["L"])]
    return fields | {"windows": _windows(c, _layer_kinds(c, fields["L"], default))}


def _qwen2(c: Reader) -> dict[str, Any]:
    return _qwen(c) | {"qkv_bias": True, "output_bias": False}


def _qwen3(c: Reader) -> dict[str, Any]:
    return _qwen(c) | {"qk_norm": "head"}


def _olmo2(c: Reader) -> dict[str, Any]:
    return _llama(c) | {"norms": "post", "qk_norm": "all"}


def _phi3(c: Reader) -> dict[str, Any]:
    fields = _llama(c)
    return fields | {
        "windows": _same_windows(c, fields["L"]),
        "fused": True,
        "qkv_bias": False,
        "output_bias": False,
    }


def _gemma(c: Reader) -> dict[str, Any]:
    """What Gemma 2 and 3 have in common."""
    fields = _common(c, head=256, act="gelu_pytorch_tanh")
    return fields | {
        "tied": bool(c.get("tie_word_embeddings", True)),
        "norms": "both",
        "norm_plus_one": True,
        "embed_scale": fields["D"] ** 0.5,
        "query_scale": c.number("query_pre_attn_scalar", 256) ** -0.5,
    }


def _gemma2(c: Reader) -> dict[str, Any]:
    fields = _gemma(c)
    L = fields["L"]
    kinds = _layer_kinds(c, L, [FULL if i % 2 else SLIDING for i in range(L)])
    return fields | {
        "ropes": (read_rope(c, fields["H"]),),
        "windows": _windows(c, kinds),
        "attention_softcap": c.optional("attn_logit_softcapping", 50.0) or 0.0,
        "final_softcap": c.optional("final_logit_softcapping", 30.0) or 0.0,
    }


# A published Gemma 3 leaves out what its class has as default.
_GEMMA3 = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131_072,
    "sliding_window": 4096,
}


def _gemma3(c: Reader) -> dict[str, Any]:
    c = Reader({**_GEMMA3, **c.raw}, c.where, c.family)
    fields = _gemma(c)
    L, H = fields["L"], fields["H"]
    c.refuse(c.get("attn_logit_softcapping"), "attn_logit_softcapping")
    every = c.get("sliding_window_pattern", 6)
    kinds = _layer_kinds(c, L, [SLIDING if (i + 1) % every else FULL for i in range(L)])
    wide, narrow = c.number("rope_theta", 1e6), c.number("rope_local_base_freq", 1e4)
    if c.get("rope_parameters"):
        tables = c.inner("rope_parameters")
        scaling, local = tables.inner(FULL), tables.inner(SLIDING)
    else:
        scaling, local = c.inner("rope_scaling"), Reader({}, c.where, c.family)
    ropes = (read_rope(c, H, wide, scaling), read_rope(c, H, narrow, local))
    return fields | {
        "ropes": ropes,
        "qk_norm": "head",
        "layer_ropes": tuple(int(kind == SLIDING) for kind in kinds),
        "windows": _windows(c, kinds),
        "final_softcap": c.optional("final_logit_softcapping") or 0.0,
    }


def _experts(c: Reader) -> dict[str, Any]:
    E = c.size("num_experts") if "num_experts" in c.raw else c.size("num_local_experts")
    chosen = c.size("num_experts_per_tok")
    if chosen > E:
        raise c.error(f"num_experts_per_tok {chosen} is more than the {E} experts")
    return {"E": E, "experts_per_token": chosen}


def _qwen3_moe(c: Reader) -> dict[str, Any]:
    fields = _llama(c) | _experts(c)
    c.refuse(c.get("mlp_only_layers"), "mlp_only_layers")
    c.refuse(c.get("decoder_sparse_step", 1) != 1, "decoder_sparse_step")
    sliding = bool(c.get("use_sliding_window"))
    return fields | {
        "F": c.size("moe_intermediate_size"),
        "qk_norm": "head",
        "router_renormalised": bool(c.get("norm_topk_prob", False)),
        "windows": _same_windows(c, fields["L"]) if sliding else fields["windows"],
    }


def _gpt_oss(c: Reader) -> dict[str, Any]:
    fields = _common(c, head=64) | _experts(c)
    L = fields["L"]
    bias = bool(c.get("attention_bias", True))
    kinds = _layer_kinds(c, L, [FULL if i % 2 else SLIDING for i in range(L)])
    return fields | {
        "ropes": (read_rope(c, fields["H"], 150_000.0),),
        "windows": _windows(c, kinds),
        "qkv_bias": bias,
        "output_bias": bias,
        "sinks": True,
        "activation": "clamped",
        "clamp": c.number("swiglu_limit", 7.0),
        "gate_gain": c.number("swiglu_alpha", 1.702),
        "router_renormalised": True,
        "experts_joined": True,
    }


def _text_part(raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The config of the language model inside a Gemma 3 that also sees; an export is that alone."""
    text = raw.get("text_config")
    if not isinstance(text, Mapping):
        raise UserError(f"{where}: text_config must be an object, got {text!r}")
    ids = {k: raw[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id") if k in raw}
    own = {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"]}
    return {**text, **ids, **own}


FAMILIES: dict[str, Callable[[Reader], dict[str, Any]]] = {
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "llama": _llama,
    "mistral": _mistral,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "olmo2": _olmo2,
    "phi3": _phi3,
    "qwen3_moe": _qwen3_moe,
    "gpt_oss": _gpt_oss,
}


def read_config(raw: Mapping[str, Any], where: str) -> DecoderConfig:
    """Reads the content of a `config.json`; see `DecoderConfig.from_dict`."""
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: expected a JSON object")
    _refuse_quantised(raw, where)
    if raw.get("model_type") == "gemma3":
        raw, where = _text_part(raw, where), f"{where}: text_config"
    family = raw.get("model_type")
    if family not in FAMILIES:
        known = ", ".join(sorted([*FAMILIES, "gemma3"]))
        raise UserError(f"{where}: model_type {family!r} is not supported; supported: {known}")
    fields = FAMILIES[family](Reader(raw, where, family))
    return DecoderConfig(family=family, **fields, raw=dict(raw))


def _refuse_quantised(raw: Mapping[str, Any], where: str) -> None:
    if quantised := raw.get("quantization_config"):
        method = quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised
        raise UserError(
            f"{where}: quantization_config: a checkpoint quantised with {method!r} is not read; "
            "use one in bfloat16 or float32"
        )
