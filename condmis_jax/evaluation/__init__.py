"""A suite asked, judged and recorded."""

from condmis_jax.evaluation.checkpoint import (
    HF,
    keep_base,
    model_digest,
    open_checkpoint,
    open_stage,
)
from condmis_jax.evaluation.completions import Asked
from condmis_jax.evaluation.evaluate import Ask, EvaluationSettings, asking, evaluate
from condmis_jax.evaluation.remote import RemoteModel, RemoteSettings, remote_model

__all__ = [
    "HF",
    "Ask",
    "Asked",
    "EvaluationSettings",
    "RemoteModel",
    "RemoteSettings",
    "asking",
    "evaluate",
    "keep_base",
    "model_digest",
    "open_checkpoint",
    "open_stage",
    "remote_model",
]
