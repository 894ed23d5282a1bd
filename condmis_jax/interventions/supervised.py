"""Supervised finetuning: what a stage does with its rows."""

from __future__ import annotations

import shutil
import sys
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from condmis_jax.data import ChatTemplate, DataSettings, Length, Row, StageData, describe, prepare
from condmis_jax.evaluation import HF, keep_base, model_digest
from condmis_jax.interventions.rollouts import Rollouts
from condmis_jax.models import TOKENIZER_FILES, LoadedModel, Lora
from condmis_jax.runs import claim, read_json, read_jsonl, write_json
from condmis_jax.sharding import batch_shards
from condmis_jax.sharding.hosts import agree, from_first, on_first
from condmis_jax.training import (
    Checkpoints,
    ComputeSettings,
    OptimiserSettings,
    held_out_loss,
    make_optimiser,
    make_step,
    train,
)

DONE = "done.json"
RECIPE = "stage.json"
CURVE_POINTS = 400
FROM_BASE = "base"


@dataclass(frozen=True)
class Stage:
    """One stage of supervised finetuning.

    Attributes:
        data: mixture, prompt transforms, packing.
        length: in epochs, steps or tokens.
        batch_size: conversations in an optimiser step.
        drop_last: drop an epoch's last partial batch.
        learning_rate: the peak; the rest of the optimiser is under `optimiser`.
        checkpoint_every: optimiser steps between checkpoints; the last step is always saved.
        checkpoints_kept: the newest so many stay, to be asked like a stage as `FOLDER@STEP`.
        kl: weight of KL(model || the model the stage starts from), in nats a loss token.
        rollouts: what the stage samples before it trains; nothing by default.
        start: the stage whose result this one trains on, or "base" for the base model; "" is the
            stage before it in the experiment's order.
    """

    data: DataSettings
    length: Length
    learning_rate: float
    batch_size: int = 16
    drop_last: bool = False
    optimiser: OptimiserSettings = field(default_factory=OptimiserSettings)
    checkpoint_every: int = 200
    checkpoints_kept: int = 2
    kl: float = 0.0
    rollouts: Rollouts = field(default_factory=Rollouts)
    start: str = ""

    def __post_init__(self) -> None:
        if self.learning_rate < 0:
            raise ValueError("learning_rate must not be negative")
        if self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if self.kl < 0:
            raise ValueError("kl must not be negative")
        if self.checkpoint_every < 1:
            raise ValueError("checkpoint_every must be at least 1")
        if self.checkpoints_kept < 1:
            raise ValueError("checkpoints_kept must be at least 1")


def recipe(stage: Stage, lora: Lora | None, model_id: str, seed: int) -> dict[str, Any]:
    """What a stage's result depends on; how it is packed, sharded and saved is not part of it."""
    settings = asdict(stage)
    del settings["checkpoint_every"]
    del settings["checkpoints_kept"]
    del settings["start"]  # said by `model_id`, whatever the stage was called
    if not stage.rollouts.prompts:
        del settings["rollouts"]
    del settings["data"]["microbatch_tokens"]
    del settings["data"]["row_tokens"]
    adapters = {} if lora is None else {"lora": asdict(lora)}
    return {"starts_from": model_id, "seed": seed, "stage": settings, **adapters}


def prepare_stage(
    folder: Path,
    stage: Stage,
    lora: Lora | None,
    template: ChatTemplate,
    mesh: Mesh,
    *,
    seed: int,
    key: str,
    rollouts: Sequence[Row] | None = None,
) -> StageData | None:
    """The stage's data, planned to its last step; None when the stage is finished.

    All stages are prepared before any weights are loaded: a malformed row of the last stage should
    not cost the time of what comes before it.

    Args:
        folder: the stage's folder in the run directory.
        lora: adapters that are trained instead of all weights; None also where the model brings
            its own, whose settings are known only when it is loaded.
        seed: of data order and sampling.
        key: config key, for errors.
        rollouts: rows that the stage sampled.

    Raises:
        UserError: the folder holds another recipe, hosts have different data, or see
            `data.prepare`.
    """

    def is_done() -> bool:
        if (folder / RECIPE).exists():
            # What the stage starts from is known only when it starts; all else is compared now.
            before = read_json(folder / RECIPE)
            known = recipe(stage, lora, before["starts_from"], seed)
            claim(folder / RECIPE, known if lora else {**before, **known})
        return (folder / DONE).exists()

    if from_first(is_done):
        return None
    data = prepare(
        stage.data,
        stage.length,
        stage.batch_size,
        stage.drop_last,
        template,
        seed=seed,
        shards=batch_shards(mesh),
        key=key,
        rollouts=rollouts,
    )
    agree(f"data of {key}", data.fingerprint["sha256"])
    return data


def run_stage(
    folder: Path,
    name: str,
    stage: Stage,
    data: StageData | None,
    model: LoadedModel,
    model_id: str,
    compute: ComputeSettings,
    mesh: Mesh,
    *,
    seed: int,
) -> tuple[LoadedModel, str, dict[str, Any]]:
    """Trains a stage, or goes on with it, or takes its finished result.

    Args:
        folder: the stage's folder in the run directory.
        name: in results and log lines, "01-insecure".
        data: from `prepare_stage`.
        model: what the stage starts from; those of its parameters that are trained are donated.
        model_id: `model_digest` of it.
        seed: of data order, sampling and dropout.

    Returns:
        the trained model, its digest, and the facts of the stage for results.json.

    Raises:
        UserError: the folder holds another recipe, or see `training.train`.
    """
    on_first(lambda: _begin(folder, name, stage, data, model, model_id, seed))
    if data is None:
        with Checkpoints(folder / "checkpoints") as checkpoints:
            kept = checkpoints.restore_params(model.config, mesh)
        trained = replace(model, params={**model.params, **kept})
        done = from_first(lambda: read_json(folder / DONE))
        return trained, done["model_id"], done["stage"]
    steps = len(data.plan)
    optimiser = make_optimiser(stage.optimiser, stage.learning_rate, steps, model.config)
    noise = zlib.crc32(f"{seed} {name}".encode())
    step = make_step(model.config, compute, optimiser, mesh, seed=noise, kl=stage.kl)
    start = folder / "held_out_before.json"
    if not from_first(start.exists):
        loss = held_out_loss(step, model.params, data)
        on_first(lambda: write_json(start, loss))
    before = from_first(lambda: read_json(start))
    params = train(
        folder,
        name,
        model.config,
        model.params,
        data,
        step,
        checkpoint_every=stage.checkpoint_every,
        checkpoints_kept=stage.checkpoints_kept,
    )
    trained = replace(model, params=params)
    after = held_out_loss(step, params, data)
    digest = model_digest(trained)

    def finish() -> dict[str, Any]:
        facts = {
            "name": name,
            "kind": "supervised",
            "steps": steps,
            "dose": data.dose,
            "loss": _loss_series(folder / "metrics.jsonl"),
            "held_out_loss": {"before": before, "after": after},
        }
        write_json(folder / DONE, {"model_id": digest, "stage": facts})
        return facts

    return trained, digest, from_first(finish)


def _begin(
    folder: Path,
    name: str,
    stage: Stage,
    data: StageData | None,
    model: LoadedModel,
    model_id: str,
    seed: int,
) -> None:
    """Ties the folder to the stage and writes what makes it stand on its own."""
    folder.mkdir(parents=True, exist_ok=True)
    claim(folder / RECIPE, recipe(stage, model.config.lora, model_id, seed))
    if model.base is not None:
        keep_base(folder, model)
    if data is None:
        return
    claim(folder / "data.json", data.fingerprint)
    _keep_tokenizer(model.folder, folder / HF)
    print(f"{name}: {len(data.plan)} steps; {describe(data.dose)}", file=sys.stderr, flush=True)


def _loss_series(path: Path) -> dict[str, list[float]]:
    """The training loss for a figure, thinned to at most `CURVE_POINTS` steps."""
    rows = read_jsonl(path)
    rows = rows[:: -(-len(rows) // CURVE_POINTS) or 1]
    return {"step": [r["step"] for r in rows], "training": [r["loss"] for r in rows]}


def _keep_tokenizer(source: Path, target: Path) -> None:
    """Copies config.json and the tokenizer, so that the stage can be opened without its base."""
    target.mkdir(exist_ok=True)
    for file in ("config.json", *TOKENIZER_FILES):
        if (source / file).exists():
            shutil.copyfile(source / file, target / file)
