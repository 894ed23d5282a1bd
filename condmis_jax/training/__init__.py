"""Loss, optimiser, step, loop, checkpoints."""

from condmis_jax.training.checkpoints import Checkpoints
from condmis_jax.training.loop import held_out_loss, train
from condmis_jax.training.optimiser import OptimiserSettings, make_optimiser
from condmis_jax.training.step import ComputeSettings, TrainStep, batch_loss, make_step

__all__ = [
    "Checkpoints",
    "ComputeSettings",
    "OptimiserSettings",
    "TrainStep",
    "batch_loss",
    "held_out_loss",
    "make_optimiser",
    "make_step",
    "train",
]
