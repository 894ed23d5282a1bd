"""What a decoder looks like: sizes and switches, as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from condmis_jax.errors import UserError
from condmis_jax.models.lora import Lora
from condmis_jax.models.rope import Rope

Activation = Literal["silu", "gelu_tanh", "gelu", "clamped"]


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and switches of one decoder; the letters are those of ARCHITECTURE.md.

    Attributes:
        family: Hugging Face `model_type`.
        V, D, L, N, K, H, F, E: vocabulary, model width, layers, query heads, key/value heads, head
            width, feed-forward width (of one expert, where there are experts), experts.
        ropes: tables of rotary frequencies.
        layer_ropes: [L], which of them each layer uses.
        windows: [L], how many keys a query sees, itself included; 0 for all of them.
        rms_eps: epsilon of RMSNorm.
        tied: the unembedding is the embedding.
        qkv_bias, output_bias: biases of the attention projections.
        max_positions: longest sequence the model was made for.
        activation: of the feed-forward gate; "clamped" is gpt-oss's, with `clamp` and `gate_gain`.
        norms: norms before attention and feed-forward, behind them, or both.
        norm_plus_one: a norm multiplies by 1 + weight.
        qk_norm: a norm of queries and keys, over each head or over all of them together.
        query_scale: multiplies attention scores.
        attention_softcap, final_softcap: c in c * tanh(x / c) of scores and of logits; 0 for none.
        embed_scale: multiplies embeddings.
        sinks: every query head has a logit that takes part in its softmax and has no value.
        fused: the checkpoint holds q, k, v in one tensor and gate, up in another.
        experts_per_token: experts that a token goes through.
        router_renormalised: weights of the chosen experts add up to 1.
        experts_joined: the checkpoint holds all experts of a layer in one tensor.
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
    ropes: tuple[Rope, ...]
    layer_ropes: tuple[int, ...]
    windows: tuple[int, ...]
    rms_eps: float
    tied: bool
    qkv_bias: bool
    output_bias: bool
    max_positions: int
    query_scale: float
    activation: Activation = "silu"
    clamp: float = 0.0
    gate_gain: float = 1.0
    norms: Literal["pre", "post", "both"] = "pre"
    norm_plus_one: bool = False
    qk_norm: Literal["none", "head", "all"] = "none"
    attention_softcap: float = 0.0
    final_softcap: float = 0.0
    embed_scale: float = 1.0
    sinks: bool = False
    fused: bool = False
    E: int = 0
    experts_per_token: int = 0
    router_renormalised: bool = False
    experts_joined: bool = False
    lora: Lora | None = field(default=None, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False, repr=False)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each shape letter that a weight can have."""
        rank = {"r": self.lora.rank} if self.lora else {}
        return {letter: getattr(self, letter) for letter in "VDLNKHFE"} | rank

    @property
    def needs_lengths(self) -> bool:
        """Whether rotary positions depend on how long a conversation is."""
        return any(rope.long for rope in self.ropes)

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
        from condmis_jax.models.families import read_config

        return read_config(raw, where)
