"""Ahead-of-time compilation for machines that are not there."""

from condmis_jax.planning.plan import Plan, Workload, make_plan, summary
from condmis_jax.planning.text import table

__all__ = ["Plan", "Workload", "make_plan", "summary", "table"]
