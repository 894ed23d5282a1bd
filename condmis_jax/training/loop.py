"""The supervised training loop of one stage."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grain
import jax
import numpy as np

from condmis_jax.data import StageData, pack_arrays, step_iterator
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import Params, trained_names
from condmis_jax.sharding import batch_shards
from condmis_jax.sharding.hosts import StopTogether, is_first, on_first, own_shards
from condmis_jax.training.checkpoints import KEPT, Checkpoints
from condmis_jax.training.metrics import Metrics
from condmis_jax.training.step import TrainStep


def held_out_loss(step: TrainStep, params: Params, data: StageData) -> float | None:
    """Mean loss over the loss tokens of the held-out conversations, in nats; None without any."""
    if not data.held_out:
        return None
    members = [m for s in data.held_out for b in s for row in b.rows for m in row]
    tokens = sum(int(data.data[m].loss[1:].sum()) for m in members)
    if not tokens:
        return None
    shards, own = batch_shards(step.mesh), own_shards(step.mesh)
    losses = [
        step.evaluate(params, step.place(pack_arrays(b, data.data, 1.0 / tokens, shards, own)))
        for s in data.held_out
        for b in s
    ]
    return float(np.sum([np.asarray(x) for x in losses]))


def train(
    folder: Path,
    label: str,
    config: DecoderConfig,
    params: Params,
    data: StageData,
    step: TrainStep,
    *,
    checkpoint_every: int,
    checkpoints_kept: int = KEPT,
) -> Params:
    """Trains to the end of the plan, resuming from the newest checkpoint of `folder`.

    Args:
        folder: the stage's folder; `checkpoints/` and the metrics go there.
        label: in front of the progress bar.
        params: the stage's first parameters; those that training changes are donated.
        checkpoint_every: steps between checkpoints; the last step is always saved.
        checkpoints_kept: the newest so many.

    Returns:
        the trained parameters.

    Raises:
        UserError: a loss was not finite, or the checkpoint cannot be read.
        SystemExit: SIGTERM came to one of the hosts (status 143), after a checkpoint was written.
    """
    batches: grain.DatasetIterator[Any] = step_iterator(
        data.plan, data.data, batch_shards(step.mesh), own_shards(step.mesh)
    )
    trained = trained_names(config)
    state = step.init_optimiser(params)
    done, steps = 0, len(data.plan)
    names = tuple(params)
    params = step.keep_first(params)
    with (
        Checkpoints(folder / "checkpoints", checkpoints_kept) as checkpoints,
        _preemption() as preempted,
    ):
        if checkpoints.latest is not None:
            kept, state, progress = checkpoints.restore({n: params[n] for n in trained}, state)
            params = {**params, **kept}
            done = progress["step"]
            batches.set_state(progress["iterator"])
        if done == steps:
            return {n: params[n] for n in names}
        on_first(lambda: _drop_metrics_after(folder / "metrics.jsonl", done))
        stop = StopTogether()
        with Metrics(folder, label, steps, done) as metrics:
            for batch in batches:
                gradients, loss = step.total(params, batch.microbatches)
                params, state, norm = step.update(params, state, gradients)
                done += 1
                metrics.put(done, batch.tokens, {"loss": loss, "gradient_norm": norm})
                metrics.check(done)
                stopping = stop(preempted.is_set())
                if done % checkpoint_every == 0 or done == steps or stopping:
                    metrics.flush()  # a state that is not finite never becomes a checkpoint
                    kept = {n: params[n] for n in trained}
                    checkpoints.save(done, kept, state, batches.get_state())
                if stopping and done < steps:
                    checkpoints.wait()
                    if is_first():
                        print(f"{label}: SIGTERM, saved at step {done}", file=sys.stderr)
                    raise SystemExit(143)
        checkpoints.wait()
    return jax.block_until_ready({n: params[n] for n in names})


@contextmanager
def _preemption() -> Iterator[threading.Event]:
    """An event that SIGTERM sets; outside the main thread no handler can be installed."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGTERM, lambda *_: event.set())
    try:
        yield event
    finally:
        signal.signal(signal.SIGTERM, before)


def _drop_metrics_after(path: Path, step: int) -> None:
    """Forgets metrics of steps that a crash undid, so that each step appears once."""
    from condmis_jax.runs import JsonlWriter, read_jsonl

    rows = read_jsonl(path)
    kept = [r for r in rows if r["step"] <= step]
    if len(kept) < len(rows):
        path.unlink()
        with JsonlWriter(path) as writer:
            writer.append(kept)
