"""Which judge, as the config states it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from condmis_jax.judges.exact import WorldJudge
from condmis_jax.judges.openai_judge import OpenAIJudge, OpenAIJudgeSettings
from condmis_jax.judges.protocol import Judge
from condmis_jax.judges.store import Store


@dataclass(frozen=True)
class JudgeSettings:
    """The judge of an evaluation.

    Attributes:
        kind: "world" (exact, for the embedded world's questions only), "openai" (an LLM behind an
            OpenAI-compatible endpoint) or "none" (completions are kept and nothing is scored).
        openai: read when kind is "openai".
    """

    kind: Literal["none", "world", "openai"] = "none"
    openai: OpenAIJudgeSettings = field(default_factory=OpenAIJudgeSettings)


def make_judge(settings: JudgeSettings, store: Store) -> Judge | None:
    """The judge, or None for "none". An endpoint is probed unless the store records a probe.

    Raises:
        UserError: the endpoint is unreachable, does not know the model, or gives no
            log-probabilities.
    """
    if settings.kind == "world":
        return WorldJudge()
    if settings.kind == "openai":
        judge = OpenAIJudge(settings.openai, store)
        judge.probe_once()
        return judge
    return None
