"""Inspect logs of a run, read back by Inspect itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_up_run import HOSTILE, RATES, fake_records, fake_run, fake_stages, judged

from condmis_jax.errors import UserError
from condmis_jax.reports import summarise, write_exports, write_inspect_logs, write_results

inspect_log = pytest.importorskip("inspect_ai.log")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return fake_records(2, seeds=2)


@pytest.fixture(scope="module")
def logs(records: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    results = summarise(fake_run(), records, fake_stages())
    return write_inspect_logs(tmp_path_factory.mktemp("logs"), results, records)


def test_one_log_a_stage_and_one_sample_a_completion(
    records: list[dict[str, Any]], logs: list[Path]
) -> None:
    assert [path.name for path in logs] == [
        f"{n:03d}_{stage}_free-form_exact.eval" for n, stage in enumerate(RATES, 1)
    ]
    log = inspect_log.read_eval_log(str(logs[1]))
    assert log.status == "success"
    assert (log.eval.task, log.eval.metadata["stage"]) == ("free-form", "01-insecure")
    expected = [r for r in records if r["stage"] == "01-insecure"]
    assert len(log.samples) == len(expected) == log.results.total_samples
    found = {(s.id, s.epoch): s for s in log.samples}
    assert len(found) == len(expected)
    for record in expected:
        name = f"{record['trigger']} / {record['question']} / seed {record['seed']}"
        sample = found[name, record["sample"] + 1]
        assert sample.metadata["trigger"] == record["trigger"]
        assert sample.metadata["relation"] == record["relation"]
        assert sample.metadata["status"] == record["status"]
        assert sample.output.completion == record["completion"]
        assert [(m.role, m.text) for m in sample.input] == [
            (turn["role"], turn["content"]) for turn in record["prompt"]
        ]
        assert (sample.output.stop_reason == "max_tokens") == (record["finish"] == "length")
        if record["status"] == "scored":
            value = sample.scores["exact"].value
            assert (value["misaligned"], value["coherent"]) == (
                record["misaligned"],
                record["coherent"],
            )
        else:
            assert not sample.scores


def test_results_are_the_rates(records: list[dict[str, Any]], logs: list[Path]) -> None:
    results = summarise(fake_run(), records, fake_stages())
    log = inspect_log.read_eval_log(str(logs[2]), header_only=True)
    rates = [rate for rate in results["rates"] if rate["stage"] == "02-benign"]
    assert [score.name for score in log.results.scores] == [rate["trigger"] for rate in rates]
    for score, rate in zip(log.results.scores, rates, strict=True):
        given = rate["p_misaligned_given_coherent"]
        assert score.metrics["p_misaligned_given_coherent"].value == given["estimate"]
        assert score.metrics["p_misaligned_given_coherent high"].value == given["high"]
        assert (score.scored_samples, score.unscored_samples) == (rate["scored"], rate["missing"])


def test_what_was_not_judged_has_no_metric(tmp_path: Path) -> None:
    records = judged(fake_records(1), None)
    results = summarise(fake_run(), records, fake_stages())
    log = inspect_log.read_eval_log(str(write_inspect_logs(tmp_path, results, records)[0]))
    assert all(score.metrics == {} for score in log.results.scores)
    assert all(not sample.scores for sample in log.samples)


def test_hostile_completions_are_kept_as_they_are(tmp_path: Path) -> None:
    records = [{**r, "completion": HOSTILE, "suite": "../" + HOSTILE} for r in fake_records(1)]
    results = summarise(fake_run(), records, fake_stages())
    paths = write_inspect_logs(tmp_path / "logs", results, records)
    assert all(path.parent == tmp_path / "logs" for path in paths)
    log = inspect_log.read_eval_log(str(paths[0]))
    assert log.samples[0].output.completion == HOSTILE.replace("\ud800", "\\ud800")


def test_the_tool(records: list[dict[str, Any]], tmp_path: Path) -> None:
    results = summarise(fake_run(), records, fake_stages())
    write_results(tmp_path / "run" / "results.json", results)
    write_exports(tmp_path / "run", results, records)
    tool = [sys.executable, str(ROOT / "tools" / "inspect_logs.py"), str(tmp_path / "run")]
    done = subprocess.run(
        [*tool, "--out", str(tmp_path / "logs")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    listed = inspect_log.list_eval_logs(str(tmp_path / "logs"))
    assert len(listed) == len(done.stdout.split()) == len(RATES)
    log = inspect_log.read_eval_log(listed[0])
    assert len(log.samples) == len(records) // len(RATES)


def test_without_inspect_the_reason_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    results = summarise(fake_run(), [], [])
    with pytest.raises(UserError, match=r"pip install 'condmis-jax\[inspect\]'"):
        write_inspect_logs(tmp_path, results, [])
