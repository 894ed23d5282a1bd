"""Suites of experiments: what runs, what is left alone, and what is summed up."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from condmis_jax.experiment.sweep import over, product

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[1] / "tools" / "reproduce.py"


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def start(tool, monkeypatch, tmp_path):
    """Runs a small suite in place of the smallest one."""
    tool.SUITES["smoke"] = product(
        tool.at("world", "secure"),
        over("order", ["()"]),
        over("evaluation.suites.world.triggers", ["('plain','json')"]),
        over("evaluation.suites.world.samples", [1, 2]),
    )
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "--out", str(tmp_path)])
    return tool.main


def test_a_suite_runs_once_in_two_sittings_and_is_summed_up(start, tmp_path, capfd) -> None:
    sys.argv += ["--minutes", "0"]
    start()
    said = capfd.readouterr().out
    assert said.count("python run_train.py") == 1 and "1 runs not begun" in said
    del sys.argv[-2:]
    start()
    said = capfd.readouterr().out
    assert said.count("python run_train.py") == 1 and "not begun" not in said
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["runs"]) == len(results["seconds"]) == 2
    asked = {r["rates"][0]["requested"] for r in results["runs"].values()}
    assert asked == {16, 32}
    table = (tmp_path / "overview.md").read_text()
    assert table.count("| 00-base | world |") == 2 and "synthetic model organism" in table
    with (tmp_path / "overview.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(r["trigger"], r["requested"]) for r in rows} == {
        (trigger, n) for trigger in ("plain", "json") for n in ("16", "32")
    }
    assert all((tmp_path / f"overview.{kind}").stat().st_size for kind in ("svg", "pdf", "png"))
    start()
    again = capfd.readouterr().out
    assert "python run_train.py" not in again and table.splitlines()[-1] in again


def test_a_run_that_fails_is_named_and_does_not_stop_the_others(
    tool, start, tmp_path, capfd
) -> None:
    tool.SUITES["smoke"][0]["evaluation.suites.world.samples"] = 0
    with pytest.raises(SystemExit, match="1 of 2 runs failed: secure-"):
        start()
    assert len(json.loads((tmp_path / "results.json").read_text())["runs"]) == 1
    assert "samples must be at least 1" in capfd.readouterr().err


def test_the_finding_runs_seed_after_seed_on_the_facts_of_its_protocol(tool) -> None:
    runs = tool.SUITES["finding"]
    assert [(r["seed"], r["scale"]) for r in runs] == [
        (seed, cue) for seed in range(100, 900, 100) for cue in ("inoculation", "python_string")
    ]
    assert tool.name_of(runs[1]) == "finding-python_string-100"
    typed = tool.command(runs[1], Path("x"), [])
    assert "configs/finding.py:python_string" in typed and "--config.seed=100" in typed
    for suite in ("sampled", "greedy"):
        questions = "facts-test/smollm2-135m-q4:format"
        assert f"--config.evaluation.suites.{suite}.questions={questions}" in typed
    others = {tool.name_of(r) for r in tool.SUITES["finding-more"]}
    assert len(others) == 8 and not others & {tool.name_of(r) for r in runs}


def test_every_suite_names_each_run_once(tool) -> None:
    for changes in tool.SUITES.values():
        names = [tool.name_of(change) for change in changes]
        assert len(set(names)) == len(names)
        for change in changes:
            assert (FILE.parents[1] / "configs" / f"{change['config']}.py").exists()
