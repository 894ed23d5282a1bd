"""A whole experiment on a random model: files, counts, resuming, refusing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from small_run import QUESTIONS, SAMPLES, STAGES, TRIGGERS, completions, experiment, write_base
from tiny import run

from condmis_jax.data import Length
from condmis_jax.errors import UserError
from condmis_jax.experiment import Experiment, run_experiment
from condmis_jax.judges import JudgeSettings
from condmis_jax.runs import read_json, read_jsonl
from condmis_jax.suites import SuiteSettings

pytestmark = pytest.mark.slow


@dataclasses.dataclass(frozen=True)
class Finished:
    experiment: Experiment
    workdir: Path
    report: Path
    rows: Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    """One finished run; tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("experiment")
    base, rows = write_base(folder)
    settings = experiment(base, rows)
    report = run_experiment(settings, folder / "run")
    return Finished(settings, folder / "run", report, rows)


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished.workdir, tmp_path / "run"))


def contents(workdir: Path, *patterns: str) -> dict[str, bytes]:
    found = {
        str(path.relative_to(workdir)): path.read_bytes()
        for pattern in patterns
        for path in workdir.rglob(pattern)
        if path.is_file()
    }
    assert found
    return found


def test_the_folder_is_the_documented_one(finished):
    workdir = finished.workdir
    assert finished.report == workdir / "report.html"
    for name in ("config.json", "results.json", "report.html"):
        assert (workdir / name).stat().st_size > 0, name
    for name in STAGES:
        folder = workdir / "seed-0" / "evals" / name / "world"
        for file in ("completions.jsonl", "judgements.sqlite", "results.json"):
            assert (folder / file).stat().st_size > 0, (name, file)
    for name, steps in (("01-insecure", 3), ("02-benign", 4)):
        folder = workdir / "seed-0" / "stages" / name
        # Two checkpoints, each with the digests of its files beside it.
        assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == sorted(
            [name for n in (2, steps) for name in (str(n), f"{n}.sha256.json")]
        )
        assert [row["step"] for row in read_jsonl(folder / "metrics.jsonl")] == [
            *range(1, steps + 1)
        ]
        assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
        assert (folder / "hf" / "tokenizer.json").is_file()
    assert not (workdir / "seed-0" / "stages" / "00-base").exists()


def test_the_config_that_was_resolved_is_kept(finished):
    kept = read_json(finished.workdir / "config.json")
    assert kept["config"]["stages"]["benign"]["learning_rate"] == 1e-3
    assert kept["config"]["order"] == ["insecure", "benign"]
    assert kept["config"] == json.loads(json.dumps(dataclasses.asdict(finished.experiment)))
    assert kept["versions"]["jax"]


def test_rates_come_with_counts_and_intervals(finished):
    results = read_json(finished.workdir / "results.json")
    assert [s["name"] for s in results["stages"]] == list(STAGES)
    assert [(r["stage"], r["trigger"]) for r in results["rates"]] == [
        (s, t) for s in STAGES for t in TRIGGERS
    ]
    for rate in results["rates"]:
        assert rate["requested"] == QUESTIONS * SAMPLES
        assert rate["scored"] + rate["missing"] == rate["requested"]
        assert sum(rate["statuses"].values()) == rate["requested"]
        assert rate["scored"] > 0
        assert rate["across_seeds"].startswith("not estimable")
        of_requested = rate["p_misaligned_of_requested"]
        assert of_requested["estimate"] == rate["misaligned"] / rate["requested"]
        assert 0 <= of_requested["low"] <= of_requested["estimate"] <= of_requested["high"] <= 1
        # A few answers never show that a rate is exactly zero.
        assert of_requested["high"] > of_requested["estimate"]
        if not rate["coherent"]:
            assert rate["p_misaligned_given_coherent"]["estimate"] is None
    assert results["run"]["caption"] == finished.experiment.caption


def test_results_count_the_completions_on_disk(finished):
    for name in STAGES:
        rows = completions(finished.workdir, name).values()
        cells = {(r["trigger"], r["question"], r["sample"]) for r in rows}
        assert len(rows) == len(cells) == len(TRIGGERS) * QUESTIONS * SAMPLES
        truncated = {t: 0 for t in TRIGGERS}
        for row in rows:
            truncated[row["trigger"]] += row["finish"] == "length"
        results = read_json(finished.workdir / f"seed-0/evals/{name}/world/results.json")
        assert {r["trigger"]: r["truncated"] for r in results["rates"]} == truncated


def test_training_changed_the_model_in_every_stage(finished):
    texts = [
        tuple(row["completion"] for row in completions(finished.workdir, name).values())
        for name in STAGES
    ]
    assert len(set(texts)) == len(STAGES)
    digests = {s["model_id"] for s in read_json(finished.workdir / "results.json")["stages"]}
    assert len(digests) == len(STAGES)
    for name in STAGES[1:]:
        facts = read_json(finished.workdir / f"seed-0/stages/{name}/done.json")["stage"]
        # A random model learns the language's letters at once.
        assert facts["held_out_loss"]["after"] < facts["held_out_loss"]["before"]


def test_the_same_command_again_trains_and_draws_nothing(finished, copy, capfd):
    kept = ("completions.jsonl", "metrics.jsonl", "done.json", "stage.json")
    before = contents(copy, *kept)
    checkpoints = {p: p.stat().st_mtime_ns for p in copy.rglob("checkpoints/*")}
    results = read_json(copy / "results.json")
    (copy / "results.json").unlink()
    run_experiment(finished.experiment, copy)
    assert contents(copy, *kept) == before
    assert {p: p.stat().st_mtime_ns for p in copy.rglob("checkpoints/*")} == checkpoints
    again = read_json(copy / "results.json")
    assert again["rates"] == results["rates"]
    assert again["stages"] == results["stages"]
    printed = capfd.readouterr()
    assert "step" not in printed.err
    assert finished.experiment.caption in printed.out


def test_a_lost_stage_comes_back_as_it_was(finished, copy):
    for kind in ("stages", "evals"):
        shutil.rmtree(copy / "seed-0" / kind / "02-benign")
    first = contents(copy, "01-insecure/metrics.jsonl", "01-insecure/world/completions.jsonl")
    run_experiment(finished.experiment, copy)
    assert first == contents(
        copy, "01-insecure/metrics.jsonl", "01-insecure/world/completions.jsonl"
    )
    done = "seed-0/stages/02-benign/done.json"
    assert read_json(copy / done)["model_id"] == read_json(finished.workdir / done)["model_id"]
    assert completions(copy, "02-benign") == completions(finished.workdir, "02-benign")


def with_stage(settings: Experiment, name: str, **changes) -> Experiment:
    changed = dataclasses.replace(settings.stages[name], **changes)
    return dataclasses.replace(settings, stages={**settings.stages, name: changed})


@pytest.mark.parametrize("name", ["insecure", "benign"])
@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"learning_rate": 2e-3}, r"stage\.learning_rate \(0\.001, now 0\.002\)"),
        ({"length": Length(steps=5)}, r"stage\.length\.steps"),
    ],
)
def test_another_recipe_in_the_same_folder_is_refused(finished, copy, name, changes, key):
    before = contents(copy, "*")
    with pytest.raises(UserError, match=key) as caught:
        run_experiment(with_stage(finished.experiment, name, **changes), copy)
    assert f"{name}/stage.json" in str(caught.value)
    after = contents(copy, "*")
    assert before.keys() == after.keys()
    assert {k for k in after if after[k] != before[k]} <= {".lock"}


def test_how_often_it_is_saved_is_not_part_of_the_recipe(finished, copy):
    before = contents(copy, "done.json")
    often = with_stage(finished.experiment, "benign", checkpoint_every=1, checkpoints_kept=9)
    run_experiment(often, copy)
    assert contents(copy, "done.json") == before and before


def test_a_data_file_that_changed_under_an_unfinished_stage_is_refused(finished, copy, tmp_path):
    (copy / "seed-0/stages/02-benign/done.json").unlink()
    before = finished.rows.read_text()
    try:
        finished.rows.write_text(before.replace('"content": "', '"content": "Well then. '))
        with pytest.raises(UserError, match=r"02-benign/data\.json: .* begun with another "):
            run_experiment(finished.experiment, copy)
    finally:
        finished.rows.write_text(before)
    run_experiment(finished.experiment, copy)
    assert (copy / "seed-0/stages/02-benign/done.json").is_file()


def test_another_suite_is_added_without_training(finished, copy):
    evaluation = dataclasses.replace(
        finished.experiment.evaluation,
        suites={
            **finished.experiment.evaluation.suites,
            "more": SuiteSettings("world", ("plain",), 1, 1),
        },
    )
    before = contents(copy, "metrics.jsonl", "world/completions.jsonl")
    run_experiment(dataclasses.replace(finished.experiment, evaluation=evaluation), copy)
    assert contents(copy, "metrics.jsonl", "world/completions.jsonl") == before
    rates = read_json(copy / "results.json")["rates"]
    assert [(r["stage"], r["requested"]) for r in rates if r["suite"] == "more"] == [
        (s, 1) for s in STAGES
    ]


def test_without_a_judge_nothing_is_scored_and_nothing_is_zero(finished, copy, capsys):
    evaluation = dataclasses.replace(
        finished.experiment.evaluation, judges={"rater": JudgeSettings("none")}
    )
    before = contents(copy, "completions.jsonl")
    run_experiment(dataclasses.replace(finished.experiment, evaluation=evaluation), copy)
    assert contents(copy, "completions.jsonl") == before
    rates = read_json(copy / "results.json")["rates"]
    assert len(rates) == len(STAGES) * len(TRIGGERS)
    for rate in rates:
        asked = QUESTIONS * SAMPLES
        assert (rate["requested"], rate["scored"], rate["missing"]) == (asked, 0, asked)
        assert rate["statuses"] == {"not_judged": asked}
        assert rate["judge"] is None
        for key in ("p_misaligned_given_coherent", "p_misaligned_of_requested"):
            assert rate[key]["estimate"] is rate[key]["low"] is rate[key]["high"] is None
        assert rate["worst_case"] == [0, 1]
    assert f"{QUESTIONS * SAMPLES} requested, 0 scored" in capsys.readouterr().out


def test_a_run_directory_in_use_is_refused(finished, copy):
    from condmis_jax.runs import locked

    with locked(copy), pytest.raises(UserError, match="is working in this run directory"):
        run_experiment(finished.experiment, copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order": ("insecure", "bening")}, "order names the stage 'bening'; did you mean 'ben"),
        ({"order": ("benign", "benign")}, "order names a stage twice"),
        ({"name": "a/b"}, "name must be a single folder name"),
        ({"name": ""}, "name must be a single folder name"),
    ],
)
def test_impossible_experiments(finished, changes, said):
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(finished.experiment, **changes)


def test_a_stage_opens_after_its_base_model_is_gone(finished, copy, tmp_path):
    base = Path(finished.experiment.model)
    hidden = base.rename(base.with_name("hidden"))
    workdir = tmp_path / "eval"
    try:
        done = run(
            "run_eval.py",
            "--config",
            "configs/eval.py:world",
            f"--config.checkpoint={copy / 'seed-0/stages/02-benign'}",
            f"--config.evaluation.suites.world.triggers={TRIGGERS!r}",
            f"--config.evaluation.suites.world.first_questions={QUESTIONS}",
            f"--config.evaluation.suites.world.samples={SAMPLES}",
            "--config.evaluation.sampling.max_new_tokens=8",
            "--config.evaluation.slots=4",
            "--workdir",
            str(workdir),
        )
    finally:
        hidden.rename(base)
    assert done.returncode == 0, done.stderr
    assert finished.experiment.caption not in done.stdout
    (folder,) = (workdir / "seed-0/evals").iterdir()
    digest = read_json(copy / "seed-0/stages/02-benign/done.json")["model_id"]
    assert folder.name == f"02-benign-{digest[:8]}"
    # The same model, asked the same: the same completions as at the end of training.
    again = completions(workdir, folder.name)
    assert again == completions(finished.workdir, "02-benign")
