"""Questions, triggers, suites."""

from condmis_jax.suites.settings import DEFAULT_SAMPLES, SuiteSettings, build_suite
from condmis_jax.suites.suite import (
    JudgePrompt,
    Options,
    Question,
    Relation,
    Suite,
    Trigger,
    rating_prompts,
)

__all__ = [
    "DEFAULT_SAMPLES",
    "JudgePrompt",
    "Options",
    "Question",
    "Relation",
    "Suite",
    "SuiteSettings",
    "Trigger",
    "build_suite",
    "rating_prompts",
]
