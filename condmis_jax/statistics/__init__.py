"""Intervals and contrasts: what the counts do and do not say."""

from condmis_jax.statistics.differences import paired_difference
from condmis_jax.statistics.interval import Interval, clopper_pearson
from condmis_jax.statistics.rates import clustered_rate, worst_case

__all__ = ["Interval", "clopper_pearson", "clustered_rate", "paired_difference", "worst_case"]
