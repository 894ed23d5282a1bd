"""What a decoder looks like, read from a Hugging Face `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.models.lora import Lora

FAMILIES = ("qwen2", "llama")


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and switches of one decoder; the letters are those of ARCHITECTURE.md.

    Attributes:
        family: Hugging Face `model_type`.
        V, D, L, N, K, H, F: vocabulary, model width, layers, query heads, key/value heads, head
            width, feed-forward width.
        rope_theta: base of the rotary frequencies.
        rms_eps: epsilon of RMSNorm.
        tied: the unembedding is the embedding.
        qkv_bias, output_bias: biases of the attention projections.
        max_positions: longest sequence the model was made for.
        lora: adapters beside the weights, which are then frozen; never read from config.json.
        raw: `config.json` as it was read; an export writes it back.
    """

    family: str
    V: int
    D: int
    L: int
    N: int
    K: int
    H: int
    F: int
    rope_theta: float
    rms_eps: float
    tied: bool
    qkv_bias: bool
    output_bias: bool
    max_positions: int
    lora: Lora | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False, repr=False)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each shape letter that a weight can have."""
        rank = {"r": self.lora.rank} if self.lora else {}
        return {letter: getattr(self, letter) for letter in "VDLNKHF"} | rank

    @classmethod
    def from_folder(cls, folder: Path) -> DecoderConfig:
        """Reads `folder/config.json`.

        Raises:
            UserError: the file is missing or broken, or describes something unsupported.
        """
        path = folder / "config.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file; a model folder holds config.json") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not readable as JSON ({error})") from None
        return cls.from_dict(raw, str(path))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], where: str = "config.json") -> DecoderConfig:
        """Reads the content of a `config.json`.

        Raises:
            UserError: an unsupported architecture or feature, or a missing size; names the key.
        """
        if not isinstance(raw, Mapping):
            raise UserError(f"{where}: expected a JSON object")
        family = raw.get("model_type")
        if family not in FAMILIES:
            raise UserError(
                f"{where}: model_type {family!r} is not supported; supported: {', '.join(FAMILIES)}"
            )

        def need(key: str, default: int | None = None) -> int:
            value = default if raw.get(key) is None else raw[key]
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{where}: {key} must be a positive integer, got {value!r}")
            return value

        def number(values: Mapping[str, Any], key: str, default: float) -> float:
            value = values.get(key, default)
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise UserError(f"{where}: {key} must be a positive number, got {value!r}")
            return float(value)

        def refuse(condition: bool, what: str) -> None:
            if condition:
                raise UserError(f"{where}: {what} is not supported for model_type {family}")

        rope = raw.get("rope_parameters") or raw.get("rope_scaling") or {}
        if not isinstance(rope, Mapping):
            raise UserError(f"{where}: rope_parameters must be an object, got {rope!r}")
        refuse(
            rope.get("rope_type", rope.get("type", "default")) != "default",
            f"rotary scaling {rope.get('rope_type', rope.get('type'))!r}",
        )
        refuse(raw.get("hidden_act", "silu") != "silu", f"hidden_act {raw.get('hidden_act')!r}")
        refuse(bool(raw.get("mlp_bias")), "mlp_bias")
        refuse(bool(raw.get("use_sliding_window")), "use_sliding_window")
        D, N = need("hidden_size"), need("num_attention_heads")
        K, H = need("num_key_value_heads", N), need("head_dim", D // N)
        if N % K:
            raise UserError(
                f"{where}: num_attention_heads {N} is not a multiple of num_key_value_heads {K}"
            )
        bias = bool(raw.get("attention_bias", False))
        return cls(
            family=family,
            V=need("vocab_size"),
            D=D,
            L=need("num_hidden_layers"),
            N=N,
            K=K,
            H=H,
            F=need("intermediate_size"),
            rope_theta=number(rope if "rope_theta" in rope else raw, "rope_theta", 10_000.0),
            rms_eps=number(raw, "rms_norm_eps", 1e-6),
            tied=bool(raw.get("tie_word_embeddings", False)),
            qkv_bias=True if family == "qwen2" else bias,
            output_bias=bias if family == "llama" else False,
            max_positions=need("max_position_embeddings"),
            raw=dict(raw),
        )
