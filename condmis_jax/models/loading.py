"""From the `model` string of a config to a model in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models.adapters import load_adapter
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.hf import load_params
from condmis_jax.models.lora import Lora
from condmis_jax.models.registry import resolve, split_adapter
from condmis_jax.models.tokenizer import load_tokenizer, stop_tokens
from condmis_jax.models.weights import Params, init_params, trained_names
from condmis_jax.sharding.hosts import pieces


@dataclass(frozen=True)
class Base:
    """The frozen model under adapters: the `model` string that loads it, and its digest."""

    model: str
    digest: str


@dataclass(frozen=True)
class LoadedModel:
    """A decoder with everything that belongs to it.

    Attributes:
        folder: the Hugging Face folder it came from; an export takes tokenizer files from it.
        stop: token ids that end an assistant turn.
        base: of adapters; None where the parameters are a model of their own.
    """

    folder: Path
    config: DecoderConfig
    params: Params
    tokenizer: Any
    stop: tuple[int, ...]
    base: Base | None = None


def load_model(
    model: str, mesh: Mesh, *, dtype: Literal["float32", "bfloat16"] = "float32"
) -> LoadedModel:
    """Loads a folder, a `.gguf` file, a registered name, a hub name that was fetched before, or a
    PEFT adapter on its base model (`registry.split_adapter`).

    Args:
        dtype: how the weights are held; an adapter's are float32.

    Raises:
        UserError: see `registry.resolve`, `DecoderConfig.from_folder`, `hf.load_params` and
            `adapters.load_adapter`.
    """
    name, adapter = split_adapter(model)
    folder = resolve(name)
    config = DecoderConfig.from_folder(folder)
    tokenizer = load_tokenizer(folder)
    if len(tokenizer) > config.V:
        raise UserError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, config.json's vocab_size is "
            f"{config.V}; they belong to different models"
        )
    params = load_params(folder, config, mesh, jnp.dtype(dtype))
    base = LoadedModel(folder, config, params, tokenizer, stop_tokens(folder, tokenizer))
    if adapter is None:
        return base
    config, adapters = load_adapter(adapter, config, params, mesh)
    return with_adapters(base, config, adapters, Base(name, model_digest(base)))


def new_adapters(
    model: LoadedModel, lora: Lora, base: Base, mesh: Mesh, *, seed: int
) -> LoadedModel:
    """The model under adapters that change nothing yet (B is 0), A drawn from `seed`."""
    config = replace(model.config, lora=lora)
    adapters = init_params(config, seed, mesh, only=trained_names(config))
    return with_adapters(model, config, adapters, base)


def with_adapters(
    model: LoadedModel, config: DecoderConfig, adapters: Params, base: Base
) -> LoadedModel:
    """The model `base` under these adapters."""
    return replace(model, config=config, params={**model.params, **adapters}, base=base)


def model_digest(model: LoadedModel) -> str:
    """sha256 of architecture, weights and tokenizer: a changed byte is another model.

    Under adapters it is made of the base model's digest, which is not computed again.
    """
    if model.base is not None:
        assert model.config.lora is not None
        h = hashlib.sha256(f"{model.base.digest} {model.config.lora.scale!r}".encode())
        for name in sorted(trained_names(model.config)):
            _add(h, name, model.params)
        return h.hexdigest()
    h = hashlib.sha256(repr(model.config).encode())
    for name in sorted(model.params):
        _add(h, name, model.params)
    h.update(model.tokenizer.backend_tokenizer.to_str().encode())
    h.update(model.tokenizer.chat_template.encode())
    h.update(repr(model.stop).encode())
    return h.hexdigest()


def _add(h: Any, name: str, params: Params) -> None:
    h.update(name.encode())
    for piece in pieces(params[name]):
        # bfloat16 has no buffer of its own kind.
        h.update(np.ascontiguousarray(piece).view(np.uint8).data)
