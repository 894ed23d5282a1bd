"""A suite asked, judged and recorded."""

from condmis_jax.evaluation.checkpoint import (
    HF,
    keep_base,
    model_digest,
    open_checkpoint,
    open_stage,
)
from condmis_jax.evaluation.evaluate import EvaluationSettings, evaluate

__all__ = [
    "HF",
    "EvaluationSettings",
    "evaluate",
    "keep_base",
    "model_digest",
    "open_checkpoint",
    "open_stage",
]
