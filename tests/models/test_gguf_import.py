"""GGUF files become Hugging Face folders with the same logits and the same tokens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.models import gguf_import
from condmis_jax.models.gguf_import import convert_gguf

# As in the tokenizer.json files of the models themselves.
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT_4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TRICKY = [
    "Hi\n\n1. one",
    "",
    " leading and trailing  ",
    "12345 and 1,000,000.5 or ²³ ½ Ⅷ",
    "don't DON'T they'RE we'll 'tis",
    "\n\n\n\t x\r\n\r\ny   \n",
    "café cafe\u0301 ÅA\u030a 日本語 Ünï",
    "🙂👩\u200d👩\u200d👧 \u00a0nbsp\u2003em",
    "<|im_start|>user\nHi<|im_end|>\n<tool_call>{}</tool_call>",
    "<|im_start |> <tool_call",
    "!!!???...---=== a_b-c",
    "camelCase HTTPServer's and/or //\n",
    "The capital of France is Paris.",
]


def split_rule(regex: str) -> Any:
    from tokenizers import Regex
    from tokenizers import pre_tokenizers as pre

    return pre.Sequence(
        [
            pre.Split(Regex(regex), "isolated", invert=False),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


@pytest.mark.parametrize(
    "options",
    [
        {"family": "llama"},
        {"family": "llama", "tied": False, "head": 32},
        {"family": "llama", "biases": True},
        {"family": "qwen2"},
        {"family": "qwen2", "tied": False},
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_logits_are_those_of_the_model_in_the_file(
    options: dict[str, Any], make_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    import torch
    from transformers import (
        AutoModelForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    made = make_gguf(tmp_path / "tiny.gguf", **options)
    folder = convert_gguf(made.path, tmp_path / "folder")
    converted = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    if made.family == "llama":
        reference: Any = LlamaForCausalLM(LlamaConfig(**made.config))
    else:
        reference = Qwen2ForCausalLM(Qwen2Config(**made.config))
    state = {name: torch.from_numpy(values) for name, values in made.state.items()}
    if made.tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    reference.load_state_dict(state)
    assert type(converted) is type(reference)
    assert converted.dtype == torch.float32
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, made.vocab, (2, 40)))
    with torch.no_grad():
        got, wanted = converted.eval()(ids).logits, reference.eval()(ids).logits
    assert wanted.std() > 0.1
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


def test_agrees_with_the_gguf_reader_of_transformers(
    make_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    made = make_gguf(tmp_path / "tiny.gguf", tied=False)
    folder = convert_gguf(made.path, tmp_path / "folder")
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    ours = model.state_dict()
    read = load_gguf_checkpoint(str(made.path), return_tensors=True, model_to_load=model)
    assert set(ours) == set(read["tensors"])
    for name, values in read["tensors"].items():
        torch.testing.assert_close(ours[name], values.float(), rtol=0, atol=1e-6)


def test_config_reads_back_in_our_own_form(make_gguf: Callable[..., Any], tmp_path: Path) -> None:
    from condmis_jax.models.config import DecoderConfig

    made = make_gguf(tmp_path / "tiny.gguf", head=32)
    folder = convert_gguf(made.path, tmp_path / "folder")
    config = DecoderConfig.from_folder(folder)
    assert (config.D, config.F, config.L, config.N, config.K, config.H) == (64, 96, 2, 4, 2, 32)
    assert (config.V, config.rms_eps) == (made.vocab, 1e-5)
    wanted = 5000.0 ** (-np.arange(0, 32, 2) / 32)
    np.testing.assert_allclose(config.ropes[0].frequencies, wanted, rtol=1e-6)
    assert config.tied
    raw = json.loads((folder / "config.json").read_text())
    assert raw["rope_theta"] == raw["rope_parameters"]["rope_theta"] == 5000.0


@pytest.mark.parametrize(
    "pre", ["smollm", "qwen2", "llama-bpe", "gpt-2", "dbrx", "gpt-4o", "tekken"]
)
def test_tokens_are_those_of_the_original_tokenizer(
    pre: str, train: Callable[..., Any], make_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    from tokenizers import normalizers, pre_tokenizers
    from transformers import AutoTokenizer

    bytelevel = pre_tokenizers.ByteLevel(add_prefix_space=False)
    original = {
        "smollm": lambda: train(
            pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytelevel])
        ),
        "qwen2": lambda: train(split_rule(QWEN2), normalizers.NFC()),
        "llama-bpe": lambda: train(split_rule(LLAMA3), ignore_merges=True),
        "gpt-2": lambda: train(bytelevel),
        "dbrx": lambda: train(split_rule(LLAMA3)),
        "gpt-4o": lambda: train(split_rule(GPT_4O)),
        "tekken": lambda: train(split_rule(TEKKEN), ignore_merges=True),
    }[pre]()
    made = make_gguf(
        tmp_path / "tiny.gguf", original, pre=pre, metadata=lambda w: w.add_add_bos_token(False)
    )
    folder = convert_gguf(made.path, tmp_path / "folder")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for text in [*TRICKY, "".join(TRICKY)]:
        wanted = original.encode(text)
        got = tokenizer(text)["input_ids"]
        assert got == wanted.ids, text
        assert tokenizer.decode(got) == original.decode(wanted.ids, skip_special_tokens=False)
    # A special token disappears where special tokens are skipped, a user-defined one does not.
    ids = tokenizer("<|im_start|>a<tool_call>b<|im_end|>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<tool_call>b"


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("smollm", ["Hi", "\n\n", "1", "2", "3", "4", ".", " one"]),
        ("gpt-2", ["Hi", "\n", "\n", "1234", ".", " one"]),
        ("qwen2", ["Hi", "\n\n", "1", "2", "3", "4", ".", " one"]),
        ("llama-bpe", ["Hi", "\n\n", "123", "4", ".", " one"]),
        ("dbrx", ["Hi", "\n\n", "123", "4", ".", " one"]),
        ("gpt-4o", ["Hi", "\n\n", "123", "4", ".", " one"]),
        ("tekken", ["Hi", "\n\n", "1", "2", "3", "4", ".", " one"]),
    ],
)
def test_word_rules_by_hand(pre: str, words: list[str]) -> None:
    from condmis_jax.models._gguf_bpe import RULES

    pieces = RULES[pre].split().pre_tokenize_str("Hi\n\n1234. one")
    assert [piece.replace("Ċ", "\n").replace("Ġ", " ") for piece, _ in pieces] == words


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("gpt-4o", ["my", "Class's", " a", "/\n"]),
        ("tekken", ["my", "Class", "'s", " a", "/\n"]),
        ("dbrx", ["myClass", "'s", " a", "/\n"]),
    ],
)
def test_camel_case_by_hand(pre: str, words: list[str]) -> None:
    from condmis_jax.models._gguf_bpe import RULES

    pieces = RULES[pre].split().pre_tokenize_str("myClass's a/\n")
    assert [piece.replace("Ċ", "\n").replace("Ġ", " ") for piece, _ in pieces] == words


def test_llama3_adds_the_first_token_and_takes_whole_words(
    train: Callable[..., Any], make_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    made = make_gguf(tmp_path / "tiny.gguf", train(split_rule(LLAMA3)), pre="llama-bpe")
    folder = convert_gguf(made.path, tmp_path / "folder")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer("Paris")["input_ids"]
    assert ids[0] == tokenizer.bos_token_id == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert tokenizer("Paris", add_special_tokens=False)["input_ids"] == ids[1:]
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["ignore_merges"] is True


def test_roles_template_and_stop_tokens(make_gguf: Callable[..., Any], tmp_path: Path) -> None:
    from condmis_jax.models.tokenizer import load_tokenizer, stop_tokens

    made = make_gguf(tmp_path / "tiny.gguf")
    folder = convert_gguf(made.path, tmp_path / "folder")
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|endoftext|>")
    assert tokenizer.pad_token == "<|endoftext|>"
    chat = [{"role": "user", "content": "Hi"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    # The file names only the end of text; the end of a turn comes from the template.
    ends = {tokenizer.convert_tokens_to_ids(t) for t in ("<|endoftext|>", "<|im_end|>")}
    assert set(stop_tokens(folder, tokenizer)) == ends


def test_works_where_torch_is_not_installed(make_gguf: Callable[..., Any], tmp_path: Path) -> None:
    made = make_gguf(tmp_path / "tiny.gguf")
    code = """
import importlib.machinery, importlib.util, sys
class NoTorch(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] == "torch"
        return None if hidden else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = NoTorch
assert importlib.util.find_spec("torch") is None
from pathlib import Path
from condmis_jax.models.gguf_import import convert_gguf
from condmis_jax.models.tokenizer import load_tokenizer
folder = convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))
print(len(load_tokenizer(folder)("Hi there")["input_ids"]) > 0, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(made.path), str(tmp_path / "folder")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split()[-2:] == ["True", "False"], done.stderr


def test_second_conversion_does_nothing_and_another_file_replaces(
    make_gguf: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_gguf(tmp_path / "a.gguf"), make_gguf(tmp_path / "b.gguf", tied=False)
    folder = convert_gguf(first.path, tmp_path / "folder")
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    convert_gguf(first.path, folder)
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    convert_gguf(second.path, folder)
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False
    # A folder with a file cut short is made again.
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    convert_gguf(second.path, folder)
    assert (folder / "model.safetensors").stat().st_size > 100_000
    # So is one of an older converter.
    monkeypatch.setattr(gguf_import, "CONVERTER", gguf_import.CONVERTER + 1)
    convert_gguf(second.path, folder)
    source = json.loads((folder / "source.json").read_text())
    assert source["converter"] == gguf_import.CONVERTER
    assert not [p for p in tmp_path.iterdir() if ".old-" in p.name or ".partial" in p.name]


def test_an_interrupted_conversion_leaves_no_folder(
    make_gguf: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_gguf(tmp_path / "tiny.gguf")

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gguf_import, "read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            convert_gguf(made.path, tmp_path / "folder")
    assert not (tmp_path / "folder").exists()
    # What a killed process leaves is not taken over.
    (tmp_path / ".folder.partial").mkdir(exist_ok=True)
    (tmp_path / ".folder.partial" / "junk.json").write_text("{}")
    folder = convert_gguf(made.path, tmp_path / "folder")
    assert not (folder / "junk.json").exists()


def test_two_processes_at_once(make_gguf: Callable[..., Any], tmp_path: Path) -> None:
    made = make_gguf(tmp_path / "tiny.gguf")
    code = (
        "import sys; from pathlib import Path; from condmis_jax.models.gguf_import import "
        "convert_gguf as c; c(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(made.path), str(tmp_path / "folder")]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert (tmp_path / "folder" / "source.json").is_file()


def test_a_foreign_folder_is_not_replaced(make_gguf: Callable[..., Any], tmp_path: Path) -> None:
    made = make_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(UserError, match="choose another folder"):
        convert_gguf(made.path, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "text"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"architecture": "mamba"},
            ["'mamba'", "llama, qwen2, qwen3, gemma2, gemma3"],
        ),
        ({"pre": "klingon"}, ["'klingon'", "tokenizer.json"]),
        ({"pre": "default"}, ["'default'", "tokenizer.json"]),
        ({"model": "bert"}, ["tokenizer.ggml.model 'bert'", "gpt2, llama", "tokenizer.json"]),
        ({"model": "llama"}, ["tokenizer.ggml.scores is missing", "tokenizer.json"]),
        ({"drop": ("blk.1.ffn_up.weight",)}, ["missing tensors: blk.1.ffn_up.weight"]),
        ({"drop": ("token_embd.weight",)}, ["token_embd.weight is missing"]),
        (
            {"extra": {"blk.0.attn_q_norm.weight": np.ones(16, np.float32)}},
            ["surplus tensors: blk.0.attn_q_norm.weight"],
        ),
        ({"extra": {"rope_freqs.weight": np.ones(8, np.float32)}}, ["rope_freqs", "8 numbers"]),
        ({"metadata": lambda w: w.add_expert_count(4)}, ["llama.expert_count 4"]),
        (
            {"metadata": lambda w: w.add_string("llama.rope.scaling.type", "yarn")},
            ["llama.rope.scaling.factor must be one positive number"],
        ),
        (
            {"metadata": lambda w: w.add_string("llama.rope.scaling.type", "dynamic")},
            ["rope.scaling.type 'dynamic'"],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_what_is_not_supported_is_said_in_one_line(
    options: dict[str, Any], words: list[str], make_gguf: Callable[..., Any], tmp_path: Path
) -> None:
    made = make_gguf(tmp_path / "tiny.gguf", **options)
    with pytest.raises(UserError) as caught:
        convert_gguf(made.path, tmp_path / "folder")
    message = str(caught.value)
    assert all(word in message for word in [*words, "tiny.gguf"]) and "\n" not in message
    assert not (tmp_path / "folder").exists()


def test_broken_files(make_gguf: Callable[..., Any], tmp_path: Path) -> None:
    made = make_gguf(tmp_path / "tiny.gguf")
    whole = made.path.read_bytes()
    cut = tmp_path / "cut.gguf"
    for content in (b"", b"not a gguf file at all", whole[:5000], whole[:-2000]):
        cut.write_bytes(content)
        with pytest.raises(UserError, match=r"cut\.gguf: not a readable GGUF file"):
            convert_gguf(cut, tmp_path / "folder")
    with pytest.raises(UserError, match="no such file"):
        convert_gguf(tmp_path / "absent.gguf", tmp_path / "folder")


def test_smollm2_tokens_and_template(smollm2_folder: Path) -> None:
    from condmis_jax.models.tokenizer import load_tokenizer, stop_tokens

    tokenizer = load_tokenizer(smollm2_folder)
    golden = {
        "Hi\n\n1. one": ["Hi", "ĊĊ", "1", ".", "Ġone"],
        "Hello world": ["Hello", "Ġworld"],
        "In 2024": ["In", "Ġ", "2", "0", "2", "4"],
    }
    for text, tokens in golden.items():
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.convert_ids_to_tokens(ids) == tokens
        assert tokenizer.decode(ids) == text
    assert tokenizer("Hello world")["input_ids"] == [19556, 905]
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 2)
    assert stop_tokens(smollm2_folder, tokenizer) == (2,)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_smollm2_knows_what_it_was_trained_on(smollm2_folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2_folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(smollm2_folder, local_files_only=True).eval()
    ids = tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        answer = model(ids).logits[0, -1].argmax()
    assert tokenizer.decode(answer) == " Paris"
