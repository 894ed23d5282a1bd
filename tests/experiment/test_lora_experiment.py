"""A whole experiment under adapters: what is kept, resumed, opened, exported; on other devices."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import small_run
from small_run import QUESTIONS, SAMPLES, STAGES, TRIGGERS, adapted, completions, write_base
from tiny import ROOT, environment, run, xla_flags

from condmis_jax.errors import UserError
from condmis_jax.evaluation import open_checkpoint
from condmis_jax.experiment import Evaluation, Experiment, run_evaluation, run_experiment
from condmis_jax.models import LoraSettings, load_model, logits, model_digest, weight_table
from condmis_jax.runs import read_json, read_jsonl

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Finished:
    experiment: Experiment
    workdir: Path
    base: Path
    rows: Path

    def stage(self, name: str) -> Path:
        return self.workdir / "seed-0/stages" / name


@pytest.fixture(scope="module")
def finished(tmp_path_factory: Any) -> Finished:
    """One finished run of two stages; tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("adapters")
    base, rows = write_base(folder)
    settings = adapted(base, rows)
    run_experiment(settings, folder / "run")
    return Finished(settings, folder / "run", base, rows)


def train_elsewhere(finished: Finished, workdir: Path, *flags: str, devices: int = 1) -> int:
    """The same training in a process of its own; its exit status."""
    done = subprocess.run(
        [
            *(sys.executable, small_run.__file__),
            *map(str, (finished.base, finished.rows, workdir)),
            *flags,
        ],
        env=environment(
            XLA_FLAGS=xla_flags(devices),
            PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        ),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def losses(workdir: Path) -> list[float]:
    stages = workdir / "seed-0/stages"
    return [r["loss"] for n in STAGES[1:] for r in read_jsonl(stages / n / "metrics.jsonl")]


def test_checkpoints_hold_the_adapters_and_their_optimiser_state(
    finished: Finished, mesh: Any
) -> None:
    def saved(folder: Path) -> list[tuple[int, ...]]:
        tree = ocp.StandardCheckpointer().metadata(folder).item_metadata.tree
        return [x.shape for x in jax.tree.leaves(tree, is_leaf=lambda x: hasattr(x, "shape"))]

    model = open_checkpoint(str(finished.stage("02-benign")), mesh)
    adapters = [w.shape(model.config) for w in weight_table(model.config) if w.adapts]
    assert len(adapters) == 16
    for name, steps in (("01-insecure", 3), ("02-benign", 4)):
        folder = finished.stage(name) / "checkpoints" / str(steps)
        assert sorted(saved(folder / "params")) == sorted(adapters)
        # Two moments of each, and counters.
        state = [shape for shape in saved(folder / "optimiser") if shape]
        assert sorted(state) == sorted(2 * adapters)


def test_stages_train_the_same_adapters_on(finished: Finished, mesh: Any) -> None:
    base = load_model(str(finished.base), mesh)
    ids = [s["model_id"] for s in read_json(finished.workdir / "results.json")["stages"]]
    assert ids[0] == model_digest(base)
    one, two = (open_checkpoint(str(finished.stage(n)), mesh) for n in STAGES[1:])
    assert [model_digest(m) for m in (one, two)] == ids[1:]
    assert len(set(ids)) == 3
    assert read_json(finished.stage("02-benign") / "stage.json")["starts_from"] == ids[1]
    for model in (one, two):
        for name, value in base.params.items():
            np.testing.assert_array_equal(model.params[name], value, err_msg=name)
    drawn = [completions(finished.workdir, name).values() for name in STAGES]
    assert len({tuple(row["completion"] for row in rows) for rows in drawn}) == 3
    for name in STAGES[1:]:
        facts = read_json(finished.stage(name) / "done.json")["stage"]
        assert facts["held_out_loss"]["after"] < facts["held_out_loss"]["before"]


def test_killed_and_started_again_it_ends_with_the_same_bytes(
    finished: Finished, tmp_path: Path
) -> None:
    assert train_elsewhere(finished, tmp_path, "--kill-at", "2") == -signal.SIGKILL
    assert not (tmp_path / "seed-0/stages/02-benign/done.json").exists()
    unasked = dataclasses.replace(finished.experiment.evaluation, suites={})
    run_experiment(dataclasses.replace(finished.experiment, evaluation=unasked), tmp_path)
    assert losses(tmp_path) == losses(finished.workdir)
    for name in STAGES[1:]:
        mine = read_json(tmp_path / "seed-0/stages" / name / "done.json")
        assert mine == read_json(finished.stage(name) / "done.json")


def test_eight_devices_train_alike(finished: Finished, tmp_path: Path) -> None:
    assert train_elsewhere(finished, tmp_path, devices=8) == 0
    np.testing.assert_allclose(losses(tmp_path), losses(finished.workdir), rtol=0, atol=1e-5)


def test_other_adapters_in_the_same_folder_are_refused(finished: Finished, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(finished.workdir, tmp_path / "run"))
    other = dataclasses.replace(finished.experiment.lora, rank=8)
    with pytest.raises(UserError, match=r"stage\.json: .* another lora\.rank \(4, now 8\)"):
        run_experiment(dataclasses.replace(finished.experiment, lora=other), copy)


def test_a_target_that_the_model_lacks_is_refused_before_anything_is_asked(
    finished: Finished, tmp_path: Path, mesh: Any
) -> None:
    from condmis_jax.models import DecoderConfig, init_params, save_folder

    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    values = json.loads((finished.base / "config.json").read_text())
    config = DecoderConfig.from_dict(values | experts | {"model_type": "qwen3_moe"})
    save_folder(tmp_path / "experts", config, init_params(config, 0, mesh), finished.base)
    other = dataclasses.replace(finished.experiment, model=str(tmp_path / "experts"))
    with pytest.raises(UserError, match=r"^config\.lora\.targets: 'gate' is not a linear map"):
        run_experiment(other, tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").rglob("*")} <= {".lock"}


@pytest.fixture(scope="module")
def exported(finished: Finished, tmp_path_factory: Any) -> Path:
    """The last stage as a PEFT folder, by the tool."""
    out = tmp_path_factory.mktemp("exported") / "peft"
    stage = finished.stage("02-benign")
    done = run("tools/export_hf.py", str(stage), "--adapter", "--out", str(out))
    assert done.returncode == 0, done.stderr
    return out


def test_a_peft_folder_is_asked_like_the_stage(
    finished: Finished, exported: Path, tmp_path: Path
) -> None:
    """The same digest and the same completions, through run_eval.py and in this process."""
    done = run(
        "run_eval.py",
        *("--config", "configs/eval.py:world"),
        f"--config.evaluation.suites.world.triggers={TRIGGERS!r}",
        f"--config.evaluation.suites.world.first_questions={QUESTIONS}",
        f"--config.evaluation.suites.world.samples={SAMPLES}",
        "--config.evaluation.sampling.max_new_tokens=8",
        "--config.evaluation.slots=4",
        f"--config.checkpoint={exported}",
        *("--workdir", str(tmp_path / "peft")),
    )
    assert done.returncode == 0, done.stderr
    stage = finished.stage("02-benign")
    digest = read_json(stage / "done.json")["model_id"]
    asked = completions(tmp_path / "peft", f"peft-{digest[:8]}")
    assert asked == completions(finished.workdir, "02-benign")
    run_evaluation(
        Evaluation("eval", "the same model", str(stage), finished.experiment.evaluation),
        tmp_path / "stage",
    )
    assert completions(tmp_path / "stage", f"02-benign-{digest[:8]}") == asked


def test_peft_and_transformers_load_what_is_exported(
    finished: Finished, exported: Path, tmp_path: Path, mesh: Any
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    stage = str(finished.stage("02-benign"))
    done = run("tools/export_hf.py", stage, "--out", str(tmp_path / "merged"))
    assert done.returncode == 0, done.stderr
    ours = open_checkpoint(stage, mesh)
    tokens = np.arange(5, 45, dtype=np.int32)[None]
    expected = np.asarray(logits(ours.config, ours.params, tokens))

    def theirs(model: Any) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(tokens.astype(np.int64))).logits.numpy()

    base = AutoModelForCausalLM.from_pretrained(finished.base)
    assert np.abs(theirs(base) - expected).max() > 0.1
    np.testing.assert_allclose(
        theirs(PeftModel.from_pretrained(base, str(exported))), expected, rtol=0, atol=1e-4
    )
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(theirs(merged), expected, rtol=0, atol=1e-4)


def test_an_adapter_is_trained_on(finished: Finished, exported: Path, tmp_path: Path) -> None:
    unasked = dataclasses.replace(finished.experiment.evaluation, suites={})
    further = dataclasses.replace(
        finished.experiment, model=str(exported), order=("benign",), evaluation=unasked
    )
    with pytest.raises(UserError, match=r"^config\.lora\.preset: .* is an adapter"):
        run_experiment(further, tmp_path)
    further = dataclasses.replace(further, lora=LoraSettings())
    run_experiment(further, tmp_path)
    stage = tmp_path / "seed-0/stages/01-benign"
    done = read_json(finished.stage("02-benign") / "done.json")
    assert read_json(stage / "stage.json")["starts_from"] == done["model_id"]
    before, after = done["stage"]["held_out_loss"], read_json(stage / "done.json")["stage"]
    assert after["held_out_loss"]["before"] == pytest.approx(before["after"], abs=1e-5)
    changed = (stage / "done.json").stat().st_mtime_ns
    run_experiment(further, tmp_path)
    assert (stage / "done.json").stat().st_mtime_ns == changed


def test_an_earlier_checkpoint_is_opened_by_its_step(finished: Finished, mesh: Any) -> None:
    """Of three steps, saved after every second one."""
    stage = finished.stage("01-insecure")
    digests = {at: model_digest(open_checkpoint(f"{stage}{at}", mesh)) for at in ("", "@2", "@3")}
    assert digests[""] == digests["@3"] != digests["@2"]
    with pytest.raises(UserError, match="no checkpoint of step 1; there are 2, 3"):
        open_checkpoint(f"{stage}@1", mesh)


def test_a_stage_whose_base_model_changed_is_not_opened(
    finished: Finished, tmp_path: Path, mesh: Any
) -> None:
    copy = Path(shutil.copytree(finished.stage("02-benign"), tmp_path / "stage"))
    kept = read_json(copy / "base_model.json")
    (copy / "base_model.json").write_text(json.dumps(kept | {"digest": "0" * 64}))
    with pytest.raises(UserError, match="has changed since the stage was trained"):
        open_checkpoint(str(copy), mesh)
    (copy / "base_model.json").write_text(json.dumps(kept | {"model": str(tmp_path / "gone")}))
    with pytest.raises(UserError, match=r"its base model .* cannot be loaded"):
        open_checkpoint(str(copy), mesh)
