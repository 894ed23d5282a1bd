"""Opening what an evaluation asks: a stage of ours, or anything that `models` loads."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from jax.sharding import Mesh

from condmis_jax.config import build
from condmis_jax.errors import UserError
from condmis_jax.models import (
    Base,
    DecoderConfig,
    LoadedModel,
    Lora,
    load_model,
    load_tokenizer,
    model_digest,
    stop_tokens,
    with_adapters,
)
from condmis_jax.runs import is_bucket, opened, read_json, write_json
from condmis_jax.training import Checkpoints

HF = "hf"
"""In a stage's folder: config.json and tokenizer files, so that the stage stands on its own."""

BASE_MODEL = "base_model.json"
"""In a stage of adapters: the base model's name and digest, and the adapters' form."""


def open_checkpoint(checkpoint: str, mesh: Mesh) -> LoadedModel:
    """Loads a stage folder of a run (`…/stages/01-insecure`, also in a bucket; `…@STEP` for an
    earlier checkpoint that it kept), or a model by `registry.resolve`.

    Raises:
        UserError: nothing is there, or it cannot be read.
    """
    if is_bucket(checkpoint):
        with opened(checkpoint, writes=False) as copy:
            return open_stage(copy, mesh)
    folder = Path(checkpoint).expanduser()
    if (folder / "checkpoints").is_dir():
        return open_stage(folder, mesh)
    stage, _, step = checkpoint.rpartition("@")
    if step.isdecimal() and (Path(stage).expanduser() / "checkpoints").is_dir():
        return open_stage(Path(stage).expanduser(), mesh, int(step))
    if not folder.exists() and checkpoint.startswith((".", "/", "~", "runs/")):
        raise UserError(
            f"config.checkpoint: {checkpoint} does not exist; give a stage folder "
            "(runs/NAME/seed-0/stages/01-…) or a Hugging Face folder"
        )
    return load_model(checkpoint, mesh)


def open_stage(folder: Path, mesh: Mesh, step: int | None = None) -> LoadedModel:
    """The model that a stage ended with; a stage of adapters loads its base model.

    Args:
        step: of an earlier checkpoint that the stage kept.

    Raises:
        UserError: the stage has no such checkpoint or it is damaged, or its base model is gone
            or is another one now.
    """
    if (folder / BASE_MODEL).exists():
        model = _open_base(folder, mesh)
    else:
        source = folder / HF
        tokenizer = load_tokenizer(source)
        config = DecoderConfig.from_folder(source)
        model = LoadedModel(source, config, {}, tokenizer, stop_tokens(source, tokenizer))
    with Checkpoints(folder / "checkpoints") as checkpoints:
        trained = checkpoints.restore_params(model.config, mesh, step)
    return replace(model, params={**model.params, **trained})


def keep_base(folder: Path, model: LoadedModel) -> None:
    """Writes what `open_stage` needs to find the base model of adapters again."""
    assert model.base is not None and model.config.lora is not None
    write_json(folder / BASE_MODEL, {**asdict(model.base), "lora": asdict(model.config.lora)})


def _open_base(folder: Path, mesh: Mesh) -> LoadedModel:
    """The base model of a stage of adapters, with a config that asks for them."""
    kept = read_json(folder / BASE_MODEL)
    name = kept["model"]
    lora = build(Lora, kept["lora"], str(folder / BASE_MODEL))
    try:
        model = load_model(name, mesh, dtype=lora.base_dtype)
    except UserError as error:
        raise UserError(f"{folder}: its base model {name!r} cannot be loaded: {error}") from None
    base = Base(name, model_digest(model))
    if base.digest != kept["digest"]:
        raise UserError(
            f"{folder}: its base model {name!r} has changed since the stage was trained (digest "
            f"{base.digest[:8]} instead of {kept['digest'][:8]}); bring the old one back, "
            f"or put its path into {BASE_MODEL}"
        )
    return with_adapters(model, replace(model.config, lora=lora), {}, base)
