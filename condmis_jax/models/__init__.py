"""One decoder for every family; the weight table; import and export; names of models."""

from condmis_jax.models._weight import Weight
from condmis_jax.models.adapters import save_adapter
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.decoder import Decoder, logits
from condmis_jax.models.hf import TOKENIZER_FILES, load_params, save_folder
from condmis_jax.models.loading import (
    Base,
    LoadedModel,
    load_model,
    model_digest,
    new_adapters,
    with_adapters,
)
from condmis_jax.models.lora import Lora, LoraSettings
from condmis_jax.models.tokenizer import load_tokenizer, stop_tokens
from condmis_jax.models.weights import Params, init_params, weight_table

__all__ = [
    "TOKENIZER_FILES",
    "Base",
    "Decoder",
    "DecoderConfig",
    "LoadedModel",
    "Lora",
    "LoraSettings",
    "Params",
    "Weight",
    "init_params",
    "load_model",
    "load_params",
    "load_tokenizer",
    "logits",
    "model_digest",
    "new_adapters",
    "save_adapter",
    "save_folder",
    "stop_tokens",
    "weight_table",
    "with_adapters",
]
