"""The metrics thread: what it writes, and that its death is not the loop's."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
import tiny_stage

from condmis_jax.errors import UserError
from condmis_jax.runs import JsonlWriter
from condmis_jax.training.metrics import Metrics


def test_rows_are_written_in_order(tmp_path: Path) -> None:
    with Metrics(tmp_path, "label", 40, 0) as metrics:
        for step in range(1, 41):
            metrics.put(step, 10, {"loss": jnp.float32(step), "gradient_norm": 1.0})
        metrics.flush()
        rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["step"], r["loss"], r["tokens"]) for r in rows] == [
        (i, float(i), 10) for i in range(1, 41)
    ]
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_a_value_that_is_not_finite_is_raised(tmp_path: Path, name: str, bad: float) -> None:
    with Metrics(tmp_path, "01-lies", 3, 0) as metrics:
        metrics.put(1, 10, {"loss": 1.0, "gradient_norm": 1.0})
        metrics.flush()
        metrics.put(2, 10, {"loss": 1.0, "gradient_norm": 1.0} | {name: jnp.float32(bad)})
        with pytest.raises(UserError, match="01-lies: step 2 has a loss or gradient"):
            metrics.flush()
        metrics.put(3, 10, {"loss": 1.0, "gradient_norm": 1.0})
        with pytest.raises(UserError, match="step 2"):
            metrics.flush()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r[name] for r in rows] == [1.0, None, 1.0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_ends_the_stage_instead_of_hanging_it(
    tmp_path: Path, mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(JsonlWriter, "append", full)
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            tiny_stage.run(tmp_path, mesh)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout=30)  # the whole stage takes a second
    assert ended, "the training loop waits for a metrics thread that is dead"
    assert isinstance(ended[0], UserError), ended[0]
    assert "No space left" in str(ended[0]) and "\n" not in str(ended[0])
