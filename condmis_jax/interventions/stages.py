"""A stage of either kind: with rounds of rollouts, or supervised alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from condmis_jax.data import ChatTemplate, StageData
from condmis_jax.interventions.on_policy import Rounds, prepare_rounds, run_rounds
from condmis_jax.interventions.supervised import Stage, prepare_stage, run_stage
from condmis_jax.models import LoadedModel, Lora
from condmis_jax.training import ComputeSettings

Prepared = StageData | Rounds | None


def prepare(
    folder: Path,
    stage: Stage,
    lora: Lora | None,
    template: ChatTemplate,
    mesh: Mesh,
    *,
    seed: int,
    key: str,
) -> Prepared:
    """Everything of a stage that can be known, and can fail, before weights are loaded.

    Raises:
        UserError: see `prepare_stage` and `prepare_rounds`.
    """
    if stage.rollouts.prompts:
        return prepare_rounds(stage, seed=seed, key=key)
    return prepare_stage(folder, stage, lora, template, mesh, seed=seed, key=key)


def run(
    folder: Path,
    name: str,
    stage: Stage,
    prepared: Prepared,
    model: LoadedModel,
    model_id: str,
    compute: ComputeSettings,
    mesh: Mesh,
    template: ChatTemplate,
    *,
    seed: int,
    key: str,
) -> tuple[LoadedModel, str, dict[str, Any]]:
    """Runs a stage, or goes on with it, or takes its finished result; see `run_stage`.

    Args:
        prepared: from `prepare`.
        template: of the model's tokenizer.
        key: config key of the stage, for errors.

    Raises:
        UserError: see `run_stage` and `run_rounds`.
    """
    if isinstance(prepared, list):
        return run_rounds(
            folder,
            name,
            stage,
            prepared,
            model,
            model_id,
            compute,
            mesh,
            template,
            seed=seed,
            key=key,
        )
    return run_stage(folder, name, stage, prepared, model, model_id, compute, mesh, seed=seed)
