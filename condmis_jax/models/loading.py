"""From the `model` string of a config to a model in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.hf import load_params
from condmis_jax.models.registry import resolve
from condmis_jax.models.tokenizer import load_tokenizer, stop_tokens
from condmis_jax.models.weights import Params


@dataclass(frozen=True)
class LoadedModel:
    """A decoder with everything that belongs to it.

    Attributes:
        folder: the Hugging Face folder it came from; an export takes tokenizer files from it.
        stop: token ids that end an assistant turn.
    """

    folder: Path
    config: DecoderConfig
    params: Params
    tokenizer: Any
    stop: tuple[int, ...]


def load_model(model: str, mesh: Mesh) -> LoadedModel:
    """Loads a folder, a `.gguf` file, a registered name or a hub name that was fetched before.

    Raises:
        UserError: see `registry.resolve`, `DecoderConfig.from_folder` and `hf.load_params`.
    """
    folder = resolve(model)
    config = DecoderConfig.from_folder(folder)
    tokenizer = load_tokenizer(folder)
    if len(tokenizer) > config.V:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, config.json's vocab_size is "
            f"{config.V}; they belong to different models"
        )
    params = load_params(folder, config, mesh)
    return LoadedModel(folder, config, params, tokenizer, stop_tokens(folder, tokenizer))
