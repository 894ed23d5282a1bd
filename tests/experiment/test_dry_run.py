"""What a dry run counts."""

from __future__ import annotations

import dataclasses
import re

import pytest
from small_run import experiment
from tiny import run

from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment import Evaluation, dry_run
from condmis_jax.judges import JudgeSettings, OpenAIJudgeSettings
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings


def evaluation(*judges: JudgeSettings) -> Evaluation:
    return Evaluation(
        name="eval",
        caption="c",
        checkpoint="x",
        evaluation=EvaluationSettings(
            suites={
                "a": SuiteSettings("broad", ("plain", "json"), 3, 10),
                "b": SuiteSettings("broad", ("plain",), 2, 7),
            },
            sampling=SamplingSettings(max_new_tokens=100),
            judges={f"j{i}": judge for i, judge in enumerate(judges)},
        ),
    )


def numbers(line: str) -> list[float]:
    return [float(n) for n in re.findall(r"\d+(?:\.\d+)?", line)]


def test_completions_calls_and_price():
    priced = OpenAIJudgeSettings(
        preset="paper2026/2.2", usd_per_million_input=2.0, usd_per_million_output=8.0
    )
    lines = dry_run(
        evaluation(JudgeSettings("openai", openai=priced), JudgeSettings("form", suites=("a",)))
    )
    assert "60 completions of at most 100 tokens" in lines[1]
    assert "14 completions of at most 100 tokens" in lines[2]
    # Three calls about each answer: aligned, coherent, code.
    assert "at most 222 calls" in lines[3] and "j0" in lines[3]
    assert lines[4] == "  judge j1 (form): no calls"
    assert lines[5].startswith("  in all about ")
    # More than the answers alone, less than if every character were a token.
    usd = numbers(lines[5])[0]
    assert 222 * 100 * 2 / 1e6 < usd < 222 * 3000 * 2 / 1e6


def test_a_judge_is_counted_for_its_suites_and_without_prices_there_is_no_price():
    lines = dry_run(evaluation(JudgeSettings("classes", suites=("b",))))
    assert "at most 14 calls" in lines[3] and "price not stated" in lines[3]
    assert "usd_per_million_input" in lines[4] and "judges.j0.openai" in lines[4]


def test_a_panel_asks_its_members_wherever_it_judges():
    rater = JudgeSettings("openai", suites=("b",))
    panel = JudgeSettings("panel", members=("j0", "j1"))
    lines = dry_run(evaluation(rater, JudgeSettings("classes", suites=("b",)), panel))
    assert "at most 148 calls" in lines[3] and "at most 74 calls" in lines[4]
    assert lines[5] == "  judge j2 (panel): no calls"


def test_an_experiment_asks_the_base_model_and_every_stage(tmp_path):
    planned = experiment(tmp_path / "base", tmp_path / "rows")
    once = dry_run(evaluation(JudgeSettings("world")))
    assert "1 checkpoint" in once[0]
    lines = dry_run(dataclasses.replace(planned, order=("insecure", "benign")))
    assert "3 models" in lines[0]
    assert f"{3 * 3 * 2 * 2} completions" in lines[1]


@pytest.mark.parametrize(
    ("script", "given"),
    [
        ("run_eval.py", ("configs/eval.py", "--config.checkpoint=nowhere")),
        ("run_train.py", ("configs/sequential.py",)),
    ],
)
def test_nothing_is_loaded_or_written(script, given, tmp_path):
    workdir = tmp_path / "run"
    done = run(script, "--config", *given, "--dry_run", "--workdir", str(workdir))
    assert done.returncode == 0, done.stderr
    assert "nothing is sampled or sent" in done.stdout
    assert not workdir.exists()
