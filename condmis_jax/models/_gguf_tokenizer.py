"""A `tokenizers` tokenizer from the metadata of a GGUF file.

Two kinds are rebuilt: byte-level BPE, whose merges are in the file (`_gguf_bpe`), and SentencePiece
BPE, whose merges follow from the scores of its tokens (`_gguf_sentencepiece`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.models import _gguf_bpe, _gguf_sentencepiece
from condmis_jax.models._gguf_vocabulary import PROCEED, Vocabulary

KINDS = {"gpt2": _gguf_bpe.build, "llama": _gguf_sentencepiece.build}
# Control tokens that end an assistant turn although a file names another token as its end.
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|return|>", "<|call|>")


def build_tokenizer(metadata: Mapping[str, Any], where: str) -> Any:
    """Builds the tokenizer that a GGUF file describes.

    Args:
        metadata: key -> value of the file.
        where: the file, for messages.
    Returns:
        a `tokenizers.Tokenizer`; text encodes as in the model's own tokenizer.
    Raises:
        UserError: the kind of tokenizer or its pre-tokenizer is not known, or the metadata are
            incomplete or contradict themselves.
    Source: the metadata keys are those of ggml-org/ggml, docs/gguf.md, "Tokenizer".
    """
    from tokenizers import processors

    v = Vocabulary(metadata, where)
    kind = v.need("model")
    if kind not in KINDS:
        raise UserError(
            f"{where}: tokenizer.ggml.model {kind!r} is not supported (supported: "
            f"{', '.join(KINDS)}); {PROCEED}"
        )
    tokenizer, adds_bos = KINDS[kind](v)
    named = special_tokens(metadata, where)
    first = named.get("bos_token") if v.get("add_bos_token", adds_bos) else None
    last = named.get("eos_token") if v.get("add_eos_token") else None
    if ends := [token for token in (first, last) if token]:
        before, after = ([first] if first else []), ([last] if last else [])
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after],
            pair=[*before, "$A", *after, *(f"{t}:1" for t in before), "$B:1"]
            + [f"{t}:1" for t in after],
            special_tokens=[(token, v.ids[token]) for token in dict.fromkeys(ends)],
        )
    return tokenizer


def special_tokens(metadata: Mapping[str, Any], where: str) -> dict[str, str]:
    """Role (`bos_token`, `eos_token`, `pad_token`, `unk_token`) -> text, of those in the file.

    Raises:
        UserError: an id lies outside the vocabulary.
    """
    tokens = metadata["tokenizer.ggml.tokens"]
    named = {}
    for role, word in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        key = f"tokenizer.ggml.{word}_token_id"
        if key in metadata:
            if not 0 <= metadata[key] < len(tokens):
                raise UserError(
                    f"{where}: {key} is {metadata[key]}, outside the vocabulary of {len(tokens)} "
                    f"tokens; {PROCEED}"
                )
            named[f"{role}_token"] = tokens[metadata[key]]
    return named


def stop_ids(metadata: Mapping[str, Any]) -> list[int]:
    """Ids that end a generation: those that the file names, and a turn end that its template has.

    Files of chat models often name only the end of text; their template shows the end of a turn.
    """
    ids = [metadata.get(f"tokenizer.ggml.{word}_token_id") for word in ("eos", "eot", "eom")]
    template = metadata.get("tokenizer.chat_template", "")
    tokens = metadata["tokenizer.ggml.tokens"]
    # Phi-3's end of a turn is gpt-oss's end of a message, behind which more follows.
    phi = metadata["general.architecture"] == "phi3"
    ends = (*TURN_ENDS, "<|end|>") if phi else TURN_ENDS
    ids += [tokens.index(end) for end in ends if end in template and end in tokens]
    return list(dict.fromkeys(i for i in ids if i is not None and 0 <= i < len(tokens)))


def write_tokenizer(metadata: Mapping[str, Any], folder: Path, where: str, length: int) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`, chat template included.

    Args:
        metadata: key -> value of the GGUF file.
        where: the file, for messages.
        length: longest sequence of the model, in tokens.
    Raises:
        UserError: see `build_tokenizer`.
    """
    build_tokenizer(metadata, where).save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        # The generic class reads tokenizer.json as it is; a model's own class may rebuild parts.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": length,
        **special_tokens(metadata, where),
    }
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
