"""What a stage does."""

from condmis_jax.interventions.rollouts import Rollouts
from condmis_jax.interventions.stages import prepare
from condmis_jax.interventions.supervised import Stage

__all__ = ["Rollouts", "Stage", "prepare"]
