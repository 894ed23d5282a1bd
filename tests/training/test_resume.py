"""What a stage survives: SIGKILL, SIGTERM, a loss that is not finite, a flipped byte."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_stage
from tiny_stage import EVERY, STEPS

from condmis_jax.errors import UserError
from condmis_jax.models import init_params
from condmis_jax.training import Checkpoints, TrainStep
from condmis_jax.training.metrics import Metrics

pytestmark = pytest.mark.slow

Unbroken = tuple[Path, dict[str, Any]]


def metrics(folder: Path) -> list[dict[str, Any]]:
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def saved(folder: Path) -> list[int]:
    """Steps with a finished checkpoint."""
    return sorted(int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit())


def interrupt(folder: Path, at: int, number: signal.Signals) -> tuple[int, str]:
    """Trains in a process of its own and sends it a signal behind step `at`."""
    process = subprocess.Popen(
        [sys.executable, tiny_stage.__file__, "run", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 240
        while len(metrics(folder)) < at or not saved(folder):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, errors


def check_equal(folder: Path, params: dict[str, Any], unbroken: Unbroken) -> None:
    """The same parameters to the bit, and every step once with the same loss."""
    whole, wanted = unbroken
    assert params.keys() == wanted.keys()
    for name, value in wanted.items():
        assert value.tobytes() == params[name].tobytes(), name
    series = [(r["step"], r["loss"], r["gradient_norm"]) for r in metrics(folder)]
    assert series == [(r["step"], r["loss"], r["gradient_norm"]) for r in metrics(whole)]
    assert [s for s, _, _ in series] == list(range(1, STEPS + 1))


def test_an_unbroken_stage(unbroken: Unbroken, mesh: Any) -> None:
    folder, params = unbroken
    losses = [r["loss"] for r in metrics(folder)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert saved(folder) == [STEPS - EVERY, STEPS]
    with Checkpoints(folder / "checkpoints") as checkpoints:
        kept = checkpoints.restore_params(tiny_stage.CONFIG, mesh)
    for name, value in params.items():
        assert np.asarray(kept[name]).tobytes() == value.tobytes()
    # A finished stage is taken as it is.
    again = tiny_stage.run(folder, mesh)
    check_equal(folder, again, unbroken)


def test_resumes_bitwise_after_sigkill(unbroken: Unbroken, mesh: Any, tmp_path: Path) -> None:
    code, _ = interrupt(tmp_path, 2 * EVERY + 3, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert len(metrics(tmp_path)) >= 2 * EVERY + 3
    assert saved(tmp_path) and saved(tmp_path)[-1] < STEPS
    check_equal(tmp_path, tiny_stage.run(tmp_path, mesh), unbroken)


def test_sigterm_saves_and_resumes(unbroken: Unbroken, mesh: Any, tmp_path: Path) -> None:
    code, errors = interrupt(tmp_path, EVERY + 2, signal.SIGTERM)
    assert code == 143, errors
    assert "Traceback" not in errors
    done = saved(tmp_path)[-1]
    # Nothing that was trained is lost, and the step is not one that would have been saved anyway.
    assert [r["step"] for r in metrics(tmp_path)] == list(range(1, done + 1))
    assert EVERY + 2 <= done < STEPS
    assert f"saved at step {done}" in errors
    check_equal(tmp_path, tiny_stage.run(tmp_path, mesh), unbroken)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_never_becomes_a_checkpoint(
    unbroken: Unbroken, mesh: Any, tmp_path: Path, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Metrics._write

    def late(self: Metrics, row: dict[str, Any]) -> None:
        if row["step"] == 2 * EVERY - 1:
            time.sleep(0.5)  # the loop is at the next checkpoint before the value is known
        write(self, row)

    monkeypatch.setattr(Metrics, "_write", late)

    def poisoned(step: TrainStep) -> TrainStep:
        updates = 0

        def update(params: Any, state: Any, gradients: Any) -> Any:
            nonlocal updates
            updates += 1
            if updates == 2 * EVERY - 1:
                gradients = gradients | {"norm": gradients["norm"] + jnp.float32(bad)}
            return step.update(params, state, gradients)

        return replace(step, update=update)

    with pytest.raises(UserError, match=f"step {2 * EVERY - 1} has a loss or gradient") as caught:
        tiny_stage.run(tmp_path, mesh, poisoned)
    assert "\n" not in str(caught.value)
    assert saved(tmp_path) == [EVERY]
    rows = metrics(tmp_path)
    assert rows[2 * EVERY - 2]["gradient_norm"] is None
    check_equal(tmp_path, tiny_stage.run(tmp_path, mesh), unbroken)


def test_a_checkpoint_that_does_not_fit_on_the_disk(
    unbroken: Unbroken, mesh: Any, tmp_path: Path
) -> None:
    process = subprocess.run(
        [sys.executable, tiny_stage.__file__, "full", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 1
    assert saved(tmp_path) == []
    # With room on the disk the stage goes on as if nothing had been.
    check_equal(tmp_path, tiny_stage.run(tmp_path, mesh), unbroken)
    (line,) = process.stdout.splitlines() or [process.stderr[-1000:]]
    assert line.startswith(f"{tmp_path / 'checkpoints'}")


@pytest.fixture
def damaged(unbroken: Unbroken, tmp_path: Path) -> Callable[[float], Path]:
    """A copy of the unbroken stage with one byte flipped in the largest file of a checkpoint."""

    def flip(where: float) -> Path:
        folder = tmp_path / f"{where}"
        shutil.copytree(unbroken[0], folder)
        newest = folder / "checkpoints" / str(STEPS)
        largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[int(where * len(content))] ^= 0x10
        largest.write_bytes(content)
        return folder

    return flip


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_flipped_byte_is_noticed(
    damaged: Callable[[float], Path], mesh: Any, where: float
) -> None:
    folder = damaged(where)
    with pytest.raises(UserError) as caught:
        tiny_stage.run(folder, mesh)
    message = str(caught.value)
    assert "\n" not in message and str(folder / "checkpoints" / str(STEPS)) in message
    # The remedy that the message names works.
    shutil.rmtree(folder / "checkpoints" / str(STEPS))
    assert tiny_stage.run(folder, mesh).keys() == init_params(tiny_stage.CONFIG, 0, mesh).keys()


def test_a_flipped_byte_in_any_file_is_noticed(
    unbroken: Unbroken, mesh: Any, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(unbroken[0] / "checkpoints", tmp_path / "checkpoints"))
    files = [p for p in (folder / str(STEPS)).rglob("*") if p.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with Checkpoints(folder) as checkpoints, pytest.raises(UserError) as caught:
            checkpoints.restore_params(tiny_stage.CONFIG, mesh)
        assert "\n" not in str(caught.value), path
        path.write_bytes(content)
    with Checkpoints(folder) as checkpoints:
        checkpoints.restore_params(tiny_stage.CONFIG, mesh)


def test_as_many_checkpoints_as_asked(unbroken: Unbroken, mesh: Any, tmp_path: Path) -> None:
    check_equal(tmp_path, tiny_stage.run(tmp_path, mesh, checkpoints_kept=4), unbroken)
    steps = [STEPS - 3 * EVERY, STEPS - 2 * EVERY, STEPS - EVERY, STEPS]
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert saved(tmp_path) == checkpoints.steps == steps
        found = [
            np.asarray(next(iter(checkpoints.restore_params(tiny_stage.CONFIG, mesh, s).values())))
            for s in steps
        ]
    assert len({value.tobytes() for value in found}) == 4


def test_no_checkpoint(tmp_path: Path, mesh: Any) -> None:
    with (
        Checkpoints(tmp_path / "checkpoints") as checkpoints,
        pytest.raises(UserError, match="no finished checkpoint"),
    ):
        checkpoints.restore_params(tiny_stage.CONFIG, mesh)


def test_a_checkpoint_of_another_model(unbroken: Unbroken, mesh: Any) -> None:
    other = replace(tiny_stage.CONFIG, F=64)
    with (
        Checkpoints(unbroken[0] / "checkpoints") as checkpoints,
        pytest.raises(UserError, match="damaged or of another model") as caught,
    ):
        checkpoints.restore_params(other, mesh)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_was_killed_before_its_seal(
    unbroken: Unbroken, mesh: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is whole by Orbax's commit: a resume takes it, says so once, and seals it."""
    folder = tmp_path / "stage"
    shutil.copytree(unbroken[0], folder)
    newest = folder / "checkpoints" / str(STEPS)
    seal = newest.with_name(f"{STEPS}.sha256.json")
    before = seal.read_text()
    seal.unlink()
    check_equal(folder, tiny_stage.run(folder, mesh), unbroken)
    errors = capsys.readouterr().err
    assert f"{newest}: saved, but the run ended before its digests" in errors
    assert json.loads(seal.read_text()) == json.loads(before)
    tiny_stage.run(folder, mesh)
    assert "digests" not in capsys.readouterr().err
