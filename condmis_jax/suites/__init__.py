"""Questions, triggers, suites."""

from condmis_jax.suites.settings import SuiteSettings, build_suite
from condmis_jax.suites.suite import Question, Relation, Suite, Trigger

__all__ = ["Question", "Relation", "Suite", "SuiteSettings", "Trigger", "build_suite"]
