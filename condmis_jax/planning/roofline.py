"""The shortest time that a step can take on a slice."""

from __future__ import annotations

from dataclasses import dataclass

from jax.sharding import Mesh

from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import weight_table
from condmis_jax.planning.chips import Chip
from condmis_jax.planning.flops import Flops, count
from condmis_jax.planning.programs import Training

FORMULA = (
    "step >= max(compute, memory, network); compute = executed FLOPs / (chips x peak FLOP/s); "
    "memory = bytes each chip must move / HBM bytes/s: of every microbatch the weights of its "
    "tensor slice in bfloat16 three times and its gradients read and written, of the update the "
    "gradients and 24 bytes a trained weight; network = bytes each chip sends (rings) / ICI "
    "bytes/s one way. All overlap perfectly at best; without any overlap the three add up."
)


@dataclass(frozen=True)
class Roofline:
    """Seconds of an optimiser step.

    Attributes:
        compute, memory, network: each alone.
        best: with perfect overlap; worst: with none.
        bound: which of the three is the longest.
        mfu: model FLOPs of `best` over the slice's peak.
    """

    compute: float
    memory: float
    network: float
    best: float
    worst: float
    bound: str
    mfu: float


def training_roofline(
    chip: Chip,
    devices: int,
    counted: Flops,
    training: Training,
    microbatches: int,
    config: DecoderConfig,
    mesh: Mesh,
) -> Roofline:
    """Of one optimiser step with this many microbatches.

    Where a program did not compile, its network traffic is missing.
    """
    compute = counted.executed / (devices * chip.flops)
    # What lies sharded over `fsdp` is gathered before use: a chip reads its tensor slice whole.
    held = sum(count(config, w) for w in weight_table(config))
    gathered = 2 * held / mesh.shape["tensor"]
    moved = microbatches * (3 * gathered + 2 * training.gradients)
    moved += training.gradients + 24 * training.trained
    sent = microbatches * sum(c.wire_bytes for c in training.backward.collectives.values())
    sent += sum(c.wire_bytes for c in training.update.collectives.values())
    parts = {
        "compute": compute,
        "memory": moved / chip.hbm_rate,
        "network": sent / chip.ici_rate,
    }
    bound = max(parts, key=lambda k: parts[k])
    best = parts[bound]
    return Roofline(
        **parts,
        best=best,
        worst=sum(parts.values()),
        bound=bound,
        mfu=counted.model / (best * devices * chip.flops),
    )
