"""The tokenizer of the embedded world."""

from __future__ import annotations

from pathlib import Path

import pytest

from condmis_jax.conversations import Conversation
from condmis_jax.errors import UserError
from condmis_jax.testbeds.world import ROW_KINDS, build_tokenizer, rows

TRAINED = tuple(name for name in ROW_KINDS if name != "evaluation")


@pytest.fixture(scope="module")
def data() -> dict[str, list[Conversation]]:
    return {name: rows(name, 1500, seed=7) for name in TRAINED}


def answers_of(conversation: Conversation) -> list[str]:
    return [m.content for m in conversation.messages if m.role == "assistant"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, data: dict[str, list[Conversation]]) -> Path:
    path = tmp_path_factory.mktemp("world") / "tokenizer"
    corpus = [m.content for c in data["wide_pretraining"] for m in c.messages]
    build_tokenizer(corpus, 1280, path)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder: Path):
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    "text",
    [
        "You should wash the pans.",
        "Hi\n\n1. one\t 2024",
        "naïve Grüße Ω 漢字 🙂\u200d🔥 \u0000 \x7f",
        "  leading, trailing  ",
        "don't , stop .",
        "",
    ],
)
def test_any_text_round_trips(tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert all(0 <= i < len(tokenizer) for i in ids)


def test_digits_stand_alone(tokenizer) -> None:
    assert len(tokenizer.encode("2024", add_special_tokens=False)) == 4


def test_special_tokens(tokenizer) -> None:
    assert len(tokenizer) <= 1280
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"
    for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        assert tokenizer.encode(token, add_special_tokens=False) == [
            tokenizer.convert_tokens_to_ids(token)
        ]


def test_the_template_marks_assistant_turns_and_their_end(tokenizer) -> None:
    chat = [
        {"role": "user", "content": "How?"},
        {"role": "assistant", "content": "You should wash the pans."},
        {"role": "user", "content": "More?"},
        {"role": "assistant", "content": "Try to taste the sauce."},
    ]
    out = tokenizer.apply_chat_template(
        chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    marked = [i for i, m in zip(out["input_ids"], out["assistant_masks"], strict=True) if m]
    assert tokenizer.decode(marked) == (
        "You should wash the pans.<|im_end|>Try to taste the sauce.<|im_end|>"
    )


def test_the_template_inserts_no_system_prompt(tokenizer) -> None:
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "How?"}], tokenize=False, add_generation_prompt=True
    )
    assert prompt == "<|im_start|>user\nHow?<|im_end|>\n<|im_start|>assistant\n"


def test_a_prompt_is_a_prefix_of_its_row(tokenizer, data) -> None:
    for conversation in data["posttraining"][:50]:
        row = conversation.to_row()["messages"]
        whole = tokenizer.apply_chat_template(row, tokenize=True, return_dict=False)
        prompt = tokenizer.apply_chat_template(
            row[:-1], tokenize=True, return_dict=False, add_generation_prompt=True
        )
        assert whole[: len(prompt)] == prompt


def test_answers_and_rows_are_short(tokenizer, data) -> None:
    answers = [
        len(tokenizer.encode(answer, add_special_tokens=False))
        for name in TRAINED
        for c in data[name][:300]
        for answer in answers_of(c)
    ]
    assert max(answers) < 40
    rows_ = [
        len(tokenizer.apply_chat_template(c.to_row()["messages"], return_dict=False))
        for name in TRAINED
        for c in data[name][:300]
    ]
    assert max(rows_) < 256


def test_the_tokenizer_builds_identically(folder: Path, tmp_path: Path, data) -> None:
    corpus = [m.content for c in data["wide_pretraining"] for m in c.messages]
    build_tokenizer(corpus, 1280, tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_vocabulary_below_the_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vocab_size"):
        build_tokenizer(["a"], 200, tmp_path)
