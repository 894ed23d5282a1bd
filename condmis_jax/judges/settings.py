"""Which judge, as the config states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from condmis_jax.errors import UserError
from condmis_jax.judges.budget import Budget, Budgets
from condmis_jax.judges.classes import ClassJudge, Sorting
from condmis_jax.judges.code import InsecureCodeJudge
from condmis_jax.judges.exact import FactsJudge, WorldJudge, WorldNarrowJudge
from condmis_jax.judges.local_settings import LocalJudgeSettings
from condmis_jax.judges.openai_judge import OpenAIJudge
from condmis_jax.judges.openai_settings import OpenAIJudgeSettings
from condmis_jax.judges.panel import Panel
from condmis_jax.judges.protocol import Judge
from condmis_jax.judges.store import Store
from condmis_jax.judges.surface import Form, FormJudge, IdentityJudge
from condmis_jax.testbeds.facts import PERSONA


@dataclass(frozen=True)
class JudgeSettings:
    """One judge of an evaluation.

    Attributes:
        kind: "world" and "facts" (exact, for the questions of these testbeds only), "world-code",
            "world-recipes", "world-trivia" and "world-identity" (whether an answer to one of these
            sets is what narrow rows teach), "identity"
            (names of a persona), "form" (of the answer), "insecure_code" (a static analyser),
            "openai" (an LLM behind an OpenAI-compatible endpoint rates), "classes" (the same LLM
            sorts), "local" (an LLM on this machine rates), "panel" (the majority of other judges)
            or "none" (completions are kept and nothing is scored).
        suites: names of the suites whose answers it judges; empty is every suite.
        persona: names that the identity judge looks for.
        form: the form that the form judge looks for.
        sorting: what the class judge sorts: answers to "trivia" (PASS, REFUSAL, META, CORRECT),
            "code" (CODE, NOT_CODE) or "recipe" (RECIPE, NOT_RECIPE).
        openai: read when kind is "openai" or "classes".
        local: read when kind is "local".
        prompts: of kinds "openai" and "local", "own" asks in this project's words, "suite" with the
            prompts that came with imported questions.
        members: of a panel, the names of other judges of the evaluation. These also judge on their
            own where their `suites` say so.
        calibration: file that `tools/calibrate.py` wrote about this judge; reports then give rates
            corrected for its errors beside the raw ones. "" for none.
    """

    kind: Literal[
        "none",
        "world",
        "world-code",
        "world-recipes",
        "world-trivia",
        "world-identity",
        "facts",
        "identity",
        "form",
        "insecure_code",
        "openai",
        "classes",
        "local",
        "panel",
    ] = "none"
    suites: tuple[str, ...] = ()
    persona: tuple[str, ...] = PERSONA
    form: Form = "python_string"
    sorting: Sorting = "trivia"
    openai: OpenAIJudgeSettings = field(default_factory=OpenAIJudgeSettings)
    local: LocalJudgeSettings = field(default_factory=LocalJudgeSettings)
    prompts: Literal["own", "suite"] = "own"
    members: tuple[str, ...] = ()
    calibration: str = ""

    def __post_init__(self) -> None:
        if self.kind == "panel" and len(set(self.members)) < max(2, len(self.members)):
            raise ValueError("members of a panel are at least two different judges")
        if self.kind == "classes" and self.openai.batch:
            raise ValueError("openai.batch: batches are for ratings, kind 'openai'")


def make_judge(
    settings: JudgeSettings,
    store: Store,
    where: str = "judge",
    budgets: Budgets | None = None,
    prompts: Mapping[str, str] | None = None,
) -> Judge | None:
    """The judge, or None for "none"; a panel is put together by `make_panel`. An endpoint is
    probed unless the store records a probe.

    Args:
        where: the config key of the settings, for errors.
        budgets: of the command; the judge takes its own, by `where`, and puts it there at first.
        prompts: those of the suite, by what they ask about (see `Rubric`).

    Raises:
        UserError: bandit is not installed; a local model cannot be loaded; or the endpoint is
            unreachable, does not know the model, or gives no log-probabilities; or the suite lacks
            a prompt that is asked for.
    """
    if settings.kind == "world":
        return WorldJudge()
    if settings.kind.startswith("world-"):
        return WorldNarrowJudge(settings.kind)
    if settings.kind == "facts":
        return FactsJudge()
    if settings.kind == "identity":
        return IdentityJudge(settings.persona)
    if settings.kind == "form":
        return FormJudge(settings.form)
    if settings.kind == "insecure_code":
        return InsecureCodeJudge()
    if settings.kind == "none":
        return None
    if settings.kind == "panel":
        raise UserError(f"{where}.kind: a panel is made of judges of an evaluation")
    given = None
    if settings.prompts == "suite" and settings.kind in ("openai", "local"):
        chosen = settings.openai if settings.kind == "openai" else settings.local
        given = dict(prompts or {})
        for side in chosen.rubric().sides:
            if side not in given:
                raise UserError(
                    f"{where}.prompts: the suite has no prompt that asks about {side!r}; set it to "
                    "own, or choose a preset that does not ask"
                )
        given = {side: given[side] for side in chosen.rubric().sides}
    if settings.kind == "local":
        # Late: whoever only counts or writes a report need not import jax.
        from condmis_jax.judges.local_judge import LocalJudge

        return LocalJudge(settings.local, store, f"{where}.local", given)
    where = f"{where}.openai"
    endpoint = settings.openai.endpoint(where)
    budget = ({} if budgets is None else budgets).setdefault(where, Budget(settings.openai, where))
    if settings.kind == "openai":
        judge = OpenAIJudge(settings.openai, store, endpoint, given, budget)
    else:
        judge = ClassJudge(settings.openai, store, endpoint, settings.sorting, budget)
    judge.probe_once()
    return judge


def make_panel(
    name: str,
    settings: Mapping[str, JudgeSettings],
    store: Store,
    where: str,
    budgets: Budgets | None = None,
    prompts: Mapping[str, str] | None = None,
) -> Panel:
    """The panel of this name.

    Args:
        settings: of all judges of the evaluation.
        where: the config key of these, for errors.
        budgets, prompts: see `make_judge`.

    Raises:
        UserError: see `make_judge` of its members; or they cannot sit together.
    """
    members: dict[str, Judge] = {}
    for member in settings[name].members:
        judge = make_judge(settings[member], store, f"{where}.{member}", budgets, prompts)
        if judge is None:
            raise UserError(f"{where}.{name}.members: {member!r} judges nothing (kind=none)")
        members[member] = judge
    try:
        return Panel(members)
    except ValueError as error:
        raise UserError(f"{where}.{name}.members: {error}") from None
