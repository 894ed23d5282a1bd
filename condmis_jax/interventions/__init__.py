"""What a stage does."""

from condmis_jax.interventions.supervised import Stage, prepare_stage, recipe, run_stage

__all__ = ["Stage", "prepare_stage", "recipe", "run_stage"]
