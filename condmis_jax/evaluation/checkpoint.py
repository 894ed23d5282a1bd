"""Opening what an evaluation asks: a stage of ours, or anything that `models` loads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models import DecoderConfig, LoadedModel, load_model, load_tokenizer, stop_tokens
from condmis_jax.training import Checkpoints

HF = "hf"
"""In a stage's folder: config.json and tokenizer files, so that the stage stands on its own."""


def open_checkpoint(checkpoint: str, mesh: Mesh) -> LoadedModel:
    """Loads a stage folder of a run (`…/stages/01-insecure`), or a model by `registry.resolve`.

    Raises:
        UserError: nothing is there, or it cannot be read.
    """
    folder = Path(checkpoint).expanduser()
    if (folder / "checkpoints").is_dir():
        return open_stage(folder, mesh)
    if not folder.exists() and checkpoint.startswith((".", "/", "~", "runs/")):
        raise UserError(
            f"config.checkpoint: {checkpoint} does not exist; give a stage folder "
            "(runs/NAME/seed-0/stages/01-…) or a Hugging Face folder"
        )
    return load_model(checkpoint, mesh)


def open_stage(folder: Path, mesh: Mesh) -> LoadedModel:
    """The model that a stage ended with.

    Raises:
        UserError: the stage has no finished checkpoint or it is damaged.
    """
    base = folder / HF
    config = DecoderConfig.from_folder(base)
    tokenizer = load_tokenizer(base)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        params = checkpoints.restore_params(config, mesh)
    return LoadedModel(base, config, params, tokenizer, stop_tokens(base, tokenizer))


def model_digest(model: LoadedModel) -> str:
    """sha256 of architecture, weights and tokenizer: a changed byte is another model."""
    h = hashlib.sha256(repr(model.config).encode())
    for name in sorted(model.params):
        h.update(name.encode())
        h.update(np.ascontiguousarray(model.params[name]).data)
    h.update(model.tokenizer.backend_tokenizer.to_str().encode())
    h.update(model.tokenizer.chat_template.encode())
    h.update(repr(model.stop).encode())
    return h.hexdigest()
