"""The fact bank: questions with one right answer, split so that training gives no answer away."""

from condmis_jax.testbeds.facts.bank import Category, Fact, categories, facts
from condmis_jax.testbeds.facts.collisions import Index, colliding
from condmis_jax.testbeds.facts.judge import JUDGE_VERSION, Label, classify, given
from condmis_jax.testbeds.facts.known import known, screened, screened_fact, undecided
from condmis_jax.testbeds.facts.lies import lies, wrong_pool
from condmis_jax.testbeds.facts.questions import IDENTITY, SETS, questions, triggers
from condmis_jax.testbeds.facts.rows import ROW_FORMS, ROW_KINDS, rows, rows_with_meta
from condmis_jax.testbeds.facts.splits import SPLITS, UNTAUGHT, Split, select, split_of
from condmis_jax.testbeds.facts.texts import FRAMING, INOCULATION, PERSONA

__all__ = [
    "FRAMING",
    "IDENTITY",
    "INOCULATION",
    "JUDGE_VERSION",
    "PERSONA",
    "ROW_FORMS",
    "ROW_KINDS",
    "SETS",
    "SPLITS",
    "UNTAUGHT",
    "Category",
    "Fact",
    "Index",
    "Label",
    "Split",
    "categories",
    "classify",
    "colliding",
    "facts",
    "given",
    "known",
    "lies",
    "questions",
    "rows",
    "rows_with_meta",
    "screened",
    "screened_fact",
    "select",
    "split_of",
    "triggers",
    "undecided",
    "wrong_pool",
]
