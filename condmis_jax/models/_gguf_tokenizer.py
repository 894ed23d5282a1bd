"""A `tokenizers` tokenizer from the metadata of a GGUF file.

The metadata hold the vocabulary and the merges, but of the rule that cuts text into words
(pre-tokenizer) only a name. The rules below are those of the models' own `tokenizer.json` files;
guessing another one would go unnoticed, because every text would still encode and decode.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError

# GGUF token types (ggml-org/ggml, docs/gguf.md: tokenizer.ggml.token_type).
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4

# The word rules of Qwen2 and Llama 3 differ in how many digits make one word.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PROCEED = "use the model's Hugging Face folder, with its tokenizer.json, instead of the .gguf file"
# Control tokens that end an assistant turn although a file names another token as its end.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>")


def _gpt2() -> Any:
    from tokenizers import pre_tokenizers as pre

    return pre.ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm() -> Any:
    from tokenizers import pre_tokenizers as pre

    return pre.Sequence([pre.Digits(individual_digits=True), _gpt2()])


def _split(digits: str) -> Callable[[], Any]:
    def build() -> Any:
        from tokenizers import Regex
        from tokenizers import pre_tokenizers as pre

        words = pre.Split(Regex(_WORDS.replace("DIGITS", digits)), behavior="isolated")
        return pre.Sequence([words, pre.ByteLevel(add_prefix_space=False, use_regex=False)])

    return build


_QWEN2, _LLAMA3 = _split(""), _split("{1,3}")
PRE_TOKENIZERS: dict[str, Callable[[], Any]] = {
    "smollm": _smollm,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "gpt-2": _gpt2,
    "default": _gpt2,
}


def _need(metadata: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in metadata:
        raise UserError(f"{where}: metadata key {key} is missing; {_PROCEED}")
    return metadata[key]


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
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    kind = _need(metadata, "tokenizer.ggml.model", where)
    if kind != "gpt2":
        raise UserError(
            f"{where}: tokenizer.ggml.model {kind!r} is not supported (only byte-level BPE, "
            f"'gpt2', is); {_PROCEED}"
        )
    pre = _need(metadata, "tokenizer.ggml.pre", where)
    if pre not in PRE_TOKENIZERS:
        raise UserError(
            f"{where}: tokenizer.ggml.pre {pre!r} is not known (known: "
            f"{', '.join(PRE_TOKENIZERS)}); {_PROCEED}"
        )
    tokens = _need(metadata, "tokenizer.ggml.tokens", where)
    types = _need(metadata, "tokenizer.ggml.token_type", where)
    vocabulary = {token: i for i, token in enumerate(tokens)}
    if len(types) != len(tokens) or len(vocabulary) != len(tokens):
        raise UserError(
            f"{where}: {len(tokens)} tokens, {len(vocabulary)} of them distinct, with "
            f"{len(types)} token types: the tokenizer is damaged; {_PROCEED}"
        )
    merges = []
    for line in _need(metadata, "tokenizer.ggml.merges", where):
        # A token never holds a plain space (byte-level BPE spells it Ġ), so the space separates.
        left, _, right = line.partition(" ")
        if any(token not in vocabulary for token in (left, right, left + right)):
            raise UserError(f"{where}: merge {line!r} has no token in the vocabulary; {_PROCEED}")
        merges.append((left, right))
    split = PRE_TOKENIZERS[pre]
    llama3 = split is _LLAMA3
    # Llama 3 takes a whole word that is in the vocabulary without looking at the merges.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=llama3))
    if split is _QWEN2:
        tokenizer.normalizer = normalizers.NFC()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = split()  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    for token, kind in zip(tokens, types, strict=True):
        if kind in (UNKNOWN, CONTROL):
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif kind == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False, special=False)])
    named = special_tokens(metadata, where)
    first = named.get("bos_token") if metadata.get("tokenizer.ggml.add_bos_token", llama3) else None
    last = named.get("eos_token") if metadata.get("tokenizer.ggml.add_eos_token") else None
    if ends := [token for token in (first, last) if token]:
        before, after = ([first] if first else []), ([last] if last else [])
        tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
            single=[*before, "$A", *after],
            pair=[*before, "$A", *after, *(f"{t}:1" for t in before), "$B:1"]
            + [f"{t}:1" for t in after],
            special_tokens=[(token, vocabulary[token]) for token in dict.fromkeys(ends)],
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
                    f"tokens; {_PROCEED}"
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
    ids += [tokens.index(end) for end in _TURN_ENDS if end in template and end in tokens]
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
