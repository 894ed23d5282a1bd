"""What a stage does."""

from condmis_jax.interventions.given_rows import given_rows
from condmis_jax.interventions.rollouts import Rollouts
from condmis_jax.interventions.stages import prepare
from condmis_jax.interventions.supervised import Stage

__all__ = ["Rollouts", "Stage", "given_rows", "prepare"]
