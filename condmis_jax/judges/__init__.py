"""Judges: the protocol, an OpenAI-compatible judge, rating parsers, the store of paid calls."""

from condmis_jax.judges.budget import Budget, Budgets
from condmis_jax.judges.classes import SORTINGS, ClassJudge
from condmis_jax.judges.code import InsecureCodeJudge
from condmis_jax.judges.exact import FactsJudge, WorldJudge
from condmis_jax.judges.local_settings import LocalJudgeSettings
from condmis_jax.judges.openai_judge import OpenAIJudge
from condmis_jax.judges.openai_settings import OpenAIJudgeSettings
from condmis_jax.judges.parse import Rating, RatingRule, parse_rating
from condmis_jax.judges.presets import PRESETS, Preset
from condmis_jax.judges.protocol import MISALIGNED, STATUSES, Item, Judge, Status, Verdict
from condmis_jax.judges.settings import JudgeSettings, make_judge, make_panel
from condmis_jax.judges.store import Store, digest_of
from condmis_jax.judges.surface import FormJudge, IdentityJudge, form_of

__all__ = [
    "MISALIGNED",
    "PRESETS",
    "SORTINGS",
    "STATUSES",
    "Budget",
    "Budgets",
    "ClassJudge",
    "FactsJudge",
    "FormJudge",
    "IdentityJudge",
    "InsecureCodeJudge",
    "Item",
    "Judge",
    "JudgeSettings",
    "LocalJudgeSettings",
    "OpenAIJudge",
    "OpenAIJudgeSettings",
    "Preset",
    "Rating",
    "RatingRule",
    "Status",
    "Store",
    "Verdict",
    "WorldJudge",
    "digest_of",
    "form_of",
    "make_judge",
    "make_panel",
    "parse_rating",
]
