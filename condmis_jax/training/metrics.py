"""Metrics leave the device on their own thread, so that the training loop never waits for them."""

from __future__ import annotations

import queue
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tqdm

from condmis_jax.errors import UserError
from condmis_jax.runs import JsonlWriter
from condmis_jax.sharding.hosts import is_first, lost_host, several

AHEAD = 8  # steps the loop may run ahead of the metrics; bounds the work in flight
LINE_SECONDS = 10.0  # between progress lines when the output is not a terminal


class Metrics:
    """Writes `metrics.jsonl`, TensorBoard and the progress bar of one stage.

    The loop hands over device arrays; a thread waits for their values. A loss that is not finite
    is remembered and raised in the loop by `check`, `AHEAD` steps later. Of several hosts the first
    writes; all look at the values.
    """

    def __init__(self, folder: Path, label: str, steps: int, done: int):
        self._jsonl: JsonlWriter | None = None
        if is_first():
            from tensorboardX import SummaryWriter

            self._jsonl = JsonlWriter(folder / "metrics.jsonl")
            self._board = SummaryWriter(str(folder / "tensorboard"))
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(AHEAD)
        self._failed: tuple[int, UserError] | None = None
        self._label, self._steps, self._started_at = label, steps, done
        terminal = sys.stderr.isatty() and is_first()
        self._bar = tqdm.tqdm(
            total=steps, initial=done, desc=label, unit="step", disable=not terminal
        )
        self._lines = not terminal and is_first()
        self._begin = self._last_line = time.monotonic()
        self._tokens = 0
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def put(self, step: int, tokens: int, values: dict[str, Any]) -> None:
        """Hands over the metrics of a step; `values` may be arrays still being computed."""
        self._queue.put({"step": step, "tokens": tokens, **values})

    def check(self, step: int) -> None:
        """Raises UserError when a loss was not finite, known by `step` whatever the timing.

        With one host also when a later loss is known already: several must stop at the same step.
        """
        if self._failed is not None and (not several() or self._failed[0] < step - AHEAD):
            raise self._failed[1]

    def flush(self) -> None:
        """Waits until everything handed over is written, then checks."""
        self._queue.join()
        if self._failed is not None:
            raise self._failed[1]

    def _drain(self) -> None:
        while (row := self._queue.get()) is not None:
            step = row["step"]
            try:
                self._write(row)
            # A full disk, or a value that another host's end took away. The thread must go on
            # emptying the queue, or the loop would wait for it for ever.
            except Exception as error:
                unwritten = UserError(f"{self._label}: metrics cannot be written: {error}")
                self._fail(step, lost_host(error) or unwritten)
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _fail(self, step: int, error: UserError) -> None:
        self._failed = self._failed or (step, error)

    def _write(self, row: dict[str, Any]) -> None:
        step, tokens = row.pop("step"), row.pop("tokens")
        values = {name: float(np.asarray(v)) for name, v in row.items()}
        if not all(np.isfinite(v) for v in values.values()):
            message = (
                f"{self._label}: step {step} has a loss or gradient that is not finite ({values}); "
                "lower learning_rate or set clip_norm; checkpoints hold the last finite state"
            )
            self._fail(step, UserError(message))
        self._tokens += tokens
        now = time.monotonic()
        values["tokens_per_second"] = self._tokens / max(now - self._begin, 1e-9)
        if self._jsonl is None:
            return
        finite = {k: v if np.isfinite(v) else None for k, v in values.items()}
        self._jsonl.append([{"step": step, "tokens": tokens, **finite}])
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        shown = f"loss {values['loss']:.4f}, {values['tokens_per_second']:,.0f} tokens/s"
        self._bar.update(1)
        self._bar.set_postfix_str(shown, refresh=False)
        if self._lines and (now - self._last_line > LINE_SECONDS or step == self._steps):
            self._last_line = now
            done = max(step - self._started_at, 1)
            left = (now - self._begin) / done * (self._steps - step)
            print(
                f"{self._label}: step {step}/{self._steps}, {shown}, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        self._bar.close()
        if self._jsonl is not None:
            self._board.close()
            self._jsonl.close()
