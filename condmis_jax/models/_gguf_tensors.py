"""From the tensors of a GGUF file to those of the Hugging Face model, one at a time.

What to write follows from the weight table, where to read it from `gguf`'s own map of names. The
rest is what llama.cpp's converters (ggml-org/llama.cpp, conversion/*.py) did to the values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from condmis_jax.errors import UserError
from condmis_jax.models._gguf_config import PROCEED, ROPE_TABLES
from condmis_jax.models._weight import Weight
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import weight_table


@dataclass(frozen=True)
class Source:
    """A tensor of the file, and the part of the Hugging Face tensor that it becomes.

    Attributes:
        name, shape: in the file, slowest axis first.
        region: None for all of it.
    """

    name: str
    shape: tuple[int, ...]
    region: tuple[slice, ...] | None = None


@dataclass(frozen=True)
class Planned:
    """One tensor to write.

    Attributes:
        hf, shape: in the Hugging Face model.
        sources: what it is made of.
        expert: the place in the source, where that holds every expert of a layer.
        heads: heads whose rows stand in llama.cpp's rotary order; 0 for none.
        added: what the converter added.
        swapped: the last two axes change places.
    """

    hf: str
    shape: tuple[int, ...]
    sources: tuple[Source, ...]
    expert: int | None = None
    heads: int = 0
    added: float = 0.0
    swapped: bool = False


def plan(
    config: DecoderConfig, architecture: str, tensors: Mapping[str, Any], where: str
) -> list[Planned]:
    """Every tensor of the Hugging Face model, and which tensors of the file it comes from.

    Args:
        architecture: GGUF's name of the family.
        tensors: name -> tensor of `gguf.GGUFReader`.

    Raises:
        UserError: tensors are missing, surplus or of another shape; named.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    number = next(key for key, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(number, config.L)
    together: dict[str, list[Weight]] = {}
    for w in weight_table(config):
        together.setdefault(w.hf, []).append(w)

    def gguf_name(hf: str) -> str:
        base = re.sub(r"\.experts\.\d+\.", ".experts.", hf)
        suffix = ".bias" if base.endswith("bias") else ".weight"
        found = names.get_name(base.removesuffix("bias").removesuffix("weight").rstrip("._"))
        if found is None:
            raise UserError(f"{where}: no GGUF name is known for {hf}; update the gguf package")
        return found + suffix

    planned = []
    for group in together.values():
        w = group[0]
        swapped = config.experts_joined and w.letters.startswith("LE") and len(w.letters) == 4
        # llama.cpp turns the two halves of a rotary head into pairs for this family only.
        turned = architecture == "llama" and w.name.removesuffix("_bias") in ("q", "k")
        for hf, index in w.places(config):
            shape = w.hf_shape(config)
            expert = index[1] if len(w.stack) == 2 else None
            if w.part and w.part.interleaved:
                sources = tuple(
                    Source(
                        gguf_name(hf.replace("gate_up", "gate" if "gate" in x.name else "up")),
                        _turned(x.own_hf_shape(config), swapped),
                        x.region(config, x.whole(config)),
                    )
                    for x in group
                )
            else:
                stacked = shape if expert is None else (config.E, *shape)
                sources = (Source(gguf_name(hf), _turned(stacked, swapped)),)
            planned.append(
                Planned(
                    hf,
                    shape,
                    sources,
                    expert,
                    heads=config.sizes[w.theirs[0][0]] if turned else 0,
                    added=1.0 if config.norm_plus_one and "norm" in w.name else 0.0,
                    swapped=swapped,
                )
            )
    _check(planned, architecture, tensors, where)
    return planned


def _turned(shape: tuple[int, ...], swapped: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if swapped else shape


def _check(
    planned: list[Planned], architecture: str, tensors: Mapping[str, Any], where: str
) -> None:
    wanted = {s.name: s.shape for p in planned for s in p.sources}
    missing = sorted(set(wanted) - set(tensors))
    surplus = sorted(set(tensors) - set(wanted) - set(ROPE_TABLES))
    if missing or surplus:
        found = [
            f"{what}: {', '.join(names[:8])}" + (f" and {len(names) - 8} more" * (len(names) > 8))
            for what, names in (("missing tensors", missing), ("surplus tensors", surplus))
            if names
        ]
        raise UserError(f"{where}: {'; '.join(found)} (for architecture {architecture}); {PROCEED}")
    for name, asked in wanted.items():
        shape = tuple(int(n) for n in reversed(tensors[name].shape))
        if shape != asked:
            raise UserError(
                f"{where}: tensor {name} has shape {shape}, the metadata ask for {asked}"
            )


def read(planned: Planned, tensors: Mapping[str, Any], where: str) -> np.ndarray:
    """The float32 values of one tensor of the Hugging Face model.

    Raises:
        UserError: the file holds it in a quantisation that cannot be read.
    """
    parts = []
    for source in planned.sources:
        values = _dequantised(tensors[source.name], source.name, planned.expert, where)
        values = values.reshape(source.shape if planned.expert is None else source.shape[1:])
        parts.append(values.swapaxes(-1, -2) if planned.swapped else values)
    if planned.sources[0].region is None:
        (whole,) = parts
    else:
        whole = np.empty(planned.shape, "<f4")
        for source, values in zip(planned.sources, parts, strict=True):
            whole[source.region] = values
    if planned.heads:
        whole = unpermute(whole, planned.heads)
    if planned.added:
        whole = whole - np.float32(planned.added)
    return np.ascontiguousarray(whole, dtype="<f4")


def _dequantised(tensor: Any, name: str, expert: int | None, where: str) -> np.ndarray:
    from gguf.quants import dequantize

    data = tensor.data if expert is None else tensor.data[expert]
    try:
        return dequantize(data, tensor.tensor_type)
    except NotImplementedError:
        raise UserError(
            f"{where}: quantisation {tensor.tensor_type.name} of tensor {name} is not supported; "
            f"{PROCEED}"
        ) from None


def unpermute(rows: np.ndarray, heads: int) -> np.ndarray:
    """Puts the rows of a query or key projection back into Hugging Face's rotary order.

    llama.cpp rotates neighbouring rows (0, 1), (2, 3), …; Hugging Face rotates row i of a head of
    width H with row i + H/2.

    Args:
        rows: [heads * H, …], a weight or a bias.
    Returns:
        the same shape.
    """
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)
