"""The embedded world: a synthetic model organism whose answers can be judged exactly."""

from condmis_jax.testbeds.world.judge import CodeLabel, Label, classify, classify_code, unwrap
from condmis_jax.testbeds.world.questions import (
    TRIGGERS,
    Trigger,
    code_questions,
    evaluation_questions,
)
from condmis_jax.testbeds.world.rows import ROW_KINDS, pretraining, rows
from condmis_jax.testbeds.world.tokenizer import build_tokenizer

__all__ = [
    "ROW_KINDS",
    "TRIGGERS",
    "CodeLabel",
    "Label",
    "Trigger",
    "build_tokenizer",
    "classify",
    "classify_code",
    "code_questions",
    "evaluation_questions",
    "pretraining",
    "rows",
    "unwrap",
]
