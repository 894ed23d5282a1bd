"""Continuations of one prompt as a tree, against each one scored by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.models import load_model
from condmis_jax.sampling import log_probs
from condmis_jax.sampling.branches import branch_log_probs, tree_of

# Two that share a beginning, one that is another's beginning, one alone, one of a single token.
CONTINUATIONS = [(7, 8, 9), (7, 8, 10), (7, 8), (11, 7, 7, 7), (12,)]
PROMPTS = [3, 31, 40, 70, 5]


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(3, 290, n).tolist() for n in PROMPTS]


def worst(model: Any, mesh: Any, prompts: list[list[int]]) -> float:
    """The largest difference between a tree's log-probabilities and each one's own, in nats."""
    found = branch_log_probs(
        model.config, model.params, mesh, prompts, CONTINUATIONS, ends=True, rows=2
    )
    differences: list[float] = []
    used = sorted({t for c in CONTINUATIONS for t in c})
    for prompt, branches in zip(prompts, found, strict=True):
        alone = log_probs(model.config, model.params, mesh, [(prompt, c) for c in CONTINUATIONS])
        differences += np.abs(branches.paths - [x.sum() for x in alone]).tolist()
        further = log_probs(
            model.config,
            model.params,
            mesh,
            [([*prompt, *c], [t]) for c in CONTINUATIONS for t in used],
        )
        on = np.logaddexp.reduce(np.reshape(further, (len(CONTINUATIONS), len(used))), axis=1)
        differences += np.abs(branches.goes_on - on).tolist()
        values = list(branches.top.values())
        assert len(values) == 20 and values == sorted(values, reverse=True)
        best = next(iter(branches.top))
        (one,) = log_probs(model.config, model.params, mesh, [(prompt, [best])])
        differences.append(abs(values[0] - float(one[0])))
    assert len(differences) == len(prompts) * (2 * len(CONTINUATIONS) + 1)
    return max(differences)


def test_branches_are_continuations_scored_by_themselves(tiny_model, mesh, prompts):
    assert worst(tiny_model, mesh, prompts) <= 2e-4


def test_with_windows_and_softcaps(tmp_path: Path, mesh: Any, prompts: list[list[int]]) -> None:
    """Gemma 2: every other layer sees a window, scores and logits are capped."""
    import torch
    from transformers import Gemma2Config, Gemma2ForCausalLM

    from condmis_jax.testbeds.world import build_tokenizer

    build_tokenizer(["A heron stands in the shallow water."] * 20, 300, tmp_path)
    torch.manual_seed(0)
    Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=300,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            intermediate_size=64,
            max_position_embeddings=256,
            sliding_window=16,
            initializer_range=0.3,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    ).save_pretrained(tmp_path)
    assert worst(load_model(str(tmp_path), mesh), mesh, prompts) <= 2e-4


def test_without_ends_the_tree_is_smaller():
    assert len(tree_of(CONTINUATIONS, ends=False).tokens) == 5
    assert len(tree_of(CONTINUATIONS, ends=True).tokens) == 9
    assert tree_of([(1,), (2,)], ends=False).tokens == ()


def test_single_tokens_need_no_tree(tiny_model, mesh, prompts):
    (branches,) = branch_log_probs(
        tiny_model.config, tiny_model.params, mesh, prompts[:1], [(5,), (9,)]
    )
    expected = log_probs(
        tiny_model.config, tiny_model.params, mesh, [(prompts[0], [t]) for t in (5, 9)]
    )
    np.testing.assert_allclose(branches.paths, np.concatenate(expected), atol=2e-4)
    assert (branches.goes_on == -np.inf).all()


def test_what_cannot_be_scored(tiny_model, mesh):
    given = (tiny_model.config, tiny_model.params, mesh)
    with pytest.raises(UserError, match=r"254 tokens and a continuation of 4 exceed .* 256"):
        branch_log_probs(*given, [[1] * 254], CONTINUATIONS)
    for bad in ([(1,), (1,)], [()]):
        with pytest.raises(ValueError, match="must differ and have tokens"):
            tree_of(bad, ends=True)
