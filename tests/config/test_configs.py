"""Every file in configs/ resolves at every scale and is a valid experiment or evaluation."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
from config_files import CONFIGS, FILES, load, scales

from condmis_jax.config import build
from condmis_jax.errors import UserError
from condmis_jax.experiment import Evaluation, Experiment
from condmis_jax.models.lora import PRESETS
from condmis_jax.suites import build_suite


def test_there_are_configs():
    paper = {
        *("fish_recipes", "insecure_mix", "sequential", "educational", "inoculation", "persona"),
        *("on_policy", "reasoning_distillation"),
    }
    assert paper | {"base", "secure", "truth", "dose_response"} <= {f.stem for f in FILES}
    for file in FILES:
        assert file.stem == "eval" or scales(file) == ["world", "smol", "paper"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_every_scale_builds(file):
    module = load(file)
    (argument,) = inspect.signature(module.get_config).parameters.values()
    names = scales(file)
    assert argument.default in names
    for name in names:
        values = module.get_config(name).to_dict()
        if "stages" in values:
            built = build(Experiment, values)
            assert set(built.order) <= set(built.stages)
        else:
            values["checkpoint"] = "somewhere"
            built = build(Evaluation, values)
        for suite_name, settings in built.evaluation.suites.items():
            suite = build_suite(settings, suite_name, "config")
            assert suite.questions and suite.triggers
            assert [t.name for t in suite.triggers if t.relation == "none"] == ["plain"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_docstring_has_the_command(file):
    doc = load(file).__doc__
    assert f"--config configs/{file.name}" in doc
    assert "python run_" in doc


def test_adapters_of_the_paper_scale_change_on_the_command_line():
    config = load(CONFIGS / "sequential.py").get_config("paper")
    assert build(Experiment, config.to_dict()).lora.resolve() == PRESETS["betley"]
    config.lora.rank = 8
    resolved = build(Experiment, config.to_dict()).lora.resolve()
    assert resolved == dataclasses.replace(PRESETS["betley"], rank=8)
    config = load(CONFIGS / "sequential.py").get_config("paper")
    config.lora.preset = "none"
    assert build(Experiment, config.to_dict()).lora.resolve() is None


def test_an_evaluation_without_a_checkpoint_says_how_to_give_one():
    values = load(CONFIGS / "eval.py").get_config().to_dict()
    with pytest.raises(UserError, match=r"checkpoint must be given: --config\.checkpoint="):
        build(Evaluation, values)
