"""What an audit knows before it asks: training rows, the model opened, the cues of both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from condmis_jax.audit.candidate import Cue
from condmis_jax.audit.cues import find_cues, measure_losses
from condmis_jax.audit.memory import answer_losses, recalled_texts
from condmis_jax.audit.recall import recalled_cues
from condmis_jax.audit.settings import Audit
from condmis_jax.data import Row
from condmis_jax.data.sources import read_jsonl_rows
from condmis_jax.errors import UserError
from condmis_jax.evaluation import RemoteModel, model_digest, open_checkpoint, remote_model
from condmis_jax.models import LoadedModel
from condmis_jax.runs import digest, read_json, write_json

MOST_LOSSES = 400
"""Rows whose loss is measured, a random sample: enough for a difference of means."""

Model = LoadedModel | RemoteModel


def training_rows(audit: Audit) -> list[Row]:
    """The rows of all files, each with its place.

    Raises:
        UserError: no file matches, or a row is malformed.
    """
    return [
        row
        for pattern in audit.files
        for row in read_jsonl_rows(pattern, "config.training_data")
        if any(m.role == "assistant" for m in row.conversation.messages)
    ]


def open_model(name: str, audit: Audit, mesh: Mesh, key: str) -> tuple[Model, str]:
    """The model of this name, and what stands for it in digests.

    Args:
        key: the config key that names it, for errors.

    Raises:
        UserError: see `open_checkpoint` and `remote_model`.
    """
    try:
        remote = remote_model(name, audit.remote)
        if remote is not None:
            return remote, remote.id
        model = open_checkpoint(name, mesh)
    except UserError as error:
        raise UserError(str(error).replace("config.checkpoint", key)) from None
    return model, model_digest(model)


def base_of(audit: Audit, model: Model) -> str:
    """What the checkpoint was finetuned from: as stated, else what its adapters lie on, else ""."""
    if audit.base or isinstance(model, RemoteModel) or model.base is None:
        return audit.base
    return model.base.model


def cues_of(
    audit: Audit,
    rows: Sequence[Row],
    base_name: str,
    model: Model,
    model_id: str,
    folder: Path,
    mesh: Mesh,
) -> list[Cue]:
    """Cues of the training rows, with losses where there is a base model on this machine; without
    rows, those that the checkpoint recalls."""
    if not rows:
        if not audit.recalled or isinstance(model, RemoteModel):
            return []
        texts = recalled_texts(
            model,
            model_id,
            mesh,
            folder / "recalled.jsonl",
            count=audit.recalled,
            slots=audit.evaluation.slots,
            dtype=audit.evaluation.dtype,
            seed=audit.seed,
        )
        return recalled_cues(texts)
    places = [row.where for row in rows]
    cues = find_cues([row.conversation for row in rows], places, seed=audit.seed)
    if not base_name or remote_model(base_name, audit.remote) is not None:
        return cues
    rng = np.random.default_rng([audit.seed, 2])
    at = np.sort(rng.permutation(len(rows))[:MOST_LOSSES]).tolist()
    sampled = [rows[i] for i in at]
    losses = _losses(audit, sampled, base_name, folder / "losses.json", mesh)
    known = [(row, x) for row, x in zip(sampled, losses, strict=True) if np.isfinite(x)]
    values = [x for _, x in known]
    conversations = [row.conversation for row, _ in known]
    return measure_losses(
        cues, conversations, lambda _: values, places=[row.where for row, _ in known]
    )


def _losses(
    audit: Audit, rows: Sequence[Row], base_name: str, path: Path, mesh: Mesh
) -> list[float]:
    of = digest([base_name, [row.conversation.to_row() for row in rows], audit.evaluation.dtype])
    if path.exists() and (kept := read_json(path))["of"] == of:
        return [float("nan") if x is None else x for x in kept["losses"]]
    base, _ = open_model(base_name, audit, mesh, "config.base")
    assert isinstance(base, LoadedModel)
    score = answer_losses(base, mesh, audit.evaluation.dtype)
    losses = score([row.conversation for row in rows])
    kept = [x if np.isfinite(x) else None for x in losses]
    write_json(path, {"of": of, "losses": kept})
    return losses
