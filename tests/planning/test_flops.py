"""The formulas against the compiler's own count, where no loop hides anything from it."""

from __future__ import annotations

from typing import Any

import jax
import pytest

from condmis_jax.models import DecoderConfig
from condmis_jax.models.layers import Remat
from condmis_jax.planning import flops
from condmis_jax.planning.programs import abstract_microbatch, abstract_params
from condmis_jax.training import ComputeSettings, batch_loss

CONFIG = DecoderConfig.from_dict(
    {
        "model_type": "qwen2",
        "vocab_size": 2048,
        "hidden_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 1408,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
    }
)


@pytest.mark.parametrize("remat", ["none", "products", "layer"])
def test_training_flops_are_those_the_compiler_counts(mesh: Any, remat: Remat) -> None:
    rows, length = 1, 128  # one chunk of the loss: its loop turns once
    compute = ComputeSettings(scan_layers=False, remat=remat)
    grad = jax.jit(jax.grad(batch_loss, argnums=3), static_argnums=(0, 1, 2))
    lowered = grad.lower(
        CONFIG, compute, 1, abstract_params(CONFIG, mesh), abstract_microbatch(mesh, rows, length)
    )
    counted = lowered.compile().cost_analysis()["flops"]
    said = flops.training(CONFIG, rows, length, rows * length, remat=remat).executed
    # The compiler also counts norms and softmax, and whole blocks of keys on the diagonal.
    assert said == pytest.approx(counted, rel=0.05)


def test_recomputation_costs_a_third_of_the_layers() -> None:
    kept = flops.training(CONFIG, 4, 256, 0, remat="none")
    again = flops.training(CONFIG, 4, 256, 0, remat="layer")
    assert kept.model == again.model
    weights = sum(flops.count(CONFIG, w) for w in flops.matrices(CONFIG))
    assert again.model > 6 * weights * 4 * 256
    assert again.executed / kept.executed == pytest.approx(4 / 3, rel=0.02)


def test_decoding_reads_every_weight_once_for_a_token() -> None:
    one = flops.decoding(CONFIG, 1, 0)
    table = {w.name: flops.count(CONFIG, w) for w in flops.weight_table(CONFIG)}
    used = sum(
        n for name, n in table.items() if name != "embed" and not name.endswith(("norm", "bias"))
    )
    assert one == 2 * used
