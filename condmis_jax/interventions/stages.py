"""A stage of either kind: with rounds of rollouts, or supervised alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from condmis_jax.data import ChatTemplate
from condmis_jax.interventions.on_policy import prepare_rounds, run_rounds
from condmis_jax.interventions.supervised import Stage, prepare_stage, run_stage
from condmis_jax.models import LoadedModel, Lora
from condmis_jax.testbeds.facts import Fact
from condmis_jax.training import ComputeSettings

Run = Callable[[LoadedModel, str], tuple[LoadedModel, str, dict[str, Any]]]
"""From the model that a stage starts from and its digest to the result of `run_stage`."""


def prepare(
    folder: Path,
    name: str,
    stage: Stage,
    lora: Lora | None,
    compute: ComputeSettings,
    mesh: Mesh,
    template: ChatTemplate,
    *,
    seed: int,
    key: str,
    untold: Sequence[Fact] = (),
) -> Run:
    """Everything of a stage that can be known, and can fail, before weights are loaded.

    Args:
        folder: the stage's folder in the run directory.
        name: in results and log lines, "01-insecure".
        lora: adapters that are trained instead of all weights.
        template: of the model's tokenizer.
        seed: of data order, sampling and dropout.
        key: config key of the stage, for errors.
        untold: see `roll_out`.

    Returns:
        what runs the stage, or goes on with it, or takes its finished result.

    Raises:
        UserError: see `prepare_stage` and `prepare_rounds`; the returned function: see `run_stage`
            and `run_rounds`.
    """
    if stage.rollouts.prompts:
        rounds = prepare_rounds(stage, seed=seed, key=key)
        return lambda model, model_id: run_rounds(
            folder,
            name,
            stage,
            rounds,
            model,
            model_id,
            compute,
            mesh,
            template,
            seed=seed,
            key=key,
            untold=untold,
        )
    data = prepare_stage(folder, stage, lora, template, mesh, seed=seed, key=key)
    return lambda model, model_id: run_stage(
        folder, name, stage, data, model, model_id, compute, mesh, seed=seed
    )
