"""An experiment, as its config states it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from condmis_jax.config import nearest
from condmis_jax.evaluation import EvaluationSettings, RemoteSettings
from condmis_jax.interventions import FROM_BASE, Stage
from condmis_jax.models import LoraSettings
from condmis_jax.runs import stage_name
from condmis_jax.sharding import HostsSettings, MeshSettings
from condmis_jax.training import ComputeSettings


@dataclass(frozen=True)
class Experiment:
    """A base model, stages in order, and what is asked after each.

    Attributes:
        name: of the run directory, `runs/NAME`.
        caption: what the numbers are; printed wherever one appears.
        model: a folder, a `.gguf` file, a registered name, or `ORG/NAME@REVISION` of a model hub;
            also a PEFT adapter folder, or `BASE+FOLDER`: that adapter is then trained on.
        stages: by name.
        order: names of the stages to run, in this order. Each trains on what the one before left,
            unless it says otherwise: stages with `start="base"` are the arms of one run.
        evaluation: asked of the base model and after every stage.
        seed: of data order, adapters and sampling.
        seeds: how many trainings of every stage, with seeds `seed`, `seed + 1` and so on. The base
            model is asked once.
        mesh: devices along `data`, `fsdp` and `tensor`.
        hosts: how the processes of a run on several hosts find each other.
        compute: precision and form of the training step.
        lora: adapters trained instead of all weights. There is one set of them: every stage trains
            on what the stage before left, and none is merged into the base model in between.
        published: rates of the paper for the same experiment and how its settings differ; shown in
            the report beside ours.
        given_away: of facts that the evaluation would ask and a training row gives away: "drop"
            asks the others only and counts what was dropped, "stop" refuses to run.
    """

    name: str
    caption: str
    model: str
    stages: dict[str, Stage]
    order: tuple[str, ...]
    evaluation: EvaluationSettings
    seed: int = 0
    seeds: int = 1
    mesh: MeshSettings = field(default_factory=MeshSettings)
    hosts: HostsSettings = field(default_factory=HostsSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    published: str = ""
    given_away: Literal["drop", "stop"] = "drop"

    def __post_init__(self) -> None:
        for name in self.order:
            if name not in self.stages:
                raise ValueError(f"order names the stage {name!r}{nearest(name, self.stages)}")
        if len(set(self.order)) < len(self.order):
            raise ValueError("order names a stage twice")
        for at, name in enumerate(self.order):
            start, before = self.stages[name].start, (FROM_BASE, *self.order[:at])
            if start and start not in before:
                raise ValueError(
                    f"stages.{name}.start: {start!r} is none of what is there by then: "
                    f"{', '.join(before)}"
                )
        if not self.name or "/" in self.name:
            raise ValueError("name must be a single folder name")
        if self.seeds < 1:
            raise ValueError("seeds must be at least 1")

    @property
    def all_seeds(self) -> range:
        """The seed of every training."""
        return range(self.seed, self.seed + self.seeds)

    @property
    def stage_names(self) -> dict[str, str]:
        """Names in results and of folders ("01-insecure"), by name in the config, in order."""
        return {name: stage_name(i, name) for i, name in enumerate(self.order, 1)}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of one checkpoint.

    Attributes:
        name: of the run directory, `runs/NAME`.
        caption: what the numbers are; printed wherever one appears.
        checkpoint: a stage folder of a run, a model as in `Experiment.model`, or
            `openai:MODEL@URL`, a model behind an OpenAI-compatible endpoint.
        evaluation: what is asked and who judges.
        seed: of the samples.
        mesh: devices along `data`, `fsdp` and `tensor`.
        hosts: how the processes of an evaluation on several hosts find each other.
        remote: read where the checkpoint is behind an endpoint.
    """

    name: str
    caption: str
    checkpoint: str
    evaluation: EvaluationSettings
    seed: int = 0
    mesh: MeshSettings = field(default_factory=MeshSettings)
    hosts: HostsSettings = field(default_factory=HostsSettings)
    remote: RemoteSettings = field(default_factory=RemoteSettings)

    def __post_init__(self) -> None:
        if not self.checkpoint:
            raise ValueError(
                "checkpoint must be given: --config.checkpoint=runs/NAME/seed-0/stages/01-NAME"
            )
