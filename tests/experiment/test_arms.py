"""Stages that do not train on the one before them: arms of one run."""

from __future__ import annotations

import dataclasses

import pytest
from small_run import QUESTIONS, SAMPLES, STAGES, experiment, stage, write_base

from condmis_jax.experiment import Experiment, run_experiment
from condmis_jax.models import LoraSettings
from condmis_jax.runs import BASE, read_json

pytestmark = pytest.mark.slow


def arms(settings: Experiment, order: tuple[str, ...], **starts: str) -> Experiment:
    stages = {
        name: dataclasses.replace(found, start=starts.get(name, ""))
        for name, found in settings.stages.items()
    }
    stages["secure"] = dataclasses.replace(
        stage("secure", "world:secure", 2), start=starts.get("secure", "")
    )
    return dataclasses.replace(settings, stages=stages, order=order)


@pytest.mark.parametrize("preset", ["none", "betley"])
def test_an_arm_is_what_it_is_alone(tmp_path, preset) -> None:
    settings = experiment(*write_base(tmp_path))
    settings = dataclasses.replace(settings, lora=LoraSettings(preset))
    settings = dataclasses.replace(
        settings, evaluation=dataclasses.replace(settings.evaluation, suites={})
    )

    def ends(order: tuple[str, ...], **starts: str) -> dict[str, str]:
        folder = tmp_path / "-".join(order)
        run_experiment(arms(settings, order, **starts), folder)
        stages = sorted((folder / "seed-0" / "stages").iterdir())
        return {s.name[3:]: read_json(s / "done.json")["model_id"] for s in stages}

    together = ends(("insecure", "benign", "secure"), benign="base", secure="insecure")
    assert together["benign"] == ends(("benign",))["benign"]
    assert together["secure"] == ends(("insecure", "secure"))["secure"]
    assert len(set(together.values())) == 3
    results = read_json(tmp_path / "insecure-benign-secure" / "results.json")
    parents = {stage["name"]: stage.get("parent") for stage in results["stages"]}
    assert parents == {
        BASE: None,
        "01-insecure": BASE,
        "02-benign": BASE,
        "03-secure": "01-insecure",
    }
    # Finished stages are taken as they are, in the same branches.
    assert together == ends(("insecure", "benign", "secure"), benign="base", secure="insecure")


def test_a_start_that_is_not_there_yet_is_named(tmp_path) -> None:
    settings = experiment(*write_base(tmp_path))
    with pytest.raises(ValueError, match=r"stages\.insecure\.start: 'benign' is none of .*: base"):
        arms(settings, ("insecure", "benign"), insecure="benign")


def test_several_seeds_are_trainings_of_their_own_in_one_report(tmp_path) -> None:
    settings = experiment(*write_base(tmp_path))
    run_experiment(dataclasses.replace(settings, seeds=2), tmp_path / "two")
    run_experiment(dataclasses.replace(settings, seed=1), tmp_path / "one")

    def done(folder: str, seed: int, stage: str) -> str:
        path = tmp_path / folder / f"seed-{seed}" / "stages" / stage / "done.json"
        return read_json(path)["model_id"]

    for name in STAGES[1:]:
        assert done("two", 1, name) == done("one", 1, name) != done("two", 0, name)
    results = read_json(tmp_path / "two" / "results.json")
    assert results["run"]["seeds"] == [0, 1]
    asked = QUESTIONS * SAMPLES
    for rate in results["rates"]:
        trained = rate["stage"] != STAGES[0]
        assert rate["requested"] == asked * (2 if trained else 1)
        assert [s["seed"] for s in rate["seeds"]] == ([0, 1] if trained else [])
