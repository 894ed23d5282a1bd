"""The trainings of an experiment: where each stage starts from, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jax.sharding import Mesh

from condmis_jax import interventions
from condmis_jax.data import ChatTemplate
from condmis_jax.evaluation import model_digest, open_stage
from condmis_jax.experiment.settings import Experiment
from condmis_jax.interventions.stages import Run
from condmis_jax.models import (
    Base,
    DecoderConfig,
    LoadedModel,
    Lora,
    load_model,
    load_tokenizer,
    new_adapters,
    stop_tokens,
    weight_table,
)
from condmis_jax.models.registry import resolve
from condmis_jax.runs import BASE, RunDirectory
from condmis_jax.testbeds.facts import Fact

Model = tuple[LoadedModel, str]
"""A model and its digest."""


class Arms:
    """Runs the stages of one experiment in its run directory.

    Args:
        lora: adapters that are trained instead of all weights.
        untold: facts that nothing sampled in training may tell; see `interventions.prepare`.

    Raises:
        UserError: the model has no tokenizer.
    """

    def __init__(
        self,
        experiment: Experiment,
        lora: Lora | None,
        run: RunDirectory,
        mesh: Mesh,
        untold: tuple[Fact, ...],
    ) -> None:
        self._experiment, self._lora, self._run, self._mesh = experiment, lora, run, mesh
        self._untold = untold
        self._base: Model | None = None
        source = resolve(experiment.model)
        tokenizer = load_tokenizer(source)
        positions = DecoderConfig.from_folder(source).max_positions
        self._template = ChatTemplate(tokenizer, stop_tokens(source, tokenizer), positions)

    def prepare(self, seed: int) -> dict[str, Run]:
        """What runs each stage, with all of its data; see `interventions.prepare`."""
        return {
            name: interventions.prepare(
                self._run.stage(seed, stage),
                stage,
                self._experiment.stages[name],
                self._lora,
                self._experiment.compute,
                self._mesh,
                self._template,
                seed=seed,
                key=f"config.stages.{name}",
                untold=self._untold,
            )
            for name, stage in self._experiment.stage_names.items()
        }

    def base(self) -> Model:
        """The base model; one that was loaded and not trained away since is taken again.

        Raises:
            UserError: it cannot be loaded, or lacks a target of the adapters.
        """
        if self._base is None:
            dtype = self._lora.base_dtype if self._lora else "float32"
            model = load_model(self._experiment.model, self._mesh, dtype=dtype)
            if self._lora is not None:
                weight_table(replace(model.config, lora=self._lora))
            self._base = model, model_digest(model)
        return self._base

    def trained(
        self, prepared: dict[str, Run], seed: int
    ) -> Iterator[tuple[LoadedModel, str, dict[str, Any]]]:
        """Trains stage by stage; each result, its digest and its facts for results.json.

        The parameters of a result, and of the base model unless adapters are trained, are gone
        once the next result is asked for.

        Args:
            prepared: from `prepare`, with the same seed; emptied on the way.
        """
        names = self._experiment.stage_names
        before = ""
        for name in names:
            start = self._experiment.stages[name].start
            if not before or start == interventions.FROM_BASE:
                model = None  # its memory is for the next
                model, model_id = self._trainable(seed)
            elif start and start != before:
                model = None
                model = open_stage(self._run.stage(seed, names[start]), self._mesh)
                model_id = model_digest(model)
            model, model_id, facts = prepared.pop(name)(model, model_id)
            parent = names.get(start or before, BASE)
            yield model, model_id, {**facts, "model_id": model_id, "parent": parent}
            before = name

    def _trainable(self, seed: int) -> Model:
        """The base model itself, or new adapters on it: for one seed the same ones every time."""
        model, model_id = self.base()
        if self._lora is None:
            self._base = None  # its parameters are donated to training
            return model, model_id
        base = Base(self._experiment.model, model_id)
        adapted = new_adapters(model, self._lora, base, self._mesh, seed=seed)
        return adapted, model_digest(adapted)
