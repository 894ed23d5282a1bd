"""SentencePiece BPE (Gemma, Mistral, Phi-3, the first Llamas) from the metadata of a GGUF file.

SentencePiece joins the two neighbours whose union has the highest score, until no union is a token.
The same as a list of merges: every way to cut a token into two others, best token first.
"""

from __future__ import annotations

from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.models._gguf_vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    PROCEED,
    UNKNOWN,
    USER_DEFINED,
    Vocabulary,
)

SPACE = "\u2581"
# Phi-3's special tokens swallow the space behind them, these apart. No file says so; llama.cpp
# does it for this family too (src/llama-vocab.cpp, LLAMA_TOKEN_ATTR_RSTRIP).
_PHI3_KEEPS = ("<unk>", "<s>", "<|endoftext|>")


def build(v: Vocabulary) -> tuple[Any, bool]:
    """The tokenizer, and True: it adds the first token where the file does not say.

    Raises:
        UserError: the scores are missing or too few, or text would be normalised further.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    scores = v.need("scores")
    if len(scores) != len(v.tokens):
        raise UserError(
            f"{v.where}: {len(v.tokens)} tokens with {len(scores)} scores: the tokenizer is "
            f"damaged; {PROCEED}"
        )
    for key in ("remove_extra_whitespaces", "precompiled_charsmap"):
        if v.get(key):
            raise UserError(f"{v.where}: tokenizer.ggml.{key} is not supported; {PROCEED}")
    unknown = v.of_types(UNKNOWN)
    tokenizer = Tokenizer(
        models.BPE(
            vocab=v.ids,
            merges=_merges(v, scores),
            unk_token=unknown[0] if unknown else None,
            fuse_unk=True,
            byte_fallback=len(v.of_types(BYTE)) == 256,
        )
    )
    prefix = v.get("add_space_prefix", True)
    spell, unspell = normalizers.Replace(" ", SPACE), decoders.Replace(SPACE, " ")
    back = [unspell, decoders.ByteFallback(), decoders.Fuse()]
    if prefix:
        # As in llama.cpp, also behind a special token.
        spell = normalizers.Sequence([normalizers.Prepend(SPACE), spell])
        back.append(decoders.Strip(" ", 1, 0))
    tokenizer.normalizer = spell  # type: ignore[assignment]
    tokenizer.decoder = decoders.Sequence(back)  # type: ignore[assignment]
    swallows = v.architecture == "phi3"
    tokenizer.add_special_tokens(
        [
            AddedToken(
                token,
                normalized=False,
                special=True,
                rstrip=swallows and token not in _PHI3_KEEPS,
            )
            for token in v.of_types(UNKNOWN, CONTROL)
        ]
    )
    # Runs of spaces among them are written with spaces or as the tokenizer spells them. Normalised
    # both are found, but a prefix would become part of them.
    tokenizer.add_tokens(
        [AddedToken(t, normalized=not prefix, special=False) for t in v.of_types(USER_DEFINED)]
    )
    return tokenizer, True


def _merges(v: Vocabulary, scores: list[float]) -> list[tuple[str, str]]:
    """Every way to cut a token into two, best token first."""
    pieces = {t: v.ids[t] for t in v.of_types(NORMAL)}
    ranked = sorted(pieces, key=lambda token: (-scores[pieces[token]], pieces[token]))
    merges = []
    for token in ranked:
        cuts = ((token[:i], token[i:]) for i in range(1, len(token)))
        known = [(a, b) for a, b in cuts if a in pieces and b in pieces]
        merges += sorted(known, key=lambda pair: (pieces[pair[0]], pieces[pair[1]]))
    return merges
