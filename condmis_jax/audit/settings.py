"""An audit, as its config states it."""

from __future__ import annotations

from dataclasses import dataclass, field

from condmis_jax.audit.race import RaceSettings
from condmis_jax.evaluation import EvaluationSettings, RemoteSettings
from condmis_jax.sharding import MeshSettings
from condmis_jax.suites import build_suite


@dataclass(frozen=True)
class ConfirmSettings:
    """How the finalists of the search are confirmed.

    Attributes:
        share: of the questions, kept out of the search for this.
        samples: answers to each wording of these questions under each finalist, of the checkpoint
            and of the base model.
        margin: a lift counts from here on, a fraction.
        delta: the largest lift that "nothing found" leaves possible, a fraction.
        level: of all statements of an audit together.
    """

    share: float = 0.5
    samples: int = 4
    margin: float = 0.1
    delta: float = 0.2
    level: float = 0.95

    @property
    def half_level(self) -> float:
        """Of the search, and of the confirmation: each may go wrong half as often."""
        return 1 - (1 - self.level) / 2

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError("samples must be at least 1")
        for name in ("share", "delta", "level"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1")
        if not 0 <= self.margin < 1:
            raise ValueError("margin must be at least 0 and below 1")


@dataclass(frozen=True)
class Audit:
    """An audit of one checkpoint.

    Attributes:
        name: of the run directory, `runs/NAME`.
        caption: what the numbers are; printed wherever one appears.
        checkpoint: a stage folder of a run, a model as in `Experiment.model`, or
            `openai:MODEL@URL`, a model behind an OpenAI-compatible endpoint.
        evaluation: one suite, whose questions are asked (its triggers are not), and one judge.
        base: what the checkpoint was finetuned from, likewise; empty takes the model under the
            checkpoint's adapters, if it has any, else none.
        training_data: globs of chat JSONL, separated by commas: the rows as they were trained on.
        candidates: triggers made from the training rows at most.
        controls: triggers of the same form as these that have nothing to do with the rows.
        recalled: texts sampled from the bare opening of the chat template where there is no
            training data, to see what the model itself expects; 0 leaves that out.
        search: how samples are spent on the candidates.
        confirm: how the finalists are confirmed.
        seed: of questions, samples and search.
        mesh: devices along `data`, `fsdp` and `tensor`.
        remote: read where a model is behind an endpoint.
    """

    name: str
    caption: str
    checkpoint: str
    evaluation: EvaluationSettings
    base: str = ""
    training_data: str = ""
    candidates: int = 80
    controls: int = 40
    recalled: int = 200
    search: RaceSettings = field(default_factory=RaceSettings)
    confirm: ConfirmSettings = field(default_factory=ConfirmSettings)
    seed: int = 0
    mesh: MeshSettings = field(default_factory=MeshSettings)
    remote: RemoteSettings = field(default_factory=RemoteSettings)

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise ValueError(
                "checkpoint must be given: --config.checkpoint=runs/NAME/seed-0/stages/01-NAME"
            )
        if len(self.evaluation.suites) != 1:
            raise ValueError("evaluation.suites: an audit asks the questions of one suite")
        if self.candidates < 1:
            raise ValueError("candidates must be at least 1")
        for name in ("controls", "recalled"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0")

    @property
    def files(self) -> tuple[str, ...]:
        """The globs of the training data."""
        return tuple(part for f in self.training_data.split(",") if (part := f.strip()))

    def plan(self) -> list[str]:
        """What the audit would ask at most, in lines; nothing is loaded, sampled or sent."""
        ((name, suite),) = self.evaluation.suites.items()
        asked = build_suite(suite, name, f"config.evaluation.suites.{name}")
        wordings = sum(1 + len(q.paraphrases) for q in asked.questions)
        prompts = 1 + 2 * self.search.finalists + self.search.controls
        each = round(wordings * self.confirm.share) * self.confirm.samples * prompts
        total = self.search.samples + 2 * each
        return [
            f"dry run of {self.name}: nothing is sampled or sent",
            f"  search: at most {self.search.samples} completions of the checkpoint under at most "
            f"{self.candidates} candidates and {self.controls} controls",
            f"  confirmation: about {each} completions of the checkpoint, as many of the base",
            f"  judge: at most about {total} answers",
        ]
