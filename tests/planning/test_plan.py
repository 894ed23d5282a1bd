"""A plan of the real programs, on simulated CPU devices and, where libtpu is there, a TPU slice."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from condmis_jax.data import DataSettings, Length, Source
from condmis_jax.interventions import Stage
from condmis_jax.planning.plan import step_shapes

SMALL = ("--config", "configs/sequential.py")
FSDP = ("--config.mesh.data=1", "--config.mesh.fsdp=4", "--config.mesh.tensor=2")


def plan(*flags: str) -> dict[str, Any]:
    done = tiny.run("tools/plan.py", *SMALL, *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config.json and nothing else."""
    path = tmp_path_factory.mktemp("shape")
    (path / "config.json").write_text(json.dumps({**tiny.SIZES, "vocab_size": 512}))
    return path


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return plan(*FSDP, f"--config.model={folder}/config.json", "--topology=cpu:8")


def test_sizes_are_those_of_the_arrays(found: dict[str, Any]) -> None:
    """By hand: width over fsdp, heads, feed-forward and vocabulary over tensor, norms copied."""
    V, D, L, N, K, H, F = 512, 32, 2, 4, 2, 8, 64
    split = V * D + L * (2 * D * N * H + 2 * D * K * H + 3 * D * F)
    biases = L * (N + 2 * K) * H
    norms = (2 * L + 1) * D
    weights = 4 * (split // 8 + biases // 2 + norms)
    size = found["bytes_per_device"]
    assert found["parameters"] == split + biases + norms
    assert size["parameters"] == size["gradients"] == weights
    # Two moments beside two step counters.
    assert size["optimiser"] == pytest.approx(2 * weights, abs=16)
    P, G, S, C = 32, 4, 128, 64  # 128 slots for 20 samples; prompts over 4 devices, heads over 2
    assert size["kv_cache"] == 2 * 4 * L * H * (P // 4) * (K // 2) * (S + G * C)
    assert found["mesh"] == {"data": 1, "fsdp": 4, "tensor": 2}


def test_a_step_is_what_the_packing_plan_makes_of_it(found: dict[str, Any]) -> None:
    """16 conversations of 160 tokens, in rows of 160, 2560 tokens at a time."""
    assert found["microbatches"] == [[16, 160]]
    assert found["padding"] == 0
    stage = Stage(
        data=DataSettings(mixture={"a": Source("a")}, row_tokens=128, microbatch_tokens=512),
        length=Length(epochs=1),
        learning_rate=0.1,
    )
    # Four conversations of 30 tokens to a row; 8 devices need 8 rows, 2 make two microbatches.
    assert step_shapes(stage, 30, 8) == ((8, 128),)
    assert step_shapes(stage, 30, 2) == ((4, 128),)
    assert step_shapes(stage, 100, 2) == ((4, 128),) * 4


def test_the_peak_holds_everything_at_once(found: dict[str, Any]) -> None:
    size = found["bytes_per_device"]
    held = size["parameters"] + size["optimiser"] + size["gradients"]
    assert size["training_peak"] >= held + size["batch"] + size["temporaries"]["gradients"]
    assert size["sampling_peak"] > size["parameters"] + size["kv_cache"]
    assert found["fits"] and found["advice"] == []
    assert found["collectives"]["gradients"]["all-gather"]["count"] > 0
    roofline = found["roofline"]
    assert roofline["best"] == max(roofline[k] for k in ("compute", "memory", "network"))


def test_gradients_lie_there_as_they_were_computed(folder: Path, found: dict[str, Any]) -> None:
    """In bfloat16 but for the embedding and the last norm; float32 where microbatches add up."""
    flags = (
        *FSDP,
        f"--config.model={folder}",
        "--topology=cpu:8",
        "--config.compute.dtype=bfloat16",
    )
    size = plan(*flags)["bytes_per_device"]
    weights = size["parameters"] // 4
    wide = 512 * 32 // 8 + 32
    assert size["gradients"] == 4 * wide + 2 * (weights - wide)
    assert size["optimiser"] == found["bytes_per_device"]["optimiser"]


def test_one_line_for_what_the_user_got_wrong(folder: Path) -> None:
    for flags, said in (
        (("--topology=v5p-64",), "v5p:2x4x4"),
        (("--topology=cpu:8", "--config.mesh.data=3"), "does not fit 8 devices"),
    ):
        done = tiny.run("tools/plan.py", *SMALL, f"--config.model={folder}", *flags)
        assert done.returncode == 1
        assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra `tpu`")
def test_a_slice_that_is_not_there(folder: Path) -> None:
    found = plan(*FSDP, f"--config.model={folder}", "--topology=v5e:2x4")
    assert found["versions"]["libtpu"]
    assert found["devices"] == 8 and found["fits"]
    assert found["bytes_per_device"]["temporaries"]["gradients"] > 0
