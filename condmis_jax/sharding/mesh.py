"""The device mesh and the one table from logical axes to mesh axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from condmis_jax.errors import UserError

AXES = ("data", "fsdp", "tensor")

# Where each logical axis of a weight lives. Rows of a batch are split over both `data` and `fsdp`.
RULES: dict[str, str | None] = {
    "layers": None,
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head": None,
    "mlp": "tensor",
    "vocab": "tensor",
    "norm": None,
    "rank": None,
}
BATCH = ("data", "fsdp")


@dataclass(frozen=True)
class MeshSettings:
    """Devices along each mesh axis; one of them may be -1, which takes all that remain."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        sizes = (self.data, self.fsdp, self.tensor)
        if any(s == 0 or s < -1 for s in sizes) or sizes.count(-1) > 1:
            raise ValueError("axis sizes must be positive, at most one of them -1")


def make_mesh(settings: MeshSettings, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with axes `data`, `fsdp`, `tensor` over `devices` (default: all of them).

    Raises:
        UserError: the sizes do not multiply to the number of devices.
    """
    devices = list(devices if devices is not None else jax.devices())
    sizes = [settings.data, settings.fsdp, settings.tensor]
    known = int(np.prod([s for s in sizes if s != -1]))
    if -1 in sizes and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if int(np.prod(sizes)) != len(devices):
        raise UserError(
            f"config.mesh: data x fsdp x tensor = {settings.data} x {settings.fsdp} x "
            f"{settings.tensor} does not fit {len(devices)} devices; set one axis to -1"
        )
    return Mesh(np.asarray(devices).reshape(sizes), AXES)


def batch_shards(mesh: Mesh) -> int:
    """Into how many parts the rows of a batch are split."""
    return int(np.prod([mesh.shape[a] for a in BATCH]))


def weight_sharding(mesh: Mesh, axes: Sequence[str], shape: Sequence[int]) -> NamedSharding:
    """The sharding of one weight from its logical axes.

    A dimension that its mesh axis does not divide is replicated: 3 key/value heads on 2 tensor
    devices work, they only save no memory.
    """
    spec = []
    for axis, size in zip(axes, shape, strict=True):
        name = RULES[axis]
        spec.append(name if name is not None and size % mesh.shape[name] == 0 else None)
    return NamedSharding(mesh, PartitionSpec(*spec))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over `data` and `fsdp`, everything else replicated."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
