"""Rates, contrasts and tests: what the counts do and do not say.

Counts are one a question (of one model) or [Q, S], questions by training seeds. Intervals are for
*these* questions or for questions *like* these, for this model or for trainings like it: see
`Over`. How well they cover is measured by `tools/coverage.py`, see docs/statistics.md.
"""

from condmis_jax.statistics.agreement import fleiss_kappa, weighted_kappa
from condmis_jax.statistics.bootstrap import bootstrap_rate
from condmis_jax.statistics.clusters import Over
from condmis_jax.statistics.contrasts import (
    Arm,
    contrast,
    difference_in_differences,
    interval_p,
    noninferior,
    paired_difference,
)
from condmis_jax.statistics.interval import Interval, clopper_pearson, wilson
from condmis_jax.statistics.judge_error import prediction_powered, rogan_gladen, youden
from condmis_jax.statistics.posterior import beta_binomial_posterior
from condmis_jax.statistics.power import (
    design_effect,
    intraclass_correlation,
    minimum_detectable_rate,
)
from condmis_jax.statistics.published import PRESET, SECTIONS, published_rates
from condmis_jax.statistics.rates import (
    clustered_rate,
    conditional_rate,
    effective_answers,
    worst_case,
    worst_case_difference,
)
from condmis_jax.statistics.roc import auroc
from condmis_jax.statistics.sequences import sequence_limits
from condmis_jax.statistics.significance import SignFlip, benjamini_hochberg, holm, sign_flip

__all__ = [
    "PRESET",
    "SECTIONS",
    "Arm",
    "Interval",
    "Over",
    "SignFlip",
    "auroc",
    "benjamini_hochberg",
    "beta_binomial_posterior",
    "bootstrap_rate",
    "clopper_pearson",
    "clustered_rate",
    "conditional_rate",
    "contrast",
    "design_effect",
    "difference_in_differences",
    "effective_answers",
    "fleiss_kappa",
    "holm",
    "interval_p",
    "intraclass_correlation",
    "minimum_detectable_rate",
    "noninferior",
    "paired_difference",
    "prediction_powered",
    "published_rates",
    "rogan_gladen",
    "sequence_limits",
    "sign_flip",
    "weighted_kappa",
    "wilson",
    "worst_case",
    "worst_case_difference",
    "youden",
]
