"""The weight table: every parameter of the decoder, declared once.

Shape, logical axes, initialiser and Hugging Face name stand side by side here; initialisation,
sharding, import and export are derived from the table, LoRA adapters included.
"""

from __future__ import annotations

import itertools
import math
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
Block = tuple[tuple[int, int], ...]  # (start, stop) along each axis

AXIS_OF_LETTER = {
    "L": "layers",
    "D": "embed",
    "N": "heads",
    "K": "kv_heads",
    "H": "head",
    "F": "mlp",
    "V": "vocab",
    "E": "experts",
    "r": "rank",
}


@dataclass(frozen=True)
class Slice:
    """Which part of a larger Hugging Face tensor a weight is.

    Attributes:
        axis: the axis of the Hugging Face tensor that holds several weights.
        letters: the size along it of each of them, in order, as a product of shape letters.
        place: which of them this one is.
        interleaved: they alternate, element by element, instead of standing one behind another.
    """

    axis: int
    letters: tuple[str, ...]
    place: int
    interleaved: bool = False

    def index(self, config: DecoderConfig, start: int, stop: int) -> slice:
        """Where elements start..stop of this weight are along `axis` of the whole tensor."""
        if self.interleaved:
            step = len(self.letters)
            return slice(self.place + start * step, self.place + (stop - 1) * step + 1, step)
        before = sum(
            math.prod(config.sizes[c] for c in letters) for letters in self.letters[: self.place]
        )
        return slice(before + start, before + stop)

    def total(self, config: DecoderConfig) -> int:
        """Size of the whole tensor along `axis`."""
        return sum(math.prod(config.sizes[c] for c in letters) for letters in self.letters)


@dataclass(frozen=True)
class Weight:
    """One parameter.

    Attributes:
        name: its key in the parameter dictionary.
        letters: its shape in shape letters; a leading L means stacked over layers.
        hf: its Hugging Face name, with `{layer}` when stacked, and `{expert}` when the checkpoint
            holds each expert in a tensor of its own.
        hf_letters: the Hugging Face shape in the same letters, axes flattened by the checkpoint in
            parentheses: "(N H) D" is a matrix of N*H rows and D columns.
        init: "normal" (std 0.02), "zeros", "ones", or "uniform" within 1 / sqrt(inputs), which is
            the Kaiming initialiser with a = sqrt(5) that peft gives to A.
        part: set when the Hugging Face tensor holds other weights too.
        adapts: name of the weight that this one is a LoRA factor of.
        trained: whether gradients and optimiser state exist for it.
        dtype: how it is held; what is trained is held in float32.
    """

    name: str
    letters: str
    hf: str
    hf_letters: str
    init: Literal["normal", "zeros", "ones", "uniform"] = "normal"
    part: Slice | None = None
    adapts: str | None = None
    trained: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"

    @property
    def stacked(self) -> bool:
        return self.letters.startswith("L")

    @property
    def stack(self) -> str:
        """The leading letters that the checkpoint spreads over tensors: "", "L" or "LE"."""
        return self.letters[: self.stacked + ("{expert}" in self.hf)]

    @property
    def axes(self) -> tuple[str, ...]:
        """Logical axes. A norm's vector is replicated, its width is too small to be worth it."""
        if "norm" in self.name:
            return tuple("layers" if c == "L" else "norm" for c in self.letters)
        # Experts are spread over the axis that would split each of them otherwise.
        split = {"F": "expert_mlp"} if "E" in self.letters else {}
        return tuple((AXIS_OF_LETTER | split)[c] for c in self.letters)

    @property
    def decayed(self) -> bool:
        """Whether weight decay applies: to matrices, not to norms and biases."""
        return self.init == "normal" or self.adapts is not None

    def shape(self, config: DecoderConfig) -> tuple[int, ...]:
        return tuple(config.sizes[c] for c in self.letters)

    def fan_in(self, config: DecoderConfig) -> int:
        """Inputs of this matrix: the columns of the tensor in the checkpoint."""
        return self.hf_shape(config)[-1]

    def hf_name(self, index: tuple[int, ...] = ()) -> str:
        """The tensor of the checkpoint that holds place `index` of the stack."""
        return self.hf.format(**dict(zip(("layer", "expert"), index, strict=False)))

    def places(self, config: DecoderConfig) -> list[tuple[str, tuple[int, ...]]]:
        """Each tensor of the checkpoint: its name, and where it stands in the stacked parameter."""
        indices = itertools.product(*(range(config.sizes[c]) for c in self.stack))
        return [(self.hf_name(index), index) for index in indices]

    def hf_names(self, config: DecoderConfig) -> list[str]:
        """Names in the checkpoint, one for each layer (and expert) when stacked."""
        return [name for name, _ in self.places(config)]

    @property
    def _own(self) -> str:
        """Our letters of what one tensor of the checkpoint holds."""
        return self.letters.removeprefix(self.stack)

    @property
    def theirs(self) -> list[str]:
        """The letters of each axis of the checkpoint's tensor: "(N H) D" is ["NH", "D"]."""
        return [
            "".join(c for c in axis if c.isalpha())
            for axis in re.findall(r"\([^)]*\)|\w", self.hf_letters)
        ]

    @property
    def row_axis(self) -> int:
        """Our axis of the first axis of the checkpoint's tensor, whose parts are contiguous."""
        return self.letters.index(self.theirs[0][0], len(self.stack))

    def hf_shape(self, config: DecoderConfig) -> tuple[int, ...]:
        """Shape of one tensor in the checkpoint, other weights in it included."""
        shape = [math.prod(config.sizes[c] for c in letters) for letters in self.theirs]
        if self.part:
            shape[self.part.axis] = self.part.total(config)
        return tuple(shape)

    def whole(self, config: DecoderConfig) -> Block:
        """The block that is all of one tensor's weight."""
        return tuple((0, config.sizes[c]) for c in self._own)

    def region(self, config: DecoderConfig, block: Block) -> tuple[slice, ...]:
        """The part of a tensor of the checkpoint in which a block of this weight lies.

        Args:
            block: (start, stop) along each of our axes behind the stack.
        """
        of = dict(zip(self._own, block, strict=True))
        index = []
        for axis, letters in enumerate(self.theirs):
            inner = math.prod(config.sizes[c] for c in letters[1:])
            start, stop = (n * inner for n in of[letters[0]])
            part = self.part if self.part and self.part.axis == axis else None
            index.append(part.index(config, start, stop) if part else slice(start, stop))
        return tuple(index)

    def from_region(self, tensor: np.ndarray, config: DecoderConfig, block: Block) -> np.ndarray:
        """The block, in our layout, of the part of a tensor that `region` names (a view)."""
        of = dict(zip(self._own, block, strict=True))
        heads = [letters[0] for letters in self.theirs]
        theirs = "".join(self.theirs)
        split = tensor.reshape(
            [of[c][1] - of[c][0] if c in heads else config.sizes[c] for c in theirs]
        )
        cut = tuple(slice(None) if c in heads else slice(*of[c]) for c in theirs)
        return split[cut].transpose([theirs.index(c) for c in self._own])

    def to_hf(self, array: np.ndarray, config: DecoderConfig) -> np.ndarray:
        """One tensor's weight as the checkpoint has it, contiguous."""
        theirs = "".join(self.theirs)
        shape = [math.prod(config.sizes[c] for c in letters) for letters in self.theirs]
        merged = array.transpose([self._own.index(c) for c in theirs]).reshape(shape)
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
    outputs, inputs = w.theirs
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


def _base_table(config: DecoderConfig) -> tuple[Weight, ...]:
    table = [Weight("embed", "VD", "model.embed_tokens.weight", "V D")]
    table += _attention(config)
    table += _experts(config) if config.E else _feed_forward(config)
    table += _norms(config)
    # Initial noise depends on a weight's place, so the plain decoder's weights keep theirs.
    table.sort(key=lambda w: PLAIN.index(w.name) if w.name in PLAIN else len(PLAIN))
    if not config.tied:
        table.append(UNEMBED)
    return tuple(table)


BLOCK = "model.layers.{layer}."
PLAIN = ("embed", "attn_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down", "norm")


def _attention(config: DecoderConfig) -> list[Weight]:
    block = BLOCK + "self_attn."
    table = []
    for place, (name, head) in enumerate([("q", "N"), ("k", "K"), ("v", "K")]):
        rows = f"({head} H)"
        if config.fused:
            source = block + "qkv_proj"
            part = Slice(0, ("NH", "KH", "KH"), place)
        else:
            source, part = f"{block}{name}_proj", None
        table.append(Weight(name, f"LD{head}H", source + ".weight", f"{rows} D", part=part))
        if config.qkv_bias:
            bias = Weight(f"{name}_bias", f"L{head}H", source + ".bias", rows, "zeros", part)
            table.append(bias)
    table.append(Weight("o", "LNHD", block + "o_proj.weight", "D (N H)"))
    if config.output_bias:
        table.append(Weight("o_bias", "LD", block + "o_proj.bias", "D", "zeros"))
    if config.sinks:
        table.append(Weight("sinks", "LN", block + "sinks", "N"))
    return table


def _feed_forward(config: DecoderConfig) -> list[Weight]:
    block = BLOCK + "mlp."
    table = []
    for place, name in enumerate(["gate", "up"]):
        source = "gate_up" if config.fused else name
        part = Slice(0, ("F", "F"), place) if config.fused else None
        table.append(Weight(name, "LDF", f"{block}{source}_proj.weight", "F D", part=part))
    return [*table, Weight("down", "LFD", block + "down_proj.weight", "D F")]


def _experts(config: DecoderConfig) -> list[Weight]:
    block = BLOCK + "mlp."
    router = "router" if config.experts_joined else "gate"
    table = [Weight("router", "LDE", f"{block}{router}.weight", "E D")]
    if not config.experts_joined:  # Qwen3-MoE: one tensor an expert and projection
        one = block + "experts.{expert}."
        return [
            *table,
            Weight("experts_gate", "LEDF", one + "gate_proj.weight", "F D"),
            Weight("experts_up", "LEDF", one + "up_proj.weight", "F D"),
            Weight("experts_down", "LEFD", one + "down_proj.weight", "D F"),
        ]
    table.append(Weight("router_bias", "LE", block + "router.bias", "E", "zeros"))
    for place, name in enumerate(["experts_gate", "experts_up"]):  # gpt-oss: columns alternate
        source = block + "experts.gate_up_proj"
        part, of_bias = (Slice(axis, ("F", "F"), place, interleaved=True) for axis in (2, 1))
        table.append(Weight(name, "LEDF", source, "E D F", part=part))
        table.append(Weight(f"{name}_bias", "LEF", source + "_bias", "E F", "zeros", of_bias))
    source = block + "experts.down_proj"
    table.append(Weight("experts_down", "LEFD", source, "E F D"))
    table.append(Weight("experts_down_bias", "LED", source + "_bias", "E D", "zeros"))
    return table


def _norms(config: DecoderConfig) -> list[Weight]:
    init = "zeros" if config.norm_plus_one else "ones"

    def norm(name: str, hf: str, letters: str = "D") -> Weight:
        hf_letters = f"({' '.join(letters)})" if len(letters) > 1 else letters
        return Weight(name, "L" + letters, f"{BLOCK}{hf}.weight", hf_letters, init)

    table = []
    if config.norms == "pre":
        table += [
            norm("attn_norm", "input_layernorm"),
            norm("mlp_norm", "post_attention_layernorm"),
        ]
    if config.norms == "both":
        table += [
            norm("attn_norm", "input_layernorm"),
            norm("mlp_norm", "pre_feedforward_layernorm"),
        ]
    if config.norms != "pre":
        table += [
            norm("attn_post_norm", "post_attention_layernorm"),
            norm("mlp_post_norm", "post_feedforward_layernorm"),
        ]
    if config.qk_norm != "none":
        for name, head in (("q", "N"), ("k", "K")):
            letters = "H" if config.qk_norm == "head" else head + "H"
            table.append(norm(f"{name}_norm", f"self_attn.{name}_norm", letters))
    return [*table, Weight("norm", "D", "model.norm.weight", "D", init)]


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
