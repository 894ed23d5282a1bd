"""Tiny random models of every family, made by `transformers`, small enough for every feature.

Windows, original context lengths and soft caps are so small that they matter in the 150 tokens of
a test, and no bias, norm or sink is left at its neutral value.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from condmis_jax.models import DecoderConfig, logits

T = 150
run = jax.jit(logits, static_argnums=0)

SIZES: dict[str, Any] = {
    "vocab_size": 131,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.3],
    "long_factor": [1.5, 2.5, 4.0],
    "original_max_position_embeddings": 80,
}
GEMMA = {"head_dim": 16, "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 24}
KINDS = ["sliding_attention", "full_attention", "sliding_attention"]

# The name up to the first "-" is what the table of docs/models.md calls the family.
CASES: dict[str, dict[str, Any]] = {
    "qwen2-tied": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen2-untied": {"model_type": "qwen2", "tie_word_embeddings": False, "rope_theta": 500.0},
    "qwen2-sliding": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 9,
        "max_window_layers": 1,
        "rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0}
        | {"original_max_position_embeddings": 64},
    },
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": True, "head_dim": 16},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True, "rms_norm_eps": 1e-3},
    "llama-biases": {
        "model_type": "llama",
        "tie_word_embeddings": False,
        "attention_bias": True,
        "head_dim": 16,
        "rope_theta": 500.0,
    },
    "llama3": {"model_type": "llama", "tie_word_embeddings": True, "rope_parameters": LLAMA3},
    "mistral": {"model_type": "mistral", "sliding_window": None, "head_dim": 16},
    "mistral-sliding": {"model_type": "mistral", "sliding_window": 9},
    "gemma2": {
        "model_type": "gemma2",
        "sliding_window": 9,
        "attn_logit_softcapping": 0.7,
        "final_logit_softcapping": 4.0,
        **GEMMA,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "sliding_window": 9,
        "layer_types": KINDS,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "rope_theta": 5000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
        **GEMMA,
    },
    "olmo2": {"model_type": "olmo2", "attention_bias": True},
    "phi3": {"model_type": "phi3", "sliding_window": 9},
    "phi3-longrope": {
        "model_type": "phi3",
        "rope_parameters": LONGROPE,
        "original_max_position_embeddings": LONGROPE["original_max_position_embeddings"],
    },
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "norm_topk_prob": True,
    },
    "qwen3_moe-plain": {
        "model_type": "qwen3_moe",
        "num_experts": 6,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 24,
        "norm_topk_prob": False,
        "use_sliding_window": True,
        "sliding_window": 9,
        "tie_word_embeddings": True,
    },
    "gpt_oss": {
        "model_type": "gpt_oss",
        "num_local_experts": 6,
        "num_experts_per_tok": 2,
        "head_dim": 8,
        "sliding_window": 9,
        "swiglu_limit": 1.5,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 500.0,
            "factor": 8.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 32,
        },
    },
}


def torch_model(case: str, **changes: Any) -> Any:
    """The random model of a case, some settings of it changed."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    options = CASES[case] | changes
    theta = options.pop("rope_theta", 10_000.0)
    options.setdefault("rope_parameters", {"rope_type": "default", "rope_theta": theta})
    config = AutoConfig.for_model(**{**SIZES, **options})
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(("bias", "sinks")):
                value.normal_(0, 0.5)
            elif "norm" in name:
                # Gemma's norms multiply by 1 + weight.
                value.normal_(0.0 if "gemma" in config.model_type else 1.0, 0.2)
    return model.eval()


def load_torch(folder: Any) -> Any:
    """The model of a folder, as `transformers` reads it."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, attn_implementation="eager"
    )
    return model.eval()


def torch_logits(model: Any, tokens: np.ndarray) -> np.ndarray:
    """Logits [B, T, V] of tokens [B, T]."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(tokens, np.int64))).logits.float().numpy()


def random_tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, SIZES["vocab_size"], shape).astype(np.int32)


def rows() -> tuple[dict[str, np.ndarray], list[tuple[int, int, int]]]:
    """Two packed rows: one conversation of T tokens; two shorter ones and padding.

    Returns:
        tokens, positions, segments [2, T], and (row, start, length) of each conversation.
    """
    places = [(0, 0, T), (1, 0, 70), (1, 70, 60)]
    batch = {"tokens": random_tokens(2, T)}
    batch["positions"], batch["segments"] = np.zeros((2, 2, T), np.int32)
    for segment, (row, start, n) in enumerate(places, 1):
        batch["positions"][row, start : start + n] = np.arange(n)
        batch["segments"][row, start : start + n] = segment
    return batch, places


def worst(config: DecoderConfig, params: Any, model: Any) -> float:
    """Largest difference of a logit from torch's, each conversation alone there, packed here."""
    batch, places = rows()
    ours = np.asarray(run(config, params, **batch))
    assert np.isfinite(ours).all()
    differences = []
    for row, start, n in places:
        theirs = torch_logits(model, batch["tokens"][row : row + 1, start : start + n])
        assert theirs.std() > 0.5
        differences.append(np.abs(ours[row, start : start + n] - theirs[0]).max())
    return float(max(differences))
