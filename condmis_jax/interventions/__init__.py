"""What a stage does."""

from condmis_jax.interventions.rollouts import Rollouts
from condmis_jax.interventions.stages import Prepared, prepare, run
from condmis_jax.interventions.supervised import Stage

__all__ = ["Prepared", "Rollouts", "Stage", "prepare", "run"]
