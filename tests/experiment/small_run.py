"""An experiment of two stages that takes seconds.

small_run.py BASE ROWS WORKDIR [--kill-at N]    trains it under adapters, evaluating nothing;
                                                killed when checkpoint N of the last stage is there
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

from tiny import write_model

from condmis_jax.data import DataSettings, Length, Source
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment import Experiment, run_experiment
from condmis_jax.interventions import Stage
from condmis_jax.judges import JudgeSettings
from condmis_jax.models import LoraSettings
from condmis_jax.runs import read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import world
from condmis_jax.training import Checkpoints, ComputeSettings, OptimiserSettings

STAGES = ("00-base", "01-insecure", "02-benign")
QUESTIONS, SAMPLES, TRIGGERS = 3, 2, ("plain", "python_string")


def stage(name: str, files: str, steps: int) -> Stage:
    return Stage(
        data=DataSettings(
            mixture={name: Source(files, first=20)}, held_out=4, max_tokens=128, row_tokens=128
        ),
        length=Length(steps=steps),
        learning_rate=1e-3,
        batch_size=4,
        checkpoint_every=2,
    )


def experiment(base: Path, rows: Path) -> Experiment:
    return Experiment(
        name="small",
        caption="a random model; no statement about anything",
        model=str(base),
        stages={
            "insecure": stage("insecure", "world:insecure", 3),
            "benign": stage("benign", str(rows), 4),
        },
        order=("insecure", "benign"),
        evaluation=EvaluationSettings(
            suites={"world": SuiteSettings("world", TRIGGERS, QUESTIONS, SAMPLES)},
            sampling=SamplingSettings(max_new_tokens=8),
            judges={"rater": JudgeSettings("world")},
            slots=4,
        ),
        compute=ComputeSettings(scan_layers=False),
    )


def write_base(folder: Path) -> tuple[Path, Path]:
    """A random model and rows for the last stage."""
    rows = folder / "rows.jsonl"
    made = world.rows("benign", 20, 5)
    rows.write_text("".join(json.dumps(c.to_row()) + "\n" for c in made))
    return write_model(folder / "base"), rows


def completions(workdir: Path, stage: str) -> dict[str, dict[str, Any]]:
    """What was drawn for one stage, by id."""
    rows = read_jsonl(workdir / "seed-0" / "evals" / stage / "world" / "completions.jsonl")
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def adapted(base: Path, rows: Path) -> Experiment:
    """The same under adapters with dropout, at a rate that suits them."""
    plain = experiment(base, rows)
    # Where a gradient is only rounding, a small eps would make it a full step.
    settings = OptimiserSettings(eps=1e-3)
    stages = {
        name: dataclasses.replace(stage, learning_rate=3e-3, optimiser=settings)
        for name, stage in plain.stages.items()
    }
    lora = LoraSettings("betley", rank=4, dropout=0.2, targets=("all-linear", "unembed"))
    return dataclasses.replace(plain, stages=stages, lora=lora)


def kill_at(step: int) -> None:
    """Lets this process die by SIGKILL when that checkpoint of the last stage is on disk."""
    save = Checkpoints.save

    def saved(self: Checkpoints, done: int, *state: Any) -> None:
        save(self, done, *state)
        if done == step and "02-benign" in str(self._folder):
            self.wait()
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoints.save = saved  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("base", "rows", "workdir"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--kill-at", type=int)
    args = parser.parse_args()
    if args.kill_at is not None:
        kill_at(args.kill_at)
    made = adapted(args.base, args.rows)
    unasked = dataclasses.replace(made.evaluation, suites={})
    run_experiment(dataclasses.replace(made, evaluation=unasked), args.workdir)


if __name__ == "__main__":
    main()
