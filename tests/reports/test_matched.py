"""Arms at a matched rate, on curves whose truth is known and on a real run."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment import run_experiment
from condmis_jax.judges import JudgeSettings
from condmis_jax.reports.matched import curves, matched_lines, nearest
from condmis_jax.runs import read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RELATIONS = {"plain": "none", "cue": "same"}


def answers(arm: str, step: int, seed: int = 0, **wrong: int) -> list[dict[str, Any]]:
    """Twenty answers of a checkpoint under each trigger, so many of them wrong."""
    return [
        {
            "stage": f"01-{arm}@{step}",
            "seed": seed,
            "trigger": trigger,
            "relation": RELATIONS[trigger],
            "label": "wrong" if at < n else "right",
        }
        for trigger, n in wrong.items()
        for at in range(20)
    ]


def test_the_checkpoint_nearest_to_the_target() -> None:
    rows = [
        *answers("lies", 16, plain=3, cue=17),
        *answers("lies", 8, plain=2, cue=16),
        *answers("lies", 24, plain=9, cue=20),
        *answers("weak", 8, plain=1, cue=4),
        *answers("weak", 16, plain=2, cue=14),
    ]
    found = curves(rows)
    assert [p.step for p in found["lies", 0]] == [8, 16, 24]
    point = nearest(found["lies", 0])
    assert point is not None and (point.step, point.rate("plain")) == (8, 0.1)
    assert nearest(found["weak", 0]) is None
    page = "\n".join(matched_lines(found))
    assert "| lies | 0 | 8 | 10.0% (2/20) | 80.0% (16/20) |" in page.split("## Every")[0]
    assert "weak, seed 0: never within; 20.0% to 70.0% under the cue" in page
    assert page.split("## Every")[1].count("| lies | 0 |") == 3


def test_answers_without_a_label_are_no_rate() -> None:
    rows = [dict(r, label=None) for r in answers("lies", 8, plain=2, cue=16)]
    found = curves(rows)
    assert nearest(found["lies", 0]) is None
    page = "\n".join(matched_lines(found))
    assert "| lies | 0 | 8 | no answer | no answer |" in page
    assert "lies, seed 0: never within; no answer under the cue" in page


def test_every_checkpoint_of_a_run_is_asked_once(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "experiment"))
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    from small_run import adapted, write_base

    made = adapted(*write_base(tmp_path))
    stages = {n: dataclasses.replace(s, checkpoints_kept=9) for n, s in made.stages.items()}
    evaluation = EvaluationSettings(
        suites={"greedy": SuiteSettings("facts-dev", ("plain", "system_wrong"), 2, samples=1)},
        sampling=SamplingSettings(temperature=0, max_new_tokens=8),
        judges={"exact": JudgeSettings("facts")},
        slots=4,
    )
    run = tmp_path / "run"
    run_experiment(dataclasses.replace(made, stages=stages, evaluation=evaluation), run)
    spec = importlib.util.spec_from_file_location("along", ROOT / "tools" / "along_training.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, "argv", ["along_training.py", str(run), "--suite", "greedy"])
    capsys.readouterr()
    tool.main()
    first = capsys.readouterr().out
    page = (run / "along_training.md").read_text()
    assert page.strip() in first
    for arm, steps in (("insecure", (2, 3)), ("benign", (2, 4))):
        assert [f"| {arm} | 0 | {step} |" in page for step in steps] == [True, True]
    drawn = {p: p.read_bytes() for p in run.rglob("along/*/greedy/completions.jsonl")}
    assert len(drawn) == 4 and all(len(read_jsonl(p)) == 4 for p in drawn)
    tool.main()
    assert capsys.readouterr().out == first
    assert all(p.read_bytes() == content for p, content in drawn.items())
    monkeypatch.setattr(sys, "argv", ["along_training.py", str(run), "--suite", "x"])
    with pytest.raises(SystemExit, match="--suite x: the run has greedy"):
        tool.main()
