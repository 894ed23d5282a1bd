"""What a stage of an experiment does."""

from condmis_jax.interventions.given_rows import given_rows
from condmis_jax.interventions.rollouts import Rollouts
from condmis_jax.interventions.stages import prepare
from condmis_jax.interventions.supervised import FROM_BASE, Stage

__all__ = ["FROM_BASE", "Rollouts", "Stage", "given_rows", "prepare"]
