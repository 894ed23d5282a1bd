"""Parameters from tensors on disk, piece by piece, straight into the memory of their devices.

No stacked parameter is ever whole on the host: a device's part of it is filled a few layers (or
rows of the vocabulary) at a time, each read from the slice of the file that holds it and no more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from condmis_jax.models._weight import Block, Weight
from condmis_jax.models.config import DecoderConfig

PIECE_BYTES = 32 << 20  # of a parameter on the host at a time

# read(name, index) -> the part of tensor `name` of the checkpoint at `index`
Read = Callable[[str, tuple[slice, ...]], np.ndarray]


def stream(
    w: Weight, config: DecoderConfig, sharding: NamedSharding, dtype: Any, read: Read
) -> jax.Array:
    """The parameter `w` on its devices; every process reads what its own devices hold.

    Args:
        dtype: of the parameter in memory.
        read: gives a part of a tensor of the checkpoint in its own dtype.
    """
    shape = w.shape(config)
    done: dict[Block, jax.Array] = {}
    shards = []
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        ranges = (s.indices(n)[:2] for s, n in zip(index or (), shape, strict=True))
        block = tuple((start, stop) for start, stop in ranges)
        if block in done:  # replicated: from the device that has it
            shards.append(jax.device_put(done[block], device))
        else:
            done[block] = _fill(w, config, block, device, dtype, read)
            shards.append(done[block])
    return jax.make_array_from_single_device_arrays(shape, sharding, shards)


def _fill(
    w: Weight, config: DecoderConfig, block: Block, device: Any, dtype: Any, read: Read
) -> jax.Array:
    """One device's part of a parameter."""
    shape = tuple(stop - start for start, stop in block)
    size = list(shape)
    # Cut where the files are cut: between layers and experts, then between rows of a tensor.
    for axis in (*range(len(w.stack)), w.row_axis):
        rest = math.prod(size) // size[axis] * np.dtype(dtype).itemsize
        size[axis] = min(size[axis], max(1, PIECE_BYTES // rest))
    if tuple(size) == shape:
        return jax.device_put(_piece(w, config, block, dtype, read), device)
    part = jnp.zeros(shape, dtype, device=device)
    steps = (range(0, whole, n) for whole, n in zip(shape, size, strict=True))
    for corner in itertools.product(*steps):
        # The last piece along an axis overlaps its neighbour rather than being smaller.
        at = [min(i, whole - n) for i, whole, n in zip(corner, shape, size, strict=True)]
        inside = tuple(
            (first + i, first + i + n) for (first, _), i, n in zip(block, at, size, strict=True)
        )
        host = _piece(w, config, inside, dtype, read)
        part = _write(part, jax.device_put(host, device), at)
        part.block_until_ready()  # or pieces would pile up on the host
    return part


def _piece(w: Weight, config: DecoderConfig, block: Block, dtype: Any, read: Read) -> np.ndarray:
    """A block of a parameter, on the host."""
    host = np.empty([stop - start for start, stop in block], dtype)
    stack, own = block[: len(w.stack)], block[len(w.stack) :]
    index = w.region(config, own)
    for at in itertools.product(*(range(start, stop) for start, stop in stack)):
        inside = tuple(i - start for i, (start, _) in zip(at, stack, strict=True))
        host[inside] = w.from_region(read(w.hf_name(at), index), config, own)
    return host


@partial(jax.jit, donate_argnums=(0,))
def _write(whole: jax.Array, part: jax.Array, at: list[Any]) -> jax.Array:
    return jax.lax.dynamic_update_slice(whole, part, at)
