"""AdamW, its schedule and its mask, against torch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_stage import CONFIG

from condmis_jax.models import init_params, weight_table
from condmis_jax.training import OptimiserSettings, make_optimiser
from condmis_jax.training.optimiser import learning_rate_schedule


def rates(steps: int, peak: float = 2.0, **settings: Any) -> np.ndarray:
    schedule = learning_rate_schedule(OptimiserSettings(**settings), peak, steps)
    return np.asarray([schedule(i) for i in range(steps + 1)])


def test_linear_reaches_zero_behind_the_last_step() -> None:
    got = rates(8, schedule="linear")
    np.testing.assert_allclose(got, 2 * (1 - np.arange(9) / 8), atol=1e-6)
    assert got[7] > 0 and got[8] == 0


def test_cosine_reaches_zero_behind_the_last_step() -> None:
    got = rates(8, schedule="cosine")
    np.testing.assert_allclose(got, 1 + np.cos(np.pi * np.arange(9) / 8), atol=1e-6)
    assert got[7] > 0


def test_constant() -> None:
    assert rates(8, schedule="constant").tolist() == [2.0] * 9


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [1, 4])
def test_warm_up_starts_above_zero_and_reaches_the_peak(schedule: Any, warmup: int) -> None:
    got = rates(12, schedule=schedule, warmup_steps=warmup)
    np.testing.assert_allclose(got[:warmup], 2 * np.arange(1, warmup + 1) / warmup, rtol=1e-6)
    np.testing.assert_allclose(got[warmup:], rates(12 - warmup, schedule=schedule), atol=1e-6)


def test_warm_up_longer_than_the_stage() -> None:
    got = rates(4, schedule="linear", warmup_steps=100)
    np.testing.assert_allclose(got[:4], [0.5, 1.0, 1.5, 2.0], rtol=1e-6)


def test_only_matrices_decay(mesh: Any) -> None:
    settings = OptimiserSettings(schedule="constant", weight_decay=0.5)
    optimiser = make_optimiser(settings, 0.1, 10, CONFIG)
    params = jax.tree.map(lambda p: p + 1, init_params(CONFIG, 0, mesh))
    gradients = jax.tree.map(jnp.zeros_like, params)
    updates, _ = jax.jit(optimiser.update)(gradients, optimiser.init(params), params)
    kinds = {w.name: w.init for w in weight_table(CONFIG)}
    assert set(kinds.values()) == {"normal", "zeros", "ones"}
    for name, update in updates.items():
        factor = -0.05 if kinds[name] == "normal" else 0.0
        np.testing.assert_allclose(update, factor * params[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("clip_norm", [None, 3.0])
def test_updates_are_those_of_torch(mesh: Any, clip_norm: float | None) -> None:
    import torch

    settings = OptimiserSettings(warmup_steps=2, weight_decay=0.1, b2=0.95, clip_norm=clip_norm)
    optimiser = make_optimiser(settings, 1e-2, 5, CONFIG)
    params = init_params(CONFIG, 0, mesh)
    state = optimiser.init(params)
    update = jax.jit(optimiser.update)
    theirs = {n: torch.nn.Parameter(torch.tensor(np.asarray(p))) for n, p in params.items()}
    matrices = {w.name for w in weight_table(CONFIG) if w.init == "normal"}
    other = torch.optim.AdamW(
        [
            {"params": [p for n, p in theirs.items() if n in matrices], "weight_decay": 0.1},
            {"params": [p for n, p in theirs.items() if n not in matrices], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        eps=1e-8,
    )
    schedule = learning_rate_schedule(settings, 1e-2, 5)
    rng = np.random.default_rng(0)
    for i in range(5):
        gradients = {n: rng.normal(0, 0.1, p.shape).astype(np.float32) for n, p in params.items()}
        updates, state = update(gradients, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        for name, p in theirs.items():
            # A copy: clipping is in place, and JAX may still read the numpy array.
            p.grad = torch.tensor(gradients[name])
        if clip_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(theirs.values(), clip_norm)
            assert norm > clip_norm
        for group in other.param_groups:
            group["lr"] = float(schedule(i))
        other.step()
        for name, p in theirs.items():
            np.testing.assert_allclose(
                params[name], p.detach().numpy(), rtol=0, atol=1e-5, err_msg=f"{name} {i}"
            )


@pytest.mark.parametrize(
    "options", [{"warmup_steps": -1}, {"b1": 1.0}, {"b2": -0.1}, {"clip_norm": 0.0}]
)
def test_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        OptimiserSettings(**options)
