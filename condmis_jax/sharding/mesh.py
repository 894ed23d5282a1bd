"""The device mesh and the one table from logical axes to mesh axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from condmis_jax.errors import UserError

AnyMesh = Mesh | AbstractMesh
AXES = ("data", "fsdp", "tensor")

# Where each logical axis of a weight lives. Rows of a batch are split over both `data` and `fsdp`.
RULES: dict[str, str | None] = {
    "layers": None,
    "embed": "fsdp",
    "heads": "tensor",
    "kv_heads": "tensor",
    "head": None,
    "mlp": "tensor",
    "experts": "tensor",
    "expert_mlp": None,
    "vocab": "tensor",
    "norm": None,
    "rank": None,
}
BATCH = ("data", "fsdp")

# Where activations live, by their shape letters. Without these, a compiler that sees rows and
# weight widths both split over `fsdp` may split the width of activations and copy their rows to
# every device. Between layers the sequence is split over `tensor` (Korthikanti et al., arXiv
# 2205.05198): what is kept for the backward pass is then divided by all devices.
ACTIVATIONS: dict[str, tuple[str | tuple[str, ...] | None, ...]] = {
    "BTD": (BATCH, "tensor", None),
    "BTNH": (BATCH, None, "tensor", None),
    "BTKH": (BATCH, None, "tensor", None),
    "BTF": (BATCH, None, "tensor"),
}


@dataclass(frozen=True)
class MeshSettings:
    """Devices along each mesh axis; one of them may be -1, which takes all that remain.

    By default weights are split over all devices, as rows are: docs/scaling.md compares layouts.
    """

    data: int = 1
    fsdp: int = -1
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

    Raises:
        UserError: a logical axis has no rule, or the rules put two of them on one mesh axis.
    """
    return NamedSharding(mesh, divisible(mesh, mesh_axes(axes), shape))


def mesh_axes(axes: Sequence[str]) -> list[str | None]:
    """The mesh axis of each logical axis of one array.

    Raises:
        UserError: a logical axis has no rule, its rule names no mesh axis, or two of them lie on
            one mesh axis, whatever the sizes: a mesh axis can split one dimension of an array only.
    """
    taken: dict[str, str] = {}
    for axis in axes:
        if axis not in RULES:
            raise UserError(f"sharding rules: the logical axis {axis!r} has no rule in RULES")
        place = RULES[axis]
        if place is None:
            continue
        if place not in AXES:
            raise UserError(
                f"sharding rules: {axis!r} lies on {place!r}, which is no mesh axis; give one of "
                f"{', '.join(AXES)} or None"
            )
        if place in taken:
            raise UserError(
                f"sharding rules: {taken[place]!r} and {axis!r} of one array ({', '.join(axes)}) "
                f"both lie on the mesh axis {place!r}; give one of them another rule, or None"
            )
        taken[place] = axis
    return [RULES[axis] for axis in axes]


def divisible(mesh: AnyMesh, spec: Sequence[Any], shape: Sequence[int]) -> PartitionSpec:
    """`spec` without the mesh axes that do not divide their dimension."""
    kept = []
    for axes, size in zip(spec, shape, strict=True):
        names = (axes,) if isinstance(axes, str) else axes or ()
        kept.append(axes if size % int(np.prod([mesh.shape[a] for a in names])) == 0 else None)
    return PartitionSpec(*kept)


def constrain(x: jax.Array, letters: str) -> jax.Array:
    """Places an activation by its shape letters on the mesh it is traced for.

    Without a mesh (`jax.sharding.use_abstract_mesh`), or for letters that no rule names, x itself.
    """
    spec = ACTIVATIONS.get(letters)
    return x if spec is None else constrain_to(x, *spec)


def constrain_to(x: jax.Array, *spec: str | tuple[str, ...] | None) -> jax.Array:
    """Places x by mesh axes; a dimension that its axes do not divide is copied instead."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or set(mesh.axis_names) != set(AXES):
        return x
    return jax.lax.with_sharding_constraint(x, divisible(mesh, spec, x.shape))


def vocabulary_axes(size: int) -> tuple[str, ...]:
    """The most mesh axes over which a vocabulary of this size can be split evenly."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or set(mesh.axis_names) != set(AXES):
        return ()
    for axes in (AXES, AXES[1:], AXES[2:]):
        if size % int(np.prod([mesh.shape[a] for a in axes])) == 0:
            return axes
    return ()


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over `data` and `fsdp`, everything else replicated."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec())
