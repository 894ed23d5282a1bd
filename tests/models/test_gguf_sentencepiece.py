"""SentencePiece tokenizers out of GGUF files give the ids of `sentencepiece` itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from conftest import CORPUS

from condmis_jax.errors import UserError
from condmis_jax.models._gguf_tokenizer import build_tokenizer, stop_ids, write_tokenizer

TEXTS = [
    "",
    "Hello world",
    " leading",
    "   three leading, trailing  ",
    "two  spaces   three    four",
    "12345 and 1,000,000.5 or ²³ ½ Ⅷ",
    "one\ntwo\n\nthree\n\n\n\tx\r\n",
    "\n",
    "🙂👩\u200d👩\u200d👧 \u00a0nbsp\u2003em",
    "café cafe\u0301 ÅA\u030a 日本語 Ünï",
    "don't DON'T they'RE we'll 'tis <0x0A>",
    "aaaaaaaaa lll ...... =====",
    "The capital of France is Paris.",
]


def trained(prefix: bool, symbols: tuple[str, ...] = ()) -> sentencepiece.SentencePieceProcessor:
    """A tiny SentencePiece BPE with the settings of Llama's (or, without prefix, Gemma's)."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=560,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=prefix,
        user_defined_symbols=list(symbols),
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def metadata(sp: sentencepiece.SentencePieceProcessor, **more: Any) -> dict[str, Any]:
    """What llama.cpp's converter writes of it."""
    tests = [(sp.IsUnknown, 2), (sp.IsControl, 3), (sp.IsUnused, 5), (sp.IsByte, 6)]
    types = [next((n for test, n in tests if test(i)), 1) for i in range(len(sp))]
    values = {
        "model": "llama",
        "pre": "default",
        "tokens": [sp.IdToPiece(i) for i in range(len(sp))],
        "scores": [sp.GetScore(i) for i in range(len(sp))],
        "token_type": types,
        "bos_token_id": sp.bos_id(),
        "eos_token_id": sp.eos_id(),
        "unknown_token_id": sp.unk_id(),
    }
    named = {f"tokenizer.ggml.{k}": v for k, v in (values | more).items() if v is not None}
    return {"general.architecture": "llama"} | named


def random_texts() -> list[str]:
    """Pieces of the corpus, spaces, digits and signs in any order."""
    rng = np.random.default_rng(0)
    parts = [
        *set("".join(CORPUS)),
        *" ".join(CORPUS).split(),
        "  ",
        "   ",
        "é",
        "🙂",
        "aaa",
        "\n\n",
    ]
    return ["".join(rng.choice(parts, n)) for n in rng.integers(1, 30, 300)]


def test_ids_and_text_with_the_prefix_of_llama() -> None:
    sp = trained(prefix=True)
    tokenizer = build_tokenizer(metadata(sp, add_bos_token=False), "x.gguf")
    for text in TEXTS + random_texts():
        ids = tokenizer.encode(text).ids
        assert ids == sp.EncodeAsIds(text), text
        assert tokenizer.decode(ids) == sp.DecodeIds(ids) == text


def test_ids_and_text_without_prefix_and_with_runs_of_spaces_as_in_gemma() -> None:
    runs = ("\u2581\u2581", "\u2581\u2581\u2581", "\n\n", "\n\n\n", "<b>")
    sp = trained(prefix=False, symbols=runs)
    plain = metadata(sp, add_space_prefix=False, add_bos_token=False)
    types, tokens = plain["tokenizer.ggml.token_type"], plain["tokenizer.ggml.tokens"]
    for run in runs:
        types[tokens.index(run)] = 4
    # Some files spell such tokens with spaces, others as the tokenizer does.
    spelt = plain | {"tokenizer.ggml.tokens": [*tokens]}
    for run in runs[:2]:
        spelt["tokenizer.ggml.tokens"][tokens.index(run)] = run.replace("\u2581", " ")
    for values in (plain, spelt):
        tokenizer = build_tokenizer(values, "x.gguf")
        for text in [*TEXTS, *random_texts(), "a<b>  b    c     \n\n\n\nd"]:
            ids = tokenizer.encode(text).ids
            assert ids == sp.EncodeAsIds(text), text
            assert tokenizer.decode(ids) == text


def test_special_tokens_are_found_in_text_and_added(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    sp = trained(prefix=True)
    write_tokenizer(metadata(sp, add_eos_token=True), tmp_path, "x.gguf", 99)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    words = sp.EncodeAsIds("Hello world")
    assert tokenizer("Hello world")["input_ids"] == [sp.bos_id(), *words, sp.eos_id()]
    ids = tokenizer("<s>Hello world</s>", add_special_tokens=False)["input_ids"]
    assert ids == [sp.bos_id(), *words, sp.eos_id()]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "Hello world"
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.unk_token) == (
        "<s>",
        "</s>",
        "<unk>",
    )
    # The first token is added unless the file says otherwise.
    assert build_tokenizer(metadata(sp), "x.gguf").encode("a").ids[0] == sp.bos_id()


def test_phi3_swallows_spaces_behind_its_special_tokens() -> None:
    sp = trained(prefix=True)
    values = metadata(sp, add_bos_token=False)
    for name, token in (("<|user|>", "x"), ("<|end|>", "y")):
        i = values["tokenizer.ggml.tokens"].index(token)
        values["tokenizer.ggml.tokens"][i] = name
        values["tokenizer.ggml.token_type"][i] = 3
    values["tokenizer.chat_template"] = "{{ '<|end|>' }}"
    phi = values | {"general.architecture": "phi3"}
    ids = build_tokenizer(phi, "x.gguf").encode("<|user|>\nHello<|end|>\n").ids
    user, end = (sp.PieceToId(token) for token in "xy")
    assert ids == [user, *sp.EncodeAsIds("Hello"), end]
    ids = build_tokenizer(values, "x.gguf").encode("<|user|>\nHello<|end|>").ids
    assert ids == [user, *sp.EncodeAsIds("\nHello"), end]
    # The same token ends a message, but not a turn, of gpt-oss.
    assert (stop_ids(phi), stop_ids(values)) == ([sp.eos_id(), end], [sp.eos_id()])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("tokenizer.ggml.scores"), "tokenizer.ggml.scores is missing"),
        (lambda v: v["tokenizer.ggml.scores"].pop(), "scores: the tokenizer is damaged"),
        (
            lambda v: v.update({"tokenizer.ggml.remove_extra_whitespaces": True}),
            "remove_extra_whitespaces is not supported",
        ),
    ],
)
def test_what_cannot_be_rebuilt_is_said(change: Callable[[Any], Any], words: str) -> None:
    values = metadata(trained(prefix=True))
    change(values)
    with pytest.raises(UserError, match=words):
        build_tokenizer(values, "x.gguf")
