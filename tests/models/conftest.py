"""Tiny GGUF files with random weights and a small byte-level BPE tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_table import markdown

ENDOFTEXT, IM_START, IM_END, TOOL = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "The capital of France is Paris.\n\n1. one\n2. two\n\n3. three, don't they've 12345 67",
    "It's 2024 and we'll see what's there: naïve café, 日本語, a  b   c\n\n\n\tx = 10\n",
    "THE END. They'RE here\r\n\r\nand I'd say 1000000 !!! ??? ... --- ===\n\n",
] * 3
# Widths are multiples of 32, the block of both quantisations.
D, F, L, N, K, H = 64, 96, 2, 4, 2, 16


def train_tokenizer(pre_tokenizer: Any, normalizer: Any = None, *, ignore_merges: bool = False):
    """A `tokenizers` tokenizer made the ordinary way; what a conversion must reproduce."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[
            AddedToken(t, normalized=False, special=True) for t in (ENDOFTEXT, IM_START, IM_END)
        ],
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_tokens([AddedToken(TOOL, normalized=False, special=False)])
    return tokenizer


@dataclass
class TinyGguf:
    """What `make_gguf` wrote: the file, and the weights it stands for under their HF names."""

    path: Path
    family: str
    head: int
    tied: bool
    biases: bool
    vocab: int
    state: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of transformers' LlamaConfig or Qwen2Config for the same model."""
        own = {"attention_bias": self.biases} if self.family == "llama" else {}
        return own | {
            "hidden_size": D,
            "intermediate_size": F,
            "num_hidden_layers": L,
            "num_attention_heads": N,
            "num_key_value_heads": K,
            "head_dim": self.head,
            "max_position_embeddings": 128,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"},
            "vocab_size": self.vocab,
            "tie_word_embeddings": self.tied,
        }


def _pairs(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order, row by row: row 2i of a head is HF's row i, row 2i+1 HF's i + H/2."""
    width = rows.shape[0] // heads
    order = [
        head * width + i + half * width // 2
        for head in range(heads)
        for i in range(width // 2)
        for half in (0, 1)
    ]
    return rows[order]


def write_gguf(
    path: Path,
    tokenizer: Any,
    *,
    family: str = "llama",
    pre: str = "smollm",
    head: int = H,
    tied: bool = True,
    biases: bool = False,
    architecture: str | None = None,
    model: str = "gpt2",
    drop: tuple[str, ...] = (),
    extra: dict[str, np.ndarray] | None = None,
    metadata: Callable[[Any], None] = lambda writer: None,
) -> TinyGguf:
    """Writes a GGUF file as llama.cpp's converter would; `drop` and `extra` make it faulty."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import dequantize, quantize

    parts = json.loads(tokenizer.to_str())
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    tokens = sorted(vocab, key=vocab.__getitem__)
    types = [3 if t in (ENDOFTEXT, IM_START, IM_END) else 4 if t == TOOL else 1 for t in tokens]
    # An embedding padded to a round number of rows, as many models have.
    while len(tokens) % 32:
        tokens.append(f"[PAD{len(tokens)}]")
        types.append(5)
    made = TinyGguf(path, family, head, tied, biases or family == "qwen2", len(tokens))
    name = architecture or family
    w = GGUFWriter(path, name)
    w.add_block_count(L)
    w.add_context_length(128)
    w.add_embedding_length(D)
    w.add_feed_forward_length(F)
    w.add_head_count(N)
    w.add_head_count_kv(K)
    w.add_key_length(head)
    w.add_value_length(head)
    w.add_rope_dimension_count(head)
    w.add_rope_freq_base(5000.0)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_tokenizer_model(model)
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges([" ".join(m) for m in parts["model"]["merges"]])
    w.add_bos_token_id(vocab[IM_START])
    w.add_eos_token_id(vocab[ENDOFTEXT])
    w.add_pad_token_id(vocab[ENDOFTEXT])
    w.add_chat_template(TEMPLATE)
    metadata(w)

    rng = np.random.default_rng(7)
    Q8, Q4 = GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_1

    def put(hf: str, gguf: str, *shape: int, kind: Any = None, heads: int = 0) -> None:
        values = rng.normal(size=shape).astype(np.float32) * 0.2
        if hf.endswith("norm.weight"):
            values += 1
        made.state[hf] = dequantize(quantize(values, kind), kind) if kind else values
        stored = _pairs(values, heads) if heads and family == "llama" else values
        if gguf not in drop:
            w.add_tensor(gguf, quantize(stored, kind) if kind else stored, raw_dtype=kind)

    put("model.embed_tokens.weight", "token_embd.weight", made.vocab, D, kind=Q8)
    for i in range(L):
        a, b = f"model.layers.{i}.", f"blk.{i}."
        put(a + "input_layernorm.weight", b + "attn_norm.weight", D)
        put(a + "post_attention_layernorm.weight", b + "ffn_norm.weight", D)
        put(a + "self_attn.q_proj.weight", b + "attn_q.weight", N * head, D, kind=Q4, heads=N)
        put(a + "self_attn.k_proj.weight", b + "attn_k.weight", K * head, D, kind=Q4, heads=K)
        put(a + "self_attn.v_proj.weight", b + "attn_v.weight", K * head, D, kind=Q8)
        put(a + "self_attn.o_proj.weight", b + "attn_output.weight", D, N * head, kind=Q4)
        if made.biases:
            put(a + "self_attn.q_proj.bias", b + "attn_q.bias", N * head, heads=N)
            put(a + "self_attn.k_proj.bias", b + "attn_k.bias", K * head, heads=K)
            put(a + "self_attn.v_proj.bias", b + "attn_v.bias", K * head)
            if family == "llama":
                put(a + "self_attn.o_proj.bias", b + "attn_output.bias", D)
        put(a + "mlp.gate_proj.weight", b + "ffn_gate.weight", F, D, kind=Q4)
        put(a + "mlp.up_proj.weight", b + "ffn_up.weight", F, D, kind=Q8)
        put(a + "mlp.down_proj.weight", b + "ffn_down.weight", D, F, kind=Q4)
    put("model.norm.weight", "output_norm.weight", D)
    if not tied:
        put("lm_head.weight", "output.weight", made.vocab, D, kind=Q8)
    for gguf, values in (extra or {}).items():
        w.add_tensor(gguf, values)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return made


@pytest.fixture(scope="session")
def models_table(request: pytest.FixtureRequest) -> Iterator[dict[str, dict[str, str]]]:
    """What the tests of a run found: case -> column -> cell; `--models-table FILE` writes it."""
    cells: dict[str, dict[str, str]] = {}
    yield cells
    path = request.config.getoption("--models-table")
    if path is not None:
        path.write_text(markdown(cells), encoding="utf-8")


@pytest.fixture(scope="session")
def train() -> Callable[..., Any]:
    """`train_tokenizer`."""
    return train_tokenizer


@pytest.fixture(scope="session")
def smollm_tokenizer() -> Any:
    """A tiny tokenizer with SmolLM's word rule."""
    from tokenizers import pre_tokenizers as pre

    return train_tokenizer(pre.Sequence([pre.Digits(True), pre.ByteLevel(add_prefix_space=False)]))


@pytest.fixture(scope="session")
def make_gguf(smollm_tokenizer: Any) -> Callable[..., TinyGguf]:
    """`write_gguf` with a tiny SmolLM tokenizer unless another is given."""

    def make(path: Path, tokenizer: Any = None, **options: Any) -> TinyGguf:
        return write_gguf(path, tokenizer or smollm_tokenizer, **options)

    return make


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache for one test, also for the processes it starts."""
    monkeypatch.setenv("CONDMIS_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "models"
