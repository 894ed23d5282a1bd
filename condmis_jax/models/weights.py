"""The weight table: every parameter of the decoder, declared once.

Shape, logical axes, initialiser and Hugging Face name stand side by side here; initialisation,
sharding, import and export are derived from the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from condmis_jax.models.config import DecoderConfig
from condmis_jax.sharding import weight_sharding

Params = dict[str, jax.Array]

AXIS_OF_LETTER = {
    "L": "layers",
    "D": "embed",
    "N": "heads",
    "K": "kv_heads",
    "H": "head",
    "F": "mlp",
    "V": "vocab",
}


@dataclass(frozen=True)
class Weight:
    """One parameter.

    Attributes:
        name: its key in the parameter dictionary.
        letters: its shape in shape letters; a leading L means stacked over layers.
        hf: its Hugging Face name, with `{layer}` when stacked.
        hf_letters: the Hugging Face shape in the same letters, axes flattened by the checkpoint in
            parentheses: "(N H) D" is a matrix of N*H rows and D columns.
        init: "normal" (std 0.02), "zeros" or "ones".
    """

    name: str
    letters: str
    hf: str
    hf_letters: str
    init: Literal["normal", "zeros", "ones"] = "normal"

    @property
    def stacked(self) -> bool:
        return self.letters.startswith("L")

    @property
    def axes(self) -> tuple[str, ...]:
        """Logical axes. A norm's vector is replicated, its width is too small to be worth it."""
        if self.init == "ones":
            return tuple("layers" if c == "L" else "norm" for c in self.letters)
        return tuple(AXIS_OF_LETTER[c] for c in self.letters)

    def shape(self, config: DecoderConfig) -> tuple[int, ...]:
        return tuple(config.sizes[c] for c in self.letters)

    def hf_names(self, config: DecoderConfig) -> list[str]:
        """Names in the checkpoint, one for each layer when stacked."""
        if not self.stacked:
            return [self.hf]
        return [self.hf.format(layer=layer) for layer in range(config.L)]

    def hf_shape(self, config: DecoderConfig) -> tuple[int, ...]:
        """Shape of one tensor in the checkpoint."""
        shape, size, inside = [], 1, False
        for c in self.hf_letters.replace(" ", ""):
            if c == "(":
                size, inside = 1, True
            elif c == ")":
                shape.append(size)
                inside = False
            elif inside:
                size *= config.sizes[c]
            else:
                shape.append(config.sizes[c])
        return tuple(shape)

    def _orders(self) -> tuple[str, str]:
        ours = self.letters.removeprefix("L")
        theirs = "".join(c for c in self.hf_letters if c.isalpha())
        return ours, theirs

    def from_hf(self, tensor: np.ndarray, config: DecoderConfig) -> np.ndarray:
        """One tensor of the checkpoint in our layout (a view where possible)."""
        ours, theirs = self._orders()
        split = tensor.reshape([config.sizes[c] for c in theirs])
        return split.transpose([theirs.index(c) for c in ours])

    def to_hf(self, array: np.ndarray, config: DecoderConfig) -> np.ndarray:
        """The inverse of `from_hf`, contiguous."""
        ours, theirs = self._orders()
        merged = array.transpose([ours.index(c) for c in theirs]).reshape(self.hf_shape(config))
        return np.ascontiguousarray(merged)


def weight_table(config: DecoderConfig) -> tuple[Weight, ...]:
    """Every parameter of a decoder of this config."""
    block = "model.layers.{layer}."
    attention = block + "self_attn."
    table = [
        Weight("embed", "VD", "model.embed_tokens.weight", "V D"),
        Weight("attn_norm", "LD", block + "input_layernorm.weight", "D", "ones"),
        Weight("q", "LDNH", attention + "q_proj.weight", "(N H) D"),
        Weight("k", "LDKH", attention + "k_proj.weight", "(K H) D"),
        Weight("v", "LDKH", attention + "v_proj.weight", "(K H) D"),
        Weight("o", "LNHD", attention + "o_proj.weight", "D (N H)"),
        Weight("mlp_norm", "LD", block + "post_attention_layernorm.weight", "D", "ones"),
        Weight("gate", "LDF", block + "mlp.gate_proj.weight", "F D"),
        Weight("up", "LDF", block + "mlp.up_proj.weight", "F D"),
        Weight("down", "LFD", block + "mlp.down_proj.weight", "D F"),
        Weight("norm", "D", "model.norm.weight", "D", "ones"),
    ]
    if config.qkv_bias:
        table += [
            Weight("q_bias", "LNH", attention + "q_proj.bias", "(N H)", "zeros"),
            Weight("k_bias", "LKH", attention + "k_proj.bias", "(K H)", "zeros"),
            Weight("v_bias", "LKH", attention + "v_proj.bias", "(K H)", "zeros"),
        ]
    if config.output_bias:
        table.append(Weight("o_bias", "LD", attention + "o_proj.bias", "D", "zeros"))
    if not config.tied:
        table.append(Weight("unembed", "VD", "lm_head.weight", "V D"))
    return tuple(table)


def unembedding(params: Mapping[str, jax.Array]) -> jax.Array:
    """The [V, D] matrix that turns hidden states into logits."""
    return params["unembed"] if "unembed" in params else params["embed"]


def shardings(config: DecoderConfig, mesh: Mesh) -> dict[str, NamedSharding]:
    """The sharding of every parameter on this mesh."""
    return {w.name: weight_sharding(mesh, w.axes, w.shape(config)) for w in weight_table(config)}


def init_params(config: DecoderConfig, seed: int, mesh: Mesh) -> Params:
    """Random float32 parameters, created directly on the mesh.

    The noise of a weight depends on the seed and its place in the table only, so the mesh does not
    change it.
    """

    def make() -> Params:
        params = {}
        for i, w in enumerate(weight_table(config)):
            shape = w.shape(config)
            if w.init == "normal":
                key = jax.random.fold_in(jax.random.key(seed), i)
                params[w.name] = 0.02 * jax.random.normal(key, shape, jnp.float32)
            else:
                params[w.name] = jnp.full(shape, float(w.init == "ones"), jnp.float32)
        return params

    return jax.jit(make, out_shardings=shardings(config, mesh))()
