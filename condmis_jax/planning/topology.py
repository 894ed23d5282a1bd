"""Devices of a slice that need not be there."""

from __future__ import annotations

import os
import re
from importlib import metadata
from typing import Any

import jax

from condmis_jax.errors import UserError, first_line
from condmis_jax.planning.chips import CHIPS, CPU, Chip

_NAME = re.compile(r"(?P<chip>v\d+\w|cpu):(?P<shape>\d+(?:x\d+){0,2})", re.ASCII)


def prepare(topology: str) -> None:
    """Settings that only work before JAX starts: no accelerator is looked for.

    Raises:
        UserError: see `parse`.
    """
    chip, count = parse(topology)
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    # Nothing is run on a TPU, so two plans at a time do not disturb each other.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    jax.config.update("jax_platforms", "cpu")
    if chip is CPU:
        jax.config.update("jax_num_cpu_devices", count)


def parse(topology: str) -> tuple[Chip, int]:
    """Chip and number of chips of `v5e:16x16`, `v5p:2x4x4`, `v6e:8x8` or `cpu:8`.

    Raises:
        UserError: not of that form, or a chip that no data sheet here describes.
    """
    match = _NAME.fullmatch(topology)
    known = {**CHIPS, "cpu": CPU}
    if match is None or match["chip"] not in known:
        raise UserError(
            f"--topology {topology!r}: expected CHIP:SHAPE, for example v5e:16x16, v5p:2x4x4 or "
            f"v6e:8x8 (v5p names such as v5p-64 count cores: write its 32 chips as v5p:2x4x4); "
            f"chips known: {', '.join(known)}"
        )
    count = 1
    for size in match["shape"].split("x"):
        count *= int(size)
    return known[match["chip"]], count


def devices(topology: str) -> list[Any]:
    """The devices of the slice, in libtpu's order.

    Raises:
        UserError: libtpu is not installed, or does not know such a slice.
    """
    chip, count = parse(topology)
    if chip is CPU:
        found = jax.devices("cpu")
        if len(found) < count:
            raise UserError(f"--topology {topology}: only {len(found)} CPU devices were started")
        return found[:count]
    from jax.experimental import topologies

    try:
        metadata.version("libtpu")
    except metadata.PackageNotFoundError:
        raise UserError(
            f"--topology {topology}: needs libtpu; run: pip install -c constraints.txt -e '.[tpu]'"
        ) from None
    try:
        description = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except jax.errors.JaxRuntimeError as error:
        first = first_line(error)
        raise UserError(f"--topology {topology}: libtpu knows no such slice ({first})") from None
    return list(description.devices)


def versions() -> dict[str, str | None]:
    """Versions of what compiles: predictions of memory change with them."""
    found: dict[str, str | None] = {}
    for name in ("jax", "jaxlib", "libtpu"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
