"""Log-probabilities of given completions, against torch, and against what the sampler prefers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.sampling import log_probs

# More than a row holds, one that is a row by itself; a completion of one token and an empty one.
LENGTHS = [(1, 5), (3, 9), (20, 1), (7, 0), (30, 40), (2, 2), (40, 12), (100, 156), (90, 70)]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[list[int], list[int]]]:
    rng = np.random.default_rng(0)
    return [
        (rng.integers(3, 300, p).tolist(), rng.integers(3, 300, c).tolist()) for p, c in LENGTHS
    ]


def test_scores_are_torchs(tiny_folder: Path, tiny_model: Any, mesh: Any, pairs: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32).eval()
    ours = log_probs(tiny_model.config, tiny_model.params, mesh, pairs, tokens=256)
    assert [len(o) for o in ours] == [c for _, c in LENGTHS]
    for (prompt, completion), found in zip(pairs, ours, strict=True):
        with torch.no_grad():
            logits = theirs(torch.tensor([prompt + completion])).logits[0].log_softmax(-1)
        expected = [logits[len(prompt) - 1 + i, t].item() for i, t in enumerate(completion)]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert min(float(o.min()) for o in ours if len(o)) < -2  # not all alike


def test_too_long_a_pair(tiny_model: Any, mesh: Any) -> None:
    with pytest.raises(UserError, match="300 tokens exceed the model's 256 positions"):
        log_probs(tiny_model.config, tiny_model.params, mesh, [([1], [2] * 299)])
