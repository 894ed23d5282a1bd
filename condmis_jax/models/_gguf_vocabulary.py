"""The tokens of a GGUF file, with what both kinds of tokenizer need to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from condmis_jax.errors import UserError

PROCEED = "use the model's Hugging Face folder, with its tokenizer.json, instead of the .gguf file"
# GGUF token types (ggml-org/ggml, docs/gguf.md: tokenizer.ggml.token_type).
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


class Vocabulary:
    """The tokens, and look-ups in the `tokenizer.ggml` keys of the metadata.

    Attributes:
        architecture: of the model.
        where: the file; errors begin with it.
        tokens, types: of each id.
        ids: token -> id.

    Raises:
        UserError: a key is missing, or the tokens contradict themselves.
    """

    def __init__(self, metadata: Mapping[str, Any], where: str):
        self._metadata, self.where = metadata, where
        self.architecture = metadata.get("general.architecture")
        self.tokens: list[str] = self.need("tokens")
        self.types: list[int] = self.need("token_type")
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        if not len(self.types) == len(self.ids) == len(self.tokens):
            raise UserError(
                f"{where}: {len(self.tokens)} tokens, {len(self.ids)} of them distinct, with "
                f"{len(self.types)} token types: the tokenizer is damaged; {PROCEED}"
            )

    def get(self, key: str, default: Any = None) -> Any:
        return self._metadata.get(f"tokenizer.ggml.{key}", default)

    def need(self, key: str) -> Any:
        if (value := self.get(key)) is None:
            raise UserError(
                f"{self.where}: metadata key tokenizer.ggml.{key} is missing; {PROCEED}"
            )
        return value

    def of_types(self, *types: int) -> list[str]:
        """The tokens of these types, by id."""
        return [t for t, kind in zip(self.tokens, self.types, strict=True) if kind in types]
