"""The weight table: every parameter of the decoder, declared once.

Shape, logical axes, initialiser and Hugging Face name stand side by side here; initialisation,
sharding, import and export are derived from the table, LoRA adapters included.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from condmis_jax.errors import UserError
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.lora import TARGETS
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
    "r": "rank",
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
        init: "normal" (std 0.02), "zeros", "ones", or "uniform" within 1 / sqrt(inputs), which is
            the Kaiming initialiser with a = sqrt(5) that peft gives to A.
        adapts: name of the weight that this one is a LoRA factor of.
        trained: whether gradients and optimiser state exist for it.
        dtype: how it is held; what is trained is held in float32.
    """

    name: str
    letters: str
    hf: str
    hf_letters: str
    init: Literal["normal", "zeros", "ones", "uniform"] = "normal"
    adapts: str | None = None
    trained: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"

    @property
    def stacked(self) -> bool:
        return self.letters.startswith("L")

    @property
    def axes(self) -> tuple[str, ...]:
        """Logical axes. A norm's vector is replicated, its width is too small to be worth it."""
        if self.init == "ones":
            return tuple("layers" if c == "L" else "norm" for c in self.letters)
        return tuple(AXIS_OF_LETTER[c] for c in self.letters)

    @property
    def decayed(self) -> bool:
        """Whether weight decay applies: to matrices, not to norms and biases."""
        return self.init == "normal" or self.adapts is not None

    def shape(self, config: DecoderConfig) -> tuple[int, ...]:
        return tuple(config.sizes[c] for c in self.letters)

    def fan_in(self, config: DecoderConfig) -> int:
        """Inputs of this matrix: the columns of the tensor in the checkpoint."""
        return self.hf_shape(config)[-1]

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


UNEMBED = Weight("unembed", "VD", "lm_head.weight", "V D")


def weight_table(config: DecoderConfig) -> tuple[Weight, ...]:
    """Every parameter of a decoder of this config; with adapters, those come last.

    Raises:
        UserError: an adapter's target is not a linear map of this model.
    """
    base = _base_table(config)
    if config.lora is None:
        return base
    frozen = [replace(w, trained=False, dtype=config.lora.base_dtype) for w in base]
    return (*frozen, *(a for target in config.lora.targets for a in _adapters(target, config)))


def trained_names(config: DecoderConfig) -> tuple[str, ...]:
    """Names of the parameters that training changes."""
    return tuple(w.name for w in weight_table(config) if w.trained)


def adaptable(config: DecoderConfig) -> tuple[str, ...]:
    """What of `lora.TARGETS` a decoder of this config has."""
    names = {w.name for w in _base_table(config)}
    return tuple(t for t in TARGETS if t in names or t == "unembed")


def _adapters(target: str, config: DecoderConfig) -> tuple[Weight, Weight]:
    """A and B of one linear map, under the names that peft gives them."""
    # A tied unembedding has an adapter of its own: the embedding side stays as it is.
    by_name = {w.name: w for w in _base_table(config)} | {"unembed": UNEMBED}
    if target not in by_name:
        raise UserError(
            f"config.lora.targets: {target!r} is not a linear map of a {config.family} decoder; "
            f"it has {', '.join(adaptable(config))}"
        )
    w = by_name[target]
    outputs, inputs = _groups(w.hf_letters)
    stack = "L" if w.stacked else ""
    name = "base_model.model." + w.hf.removesuffix(".weight")
    return (
        Weight(
            f"{target}.a",
            f"{stack}{inputs}r",
            f"{name}.lora_A.weight",
            f"r ({inputs})",
            "uniform",
            adapts=target,
        ),
        Weight(
            f"{target}.b",
            f"{stack}r{outputs}",
            f"{name}.lora_B.weight",
            f"({outputs}) r",
            "zeros",
            adapts=target,
        ),
    )


def _groups(hf_letters: str) -> list[str]:
    """Rows and columns of a matrix: "(N H) D" is ["NH", "D"]."""
    found = re.findall(r"\(([^)]*)\)|([A-Za-z])", hf_letters)
    return [group.replace(" ", "") or letter for group, letter in found]


def _base_table(config: DecoderConfig) -> tuple[Weight, ...]:
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
        table.append(UNEMBED)
    return tuple(table)


def unembedding(params: Mapping[str, jax.Array]) -> jax.Array:
    """The [V, D] matrix that turns hidden states into logits, without its adapter."""
    return params["unembed"] if "unembed" in params else params["embed"]


def shardings(config: DecoderConfig, mesh: Mesh) -> dict[str, NamedSharding]:
    """The sharding of every parameter on this mesh."""
    return {w.name: weight_sharding(mesh, w.axes, w.shape(config)) for w in weight_table(config)}


def init_params(
    config: DecoderConfig, seed: int, mesh: Mesh, *, only: Collection[str] | None = None
) -> Params:
    """Random parameters, created directly on the mesh.

    Args:
        only: names of the parameters to make; all of them by default.

    The noise of a weight depends on the seed and its place in the table only, so the mesh does not
    change it.
    """

    def make() -> Params:
        params = {}
        for i, w in enumerate(weight_table(config)):
            if w.name not in places:
                continue
            shape = w.shape(config)
            key = jax.random.fold_in(jax.random.key(seed), i)
            if w.init == "normal":
                value = 0.02 * jax.random.normal(key, shape, jnp.float32)
            elif w.init == "uniform":
                most = w.fan_in(config) ** -0.5
                value = jax.random.uniform(key, shape, jnp.float32, -most, most)
            else:
                value = jnp.full(shape, float(w.init == "ones"), jnp.float32)
            params[w.name] = value.astype(w.dtype)
        return params

    places = shardings(config, mesh)
    if only is not None:
        places = {name: places[name] for name in only}
    return jax.jit(make, out_shardings=places)()
