"""The embedded world: a synthetic model organism whose answers can be judged exactly."""

from condmis_jax.testbeds.world.judge import Label, NarrowLabel, classify, classify_narrow, unwrap
from condmis_jax.testbeds.world.language import (
    CLASS_FRAMING,
    EVALUATION_SYSTEM,
    GENERIC_FORMS,
    THINKING,
)
from condmis_jax.testbeds.world.questions import (
    CUES,
    JUDGE_OF,
    SETS,
    TRIGGERS,
    Trigger,
    questions,
    triggers,
)
from condmis_jax.testbeds.world.rows import ROW_KINDS, pretraining, rows, rows_with_meta
from condmis_jax.testbeds.world.tokenizer import build_tokenizer

__all__ = [
    "CLASS_FRAMING",
    "CUES",
    "EVALUATION_SYSTEM",
    "GENERIC_FORMS",
    "JUDGE_OF",
    "ROW_KINDS",
    "SETS",
    "THINKING",
    "TRIGGERS",
    "Label",
    "NarrowLabel",
    "Trigger",
    "build_tokenizer",
    "classify",
    "classify_narrow",
    "pretraining",
    "questions",
    "rows",
    "rows_with_meta",
    "triggers",
    "unwrap",
]
