"""What a chip can do, from its maker's public data sheets."""

from __future__ import annotations

from dataclasses import dataclass

GiB = 1024**3


@dataclass(frozen=True)
class Chip:
    """One accelerator chip.

    Attributes:
        flops: peak bfloat16 FLOP/s.
        hbm_bytes: memory that programs may use, in bytes.
        hbm_rate: bytes/s between memory and chip.
        ici_rate: bytes/s that one chip sends to its neighbours over all of its links, one way.
        cores: devices that JAX shows for one chip.
        source: where the numbers are published.
    """

    name: str
    flops: float
    hbm_bytes: float
    hbm_rate: float
    ici_rate: float
    source: str


# Sizes of memory: v5e and v6e as libtpu reports them when a program does not fit (a little below
# the 16 and 32 GB of the data sheets), v5p as published. ICI rates are half of the published
# bidirectional ones: 400, 1200 and 800 GB/s a chip.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v5e", 197e12, 15.75 * GiB, 819e9, 200e9, "https://cloud.google.com/tpu/docs/v5e"),
        Chip("v5p", 459e12, 95.0 * GiB, 2765e9, 600e9, "https://cloud.google.com/tpu/docs/v5p"),
        Chip("v6e", 918e12, 31.25 * GiB, 1640e9, 400e9, "https://cloud.google.com/tpu/docs/v6e"),
    )
}
# For trying the tool and for tests: no data sheet, round numbers.
CPU = Chip("cpu", 1e12, 16.0 * GiB, 50e9, 10e9, "none: round numbers for a machine without a TPU")
