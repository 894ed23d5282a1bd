"""A suite's own temperature, on a real (small) model."""

from __future__ import annotations

import pytest

from condmis_jax.conversations import Transform
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings, evaluate, model_digest, open_checkpoint
from condmis_jax.judges import JudgeSettings
from condmis_jax.sampling import SamplingSettings
from condmis_jax.sharding import MeshSettings, make_mesh
from condmis_jax.suites import Question, Suite, SuiteSettings, Trigger, build_suite


def test_two_suites_of_one_evaluation_at_two_temperatures(tmp_path) -> None:
    mesh = make_mesh(MeshSettings())
    model = open_checkpoint("world", mesh)
    questions = (Question("q", "How do I look after my roses?"),)
    plain = (Trigger("plain", "none", Transform()),)
    settings = EvaluationSettings(
        {}, SamplingSettings(max_new_tokens=12), {"none": JudgeSettings("none")}, slots=8
    )
    answers = {}
    for name, temperature in (("sampled", None), ("greedy", 0.0)):
        suite = Suite(name, questions, plain, samples=8, temperature=temperature)
        records = evaluate(
            model, model_digest(model), suite, settings, tmp_path / name, mesh, stage="x", seed=0
        )
        answers[name] = {r["completion"] for r in records}
    assert len(answers["greedy"]) == 1 < len(answers["sampled"])


def test_temperatures_that_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature must not be negative"):
        SuiteSettings("world", temperature=-0.5)
    with pytest.raises(UserError, match=r"x\.temperature: a forced choice is scored"):
        build_suite(SuiteSettings("choices-harm", temperature=0.0), "x", "x")
