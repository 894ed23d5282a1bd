"""The tokenizer of a model folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError, first_line


def load_tokenizer(folder: Path) -> Any:
    """The `transformers` tokenizer of a folder, chat template included.

    Raises:
        UserError: there is no tokenizer or no chat template; says how to supply it.
    """
    from transformers import AutoTokenizer

    if not any((folder / f).exists() for f in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise UserError(
            f"{folder}: no tokenizer; copy tokenizer.json and tokenizer_config.json of the model "
            "into the folder"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        reason = first_line(error)
        raise UserError(f"{folder}: the tokenizer cannot be loaded ({reason})") from None
    if not tokenizer.chat_template:
        raise UserError(
            f"{folder}: the tokenizer has no chat template; put chat_template.jinja into the folder"
        )
    return tokenizer


def stop_tokens(folder: Path, tokenizer: Any) -> tuple[int, ...]:
    """Token ids that end an assistant turn: those of generation_config.json and the tokenizer's."""
    ids = set()
    path = folder / "generation_config.json"
    if path.exists():
        try:
            eos = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError, AttributeError):
            raise UserError(f"{path}: not a JSON object; correct or delete it") from None
        ids |= set(eos if isinstance(eos, list) else [eos])
    ids.add(tokenizer.eos_token_id)
    return tuple(sorted(i for i in ids if i is not None))
