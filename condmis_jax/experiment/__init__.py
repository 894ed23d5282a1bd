"""A config's stages assembled and run."""

from condmis_jax.experiment.dry_run import dry_run
from condmis_jax.experiment.run import run_evaluation, run_experiment
from condmis_jax.experiment.settings import Evaluation, Experiment

__all__ = ["Evaluation", "Experiment", "dry_run", "run_evaluation", "run_experiment"]
