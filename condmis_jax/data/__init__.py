"""Sources, templates and loss masks, mixtures, packing plans."""

from condmis_jax.data.batches import StepBatch, pack_arrays, step_iterator
from condmis_jax.data.mixture import build_mixture
from condmis_jax.data.sources import ROLLOUTS, Prompt, Row, Source, load_prompts, load_source
from condmis_jax.data.stage_data import DataSettings, Length, StageData, describe, prepare
from condmis_jax.data.template import ChatTemplate, Tokenised

__all__ = [
    "ROLLOUTS",
    "ChatTemplate",
    "DataSettings",
    "Length",
    "Prompt",
    "Row",
    "Source",
    "StageData",
    "StepBatch",
    "Tokenised",
    "build_mixture",
    "describe",
    "load_prompts",
    "load_source",
    "pack_arrays",
    "prepare",
    "step_iterator",
]
