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
}
INTRO = """# Model families

One decoder, described by data, computes all of these. The table was written by

```
pytest tests/models/test_parity.py --models-table docs/models.md
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
"""
NOTES = """
What is read from a checkpoint: safetensors in float64, float32, float16 or bfloat16, in one file or
in shards with an index. Quantised checkpoints (gpt-oss as published, in MXFP4) are refused with one
line; so are families, features and tensors that are not in the table. A `gemma3` checkpoint that
also sees is read without its vision tower, and exported as the `gemma3_text` model inside.

Two behaviours to know:

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
