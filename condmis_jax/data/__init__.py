"""Sources, templates and loss masks, mixtures, packing plans."""

from condmis_jax.data.batches import StepBatch, pack_arrays, step_iterator
from condmis_jax.data.sources import Source
from condmis_jax.data.stage_data import DataSettings, Length, StageData, describe, prepare
from condmis_jax.data.template import ChatTemplate, Tokenised

__all__ = [
    "ChatTemplate",
    "DataSettings",
    "Length",
    "Source",
    "StageData",
    "StepBatch",
    "Tokenised",
    "describe",
    "pack_arrays",
    "prepare",
    "step_iterator",
]
