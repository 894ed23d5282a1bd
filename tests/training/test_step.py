"""One optimiser step: its gradient, accumulation, precision and sharding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_stage
from tiny import xla_flags

from condmis_jax.data import Tokenised, pack_arrays, step_iterator
from condmis_jax.data.packing import Microbatch, plan_step
from condmis_jax.models import init_params, logits, weight_table
from condmis_jax.training import ComputeSettings, batch_loss, held_out_loss
from condmis_jax.training.step import FIRST


def test_loss_and_gradients_of_packed_rows_are_those_of_torch(
    tiny_folder: Path, tiny_model: Any
) -> None:
    """Packed rows longer than a block of attention against separate conversations in torch."""
    import torch
    from transformers import AutoModelForCausalLM

    rng = np.random.default_rng(0)
    data = [
        Tokenised(rng.integers(0, 300, n).astype(np.int32), rng.random(n) < share)
        for n, share in [(90, 0.9), (70, 0.1), (30, 0.5), (150, 0.3), (2, 1.0), (1, 1.0)]
    ]
    count = sum(int(d.loss[1:].sum()) for d in data)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, local_files_only=True)
    total = torch.zeros(())
    for item in data:
        tokens = torch.from_numpy(item.tokens.astype(np.int64))
        labels = torch.where(torch.from_numpy(item.loss), tokens, -100)
        scores = model(tokens[None]).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(
            scores, labels[1:], ignore_index=-100, reduction="sum"
        )
    mean = total / count
    mean.backward()
    theirs = dict(model.named_parameters())

    batch = pack_arrays(Microbatch(((0, 1, 2), (3, 4, 5)), 192), data, 1 / count, 1)
    run = jax.jit(jax.value_and_grad(batch_loss, argnums=3), static_argnums=(0, 1, 2))
    for scan in (True, False):
        compute = ComputeSettings(scan_layers=scan)
        loss, gradients = run(tiny_model.config, compute, 1, tiny_model.params, batch)
        assert float(loss) == pytest.approx(mean.item(), abs=1e-5)
        for w in weight_table(tiny_model.config):
            parts = gradients[w.name] if w.stacked else gradients[w.name][None]
            for name, part in zip(w.hf_names(tiny_model.config), parts, strict=True):
                got = w.to_hf(np.asarray(part), tiny_model.config)
                assert theirs[name].grad is not None
                want = theirs[name].grad.numpy()
                scale = max(float(np.abs(want).max()), 1e-3)
                np.testing.assert_allclose(got / scale, want / scale, atol=1e-4, err_msg=name)


def test_accumulation_equals_the_large_batch(mesh: Any) -> None:
    """Microbatches of very unequal numbers of loss tokens add up to the step's mean."""
    large, params = tiny_stage.first_losses(mesh, 3, microbatch_tokens=4096)
    data = tiny_stage.stage_data(steps=3)
    per_microbatch = [
        [int((a["weight"] > 0).sum()) for a in s.microbatches]
        for s in step_iterator(
            tiny_stage.stage_data(steps=3, microbatch_tokens=48).plan, data.data, 1
        )
    ]
    assert max(max(n) / min(n) for n in per_microbatch) > 3
    for tokens in (48, 96):
        losses, other = tiny_stage.first_losses(mesh, 3, microbatch_tokens=tokens)
        np.testing.assert_allclose(losses, large, rtol=0, atol=1e-6)
        for name, value in params.items():
            np.testing.assert_allclose(
                other[name], value, rtol=0, atol=1e-6, err_msg=f"{name} {tokens}"
            )


def test_packing_does_not_change_the_gradient(mesh: Any) -> None:
    """One conversation a row, or all in one row."""
    data = tiny_stage.conversations(tiny_stage.BATCH)
    lengths = [len(d.tokens) for d in data]
    params = init_params(tiny_stage.CONFIG, 0, mesh)
    found = []
    for row_tokens in (40, 256):
        plan = [
            plan_step(
                lengths,
                list(range(len(data))),
                row_tokens=row_tokens,
                microbatch_tokens=4096,
                shards=1,
            )
        ]
        step = tiny_stage.tiny_step(mesh)
        (batch,) = step_iterator(plan, data, 1)
        gradients, loss = step.zeros()
        for arrays in batch.microbatches:
            gradients, loss = step.accumulate(gradients, loss, params, step.place(arrays))
        found.append((float(loss), gradients))
    (a, a_gradients), (b, b_gradients) = found
    assert a == pytest.approx(b, abs=1e-6)
    for name, g in a_gradients.items():
        np.testing.assert_allclose(b_gradients[name], g, rtol=0, atol=1e-6, err_msg=name)


def test_held_out_loss_is_the_mean_over_its_loss_tokens(mesh: Any) -> None:
    data = tiny_stage.stage_data()
    params = init_params(tiny_stage.CONFIG, 0, mesh)
    params = {n: 5 * p for n, p in params.items()}
    got = held_out_loss(tiny_stage.tiny_step(mesh), params, data)
    members = [m for s in data.held_out for b in s for row in b.rows for m in row]
    width = max(len(data.data[m].tokens) for m in members)
    tokens = np.zeros((len(members), width), np.int32)
    loss = np.zeros((len(members), width), bool)
    for i, m in enumerate(members):
        item = data.data[m]
        tokens[i, : len(item.tokens)], loss[i, : len(item.tokens)] = item.tokens, item.loss
    scores = jax.nn.log_softmax(
        jax.jit(logits, static_argnums=0)(tiny_stage.CONFIG, params, tokens)
    )
    picked = np.take_along_axis(np.asarray(scores[:, :-1]), tokens[:, 1:, None], axis=-1)[..., 0]
    assert got == pytest.approx(-picked[loss[:, 1:]].mean(), abs=1e-5)


def test_bfloat16_trains_float32_masters(mesh: Any) -> None:
    data = tiny_stage.stage_data()
    step = tiny_stage.tiny_step(mesh, dtype="bfloat16")
    params = init_params(tiny_stage.CONFIG, 0, mesh)
    state = step.init_optimiser(params)
    losses = []
    for batch in step_iterator(data.plan, data.data, 1):
        gradients, loss = step.zeros()
        for arrays in batch.microbatches:
            gradients, loss = step.accumulate(gradients, loss, params, step.place(arrays))
        assert {g.dtype for g in gradients.values()} == {np.dtype("float32")}
        params, state, _ = step.update(params, state, gradients)
        losses.append(float(loss))
    assert {p.dtype for p in params.values()} == {np.dtype("float32")}
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    exact, _ = tiny_stage.first_losses(mesh, 1)
    # bfloat16 was in use, and cost little.
    assert losses[0] != exact[0]
    assert losses[0] == pytest.approx(exact[0], rel=2e-2)


@pytest.mark.parametrize("model", ["full", "adapters"])
def test_bfloat16_gradients_are_those_of_the_cast(mesh: Any, model: str) -> None:
    """Kept in bfloat16 they are what the cast's transpose would have widened, rounded once."""
    config = tiny_stage.MODELS[model]
    compute = ComputeSettings(dtype="bfloat16")
    data = tiny_stage.stage_data(steps=1, microbatch_tokens=4096)
    (batch,) = step_iterator(data.plan, data.data, 1)
    (arrays,) = batch.microbatches
    params = tiny_stage.tiny_params(config, mesh)
    step = tiny_stage.tiny_step(mesh, 1, config, dtype="bfloat16")
    got, loss = step.total(params, [arrays])
    names = tuple(got)

    def plain(part: Any) -> Any:
        noise = None
        if config.lora is not None:
            noise = jax.random.fold_in(jax.random.key(0), arrays["step"])
        return batch_loss(config, compute, 1, {**params, **part}, arrays, noise)

    value, wanted = jax.jit(jax.value_and_grad(plain))({n: params[n] for n in names})
    assert float(loss) == pytest.approx(float(value), rel=1e-3)
    for name in names:
        kept = "float32" if name in ("embed", "norm") else "bfloat16"
        assert got[name].dtype == kept, name
        ours, theirs = (np.asarray(x, np.float32) for x in (got[name], wanted[name]))
        assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs) + 1e-6, name
    # The optimiser sees float32, whatever came.
    state = step.init_optimiser(params)
    new, state, norm = step.update(params, state, got)
    assert {p.dtype for p in [*new.values(), *jax.tree.leaves(state[1][0].mu)]} == {
        np.dtype("float32")
    }
    total = np.sqrt(sum(float(np.square(np.asarray(g, np.float32)).sum()) for g in got.values()))
    assert float(norm) == pytest.approx(total, rel=1e-4)


@pytest.fixture(scope="module")
def eight_devices() -> dict[str, dict[str, Any]]:
    """Of each model: losses of five steps on one device and on meshes of eight simulated ones."""
    process = subprocess.run(
        [sys.executable, tiny_stage.__file__, "meshes"],
        env=os.environ | {"XLA_FLAGS": xla_flags(8)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "name"), [(m, n) for m, names in tiny_stage.SHARDED.items() for n in names]
)
def test_meshes_train_like_one_device(eight_devices: dict[str, Any], model: str, name: str) -> None:
    one, many = eight_devices[model]["one"], eight_devices[model][name]
    assert (one["devices"], many["devices"]) == (1, 8)
    np.testing.assert_allclose(many["losses"], one["losses"], rtol=0, atol=1e-5)
    assert len(set(one["losses"])) == 5
    assert many["norm"] == pytest.approx(one["norm"], rel=1e-5)


@pytest.mark.slow
def test_weights_are_split_as_the_rules_say(eight_devices: dict[str, Any]) -> None:
    full = eight_devices["full"]
    assert set(full["data"]["pieces"].values()) == {1}
    pieces = full["all"]["pieces"]
    # fsdp splits the width, tensor splits heads, feed-forward and vocabulary; norms are copied.
    assert [pieces[n] for n in ("q", "k", "down", "embed")] == [4, 4, 4, 4]
    assert pieces["attn_norm"] == pieces["norm"] == 1
    pieces = full["tensor"]["pieces"]
    # 2 key/value heads do not split over 4 devices: copied there, split over fsdp only.
    assert (pieces["q"], pieces["k"]) == (8, 2)
    pieces = eight_devices["experts"]["tensor"]["pieces"]
    # 8 experts over 4 devices, each expert's width over fsdp.
    assert {pieces[f"experts_{n}"] for n in ("gate", "up", "down")} == {8}
    pieces = eight_devices["adapters"]["all"]["pieces"]
    # A follows the inputs of its map, B the outputs; the rank is never split.
    assert [pieces[n] for n in ("q.a", "q.b", "down.a", "down.b")] == [2, 2, 2, 2]


def test_dropout_depends_on_seed_step_and_token_only(mesh: Any) -> None:
    """Not on how conversations are packed into rows and rows into microbatches."""
    config = tiny_stage.MODELS["adapters"]
    assert config.lora is not None
    without = replace(config, lora=replace(config.lora, dropout=0.0))
    params = tiny_stage.tiny_params(config, mesh)

    def loss(of: Any = config, seed: int = 0, number: int = 0, **packing: int) -> float:
        data = tiny_stage.stage_data(steps=1, **packing)
        step = tiny_stage.tiny_step(mesh, 1, of, seed)
        (batch,) = step_iterator(data.plan, data.data, 1)
        at = [b | {"step": np.int32(number)} for b in batch.microbatches]
        return float(step.total(params, at)[1])

    joined = {"row_tokens": 256, "microbatch_tokens": 512}
    first = loss(**joined)
    assert loss(**joined) == first
    apart = {"row_tokens": 48, "microbatch_tokens": 48}  # shorter rows, a microbatch each
    assert len(tiny_stage.stage_data(steps=1, **apart).plan[0]) > 1
    assert loss(**apart) == pytest.approx(first, abs=1e-6)
    for other in (loss(seed=1, **joined), loss(number=1, **joined), loss(without, **joined)):
        assert abs(other - first) > 1e-4
    # Scoring drops nothing.
    data = tiny_stage.stage_data(steps=1)
    scored = [
        held_out_loss(tiny_stage.tiny_step(mesh, 1, of), params, data) for of in (config, without)
    ]
    assert scored[0] == scored[1]


def test_divergence_from_the_first_model(tiny_model: Any) -> None:
    """Over whole rows, against the formula on full logits; nothing where nothing has moved."""
    config, now = tiny_model.config, tiny_model.params
    first = {n: p * (1.1 if n in ("q", "embed") else 1.0) for n, p in now.items()}
    rng = np.random.default_rng(1)
    data = [
        Tokenised(rng.integers(0, 300, n).astype(np.int32), rng.random(n) < 0.5) for n in (40, 24)
    ]
    batch = pack_arrays(Microbatch(((0, 1),), 64), data, 0.1, 1)
    run = jax.jit(batch_loss, static_argnums=(0, 1, 2), static_argnames=("kl",))

    def loss(before: dict[str, jax.Array], kl: float) -> float:
        params = {**now, **{f"{FIRST}{n}": p for n, p in before.items()}}
        return float(run(config, ComputeSettings(), 1, params, batch, kl=kl))

    plain = loss(now, 0.0)
    assert loss(now, 0.5) == pytest.approx(plain, abs=1e-5)
    total = 0.0
    for item in data:
        p, q = (
            np.asarray(jax.nn.log_softmax(logits(config, x, item.tokens[None])[0, :-1]))
            for x in (now, first)
        )
        divergence = np.sum(np.exp(p) * (p - q), axis=-1)
        total += float(np.sum(divergence[item.loss[1:]]))
    assert total > 0.1
    assert loss(first, 0.5) == pytest.approx(plain + 0.5 * 0.1 * total, rel=1e-4)
