"""One parameter of the decoder: its shape here, its place and shape in a checkpoint."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from condmis_jax.models.config import DecoderConfig

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

    def own_hf_shape(self, config: DecoderConfig) -> tuple[int, ...]:
        """Shape in the checkpoint of what is this weight's alone."""
        return tuple(math.prod(config.sizes[c] for c in letters) for letters in self.theirs)

    def hf_shape(self, config: DecoderConfig) -> tuple[int, ...]:
        """Shape of one tensor in the checkpoint, other weights in it included."""
        shape = list(self.own_hf_shape(config))
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
        merged = array.transpose([self._own.index(c) for c in "".join(self.theirs)])
        return np.ascontiguousarray(merged.reshape(self.own_hf_shape(config)))
