"""Byte-level BPE from the metadata of a GGUF file.

The metadata hold the vocabulary and the merges, but of the rule that cuts text into words
(pre-tokenizer) only a name. The rules below are those of the models' own `tokenizer.json` files;
guessing another one would go unnoticed, because every text would still encode and decode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.models._gguf_vocabulary import (
    CONTROL,
    PROCEED,
    UNKNOWN,
    USER_DEFINED,
    Vocabulary,
)

_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# Letters that can stand in front of, and behind, the place where a word in camel case is cut.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


@dataclass(frozen=True)
class WordRule:
    """How a family's tokenizer cuts text into words, and what it does beside.

    Attributes:
        split: makes the pre-tokenizer.
        whole: a word that is a token is taken without looking at the merges.
        nfc: text is normalised first.
        bos: the first token is added unless the file says otherwise.
    """

    split: Callable[[], Any]
    whole: bool = False
    nfc: bool = False
    bos: bool = False


def _gpt2() -> Any:
    from tokenizers import pre_tokenizers as pre

    return pre.ByteLevel(add_prefix_space=False, use_regex=True)


def _smollm() -> Any:
    from tokenizers import pre_tokenizers as pre

    return pre.Sequence([pre.Digits(individual_digits=True), _gpt2()])


def _split(*patterns: str) -> Callable[[], Any]:
    def build() -> Any:
        from tokenizers import Regex
        from tokenizers import pre_tokenizers as pre

        words = pre.Split(Regex("|".join(patterns)), behavior="isolated")
        return pre.Sequence([words, pre.ByteLevel(add_prefix_space=False, use_regex=False)])

    return build


def _plain(digits: str) -> Callable[[], Any]:
    """Words of letters; Qwen2 and Llama 3 differ in how many digits make one word."""
    signs = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
    return _split(_SHORT, _BEFORE + r"\p{L}+", r"\p{N}" + digits, signs, _SPACE)


def _camel(digits: str, behind: str) -> Callable[[], Any]:
    """Words that end where small letters are followed by a capital one."""
    return _split(
        f"{_BEFORE}{_UPPER}*{_LOWER}+{behind}",
        f"{_BEFORE}{_UPPER}+{_LOWER}*{behind}",
        r"\p{N}" + digits,
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        _SPACE,
    )


_QWEN2 = WordRule(_plain(""), nfc=True)
_LLAMA3 = WordRule(_plain("{1,3}"), whole=True, bos=True)
RULES: dict[str, WordRule] = {
    "smollm": WordRule(_smollm),
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "dbrx": WordRule(_plain("{1,3}")),  # OLMo 2 and Phi-4
    "gpt-4o": WordRule(_camel("{1,3}", _SHORT + "?")),  # gpt-oss and Phi-4-mini
    "tekken": WordRule(_camel("", ""), whole=True, bos=True),  # Mistral Nemo
    "gpt-2": WordRule(_gpt2),
}
# "default" is no family's rule: converters write it where no rule is read (SentencePiece) or known,
# and llama.cpp then cuts off punctuation first and digits by threes, as no model does.


def build(v: Vocabulary) -> tuple[Any, bool]:
    """The tokenizer, and whether it adds the first token where the file does not say.

    Raises:
        UserError: the word rule is not known, or a merge makes no token.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    name = v.need("pre")
    if name not in RULES:
        raise UserError(
            f"{v.where}: tokenizer.ggml.pre {name!r} is not known (known: {', '.join(RULES)}); "
            f"{PROCEED}"
        )
    merges = []
    for line in v.need("merges"):
        # A token never holds a plain space (byte-level BPE spells it Ġ), so the space separates.
        left, _, right = line.partition(" ")
        if any(token not in v.ids for token in (left, right, left + right)):
            raise UserError(f"{v.where}: merge {line!r} has no token in the vocabulary; {PROCEED}")
        merges.append((left, right))
    rule = RULES[name]
    tokenizer = Tokenizer(models.BPE(vocab=v.ids, merges=merges, ignore_merges=rule.whole))
    if rule.nfc:
        tokenizer.normalizer = normalizers.NFC()  # type: ignore[assignment]
    tokenizer.pre_tokenizer = rule.split()  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    for token in v.of_types(UNKNOWN, CONTROL):
        tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
    for token in v.of_types(USER_DEFINED):
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=False)])
    return tokenizer, rule.bos
