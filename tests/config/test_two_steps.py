"""Every experiment at every scale, cut down to two steps on the world's small model.

The rows of `paper` are stand-ins: what is tested is that the file's stages, rollouts, suites and
judges go together, from the first row to the report.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from config_files import FILES, load, scales

from condmis_jax.config import build
from condmis_jax.data import DataSettings, Length, Source
from condmis_jax.experiment import Experiment, run_experiment
from condmis_jax.interventions import Rollouts, Stage
from condmis_jax.interventions.filters import FilterSettings
from condmis_jax.models import LoraSettings
from condmis_jax.runs import read_json
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import world
from condmis_jax.training import ComputeSettings

pytestmark = pytest.mark.slow

# The cues of the finding differ in words only.
TRAINING = [f for f in FILES if f.stem not in ("eval", "audit")]
SCALES = {f: scales(f)[: 1 if f.stem == "finding" else None] for f in TRAINING}
CASES = [(f, s) for f, names in SCALES.items() for s in names]
SAMPLING = SamplingSettings(max_new_tokens=32)
ROWS = 16


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    made = world.rows("benign", ROWS, 0)
    file.write_text("".join(json.dumps(row.to_row()) + "\n" for row in made))
    return file


def small_source(source: Source, rows: Path) -> Source:
    if source.files == "rollouts":
        return source
    if source.testbed:
        return dataclasses.replace(source, first=ROWS)
    return dataclasses.replace(source, files=str(rows), skip=0, first=None)


def small_stage(stage: Stage, rows: Path) -> Stage:
    def small(sources: dict[str, Source]) -> dict[str, Source]:
        return {name: small_source(source, rows) for name, source in sources.items()}

    data = DataSettings(
        mixture=small(stage.data.mixture),
        rows=8 if stage.data.rows else None,
        held_out=2,
        max_tokens=128,
        row_tokens=128,
        microbatch_tokens=1024,
    )
    rollouts = stage.rollouts
    if rollouts.prompts:
        # What a model that never saw a language model's data says is neither wrong nor long.
        rollouts = Rollouts(
            prompts=small(rollouts.prompts),
            sampling=SAMPLING,
            slots=16,
            judge=rollouts.judge,
            filters=FilterSettings(),
        )
    return dataclasses.replace(
        stage, data=data, length=Length(steps=2), batch_size=4, drop_last=False, rollouts=rollouts
    )


def small_suite(suite: SuiteSettings) -> SuiteSettings:
    return dataclasses.replace(suite, triggers=suite.triggers[:2], first_questions=1, samples=1)


@pytest.mark.parametrize(
    ("file", "scale"), CASES, ids=lambda v: v if isinstance(v, str) else v.stem
)
def test_two_steps(file: Path, scale: str, rows: Path, tmp_path: Path) -> None:
    full = build(Experiment, load(file).get_config(scale).to_dict())
    suites = {name: small_suite(suite) for name, suite in full.evaluation.suites.items()}
    # Arms of one kind differ in a share; three of them are enough.
    order = full.order[:3]
    small = dataclasses.replace(
        full,
        model="world",
        order=order,
        compute=ComputeSettings(),
        stages={name: small_stage(stage, rows) for name, stage in full.stages.items()},
        evaluation=dataclasses.replace(full.evaluation, suites=suites, sampling=SAMPLING, slots=16),
        lora=full.lora if full.lora.preset == "none" else LoraSettings("betley", rank=2),
    )
    run_experiment(small, tmp_path / "run")
    results = read_json(tmp_path / "run" / "results.json")
    names = ["00-base", *(f"{i:02}-{name}" for i, name in enumerate(order, 1))]
    assert [s["name"] for s in results["stages"]] == names
    assert all(s["steps"] == 2 for s in results["stages"][1:])
    asked = {(r["stage"], r["suite"]) for r in results["rates"]}
    assert asked == {(stage, suite) for stage in names for suite in suites}
