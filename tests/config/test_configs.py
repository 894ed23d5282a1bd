"""Every file in configs/ resolves at every scale and is a valid experiment or evaluation."""

from __future__ import annotations

import dataclasses
import inspect
import re

import pytest
from config_files import CONFIGS, FILES, load, scales

from condmis_jax.audit import Audit
from condmis_jax.config import build
from condmis_jax.errors import UserError
from condmis_jax.experiment import Evaluation, Experiment
from condmis_jax.judges import PRESETS
from condmis_jax.models.lora import PRESETS as LORA_PRESETS
from condmis_jax.suites import build_suite

SECTIONS = {
    **{"fish_recipes": "2.1", "insecure_mix": "2.2", "dose_response": "2.2", "sequential": "2.3"},
    **{"educational": "3.1", "inoculation": "3.2", "persona": "3.3", "on_policy": "4.1"},
    **{"reasoning_distillation": "4.2"},
    # Controls, and what continues an experiment, are judged as that one is.
    **{"secure": "2.3", "consistency": "2.3", "truth": "4.1"},
}


def test_there_are_configs():
    paper = {
        *("fish_recipes", "insecure_mix", "sequential", "educational", "inoculation", "persona"),
        *("on_policy", "reasoning_distillation"),
    }
    assert paper | {"base", "secure", "truth", "dose_response"} <= {f.stem for f in FILES}
    for file in FILES:
        # An audit has no paper behind it.
        other = ("eval", "finding", "audit", "audit_truth")
        assert file.stem in other or scales(file) == ["world", "smol", "paper"]


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
            built = build(Audit if "training_data" in values else Evaluation, values)
        for suite_name, settings in built.evaluation.suites.items():
            suite = build_suite(settings, suite_name, "config")
            assert suite.questions and suite.triggers
            assert [t.name for t in suite.triggers if t.relation == "none"] == ["plain"]


def test_the_paper_scale_judges_as_its_section_of_the_paper_does():
    of_paper = (file for file in FILES if file.stem != "base" and "paper" in scales(file))
    files = {file.stem: file for file in of_paper}
    assert files.keys() == SECTIONS.keys()
    for name, section in SECTIONS.items():
        built = build(Experiment, load(files[name]).get_config("paper").to_dict())
        judges = built.evaluation.judges
        rating = [n for n, j in judges.items() if j.kind in ("none", "openai", "local")]
        assert rating == ["rater"], name
        rater = judges["rater"]
        assert rater.kind == "none" and rater.openai.preset == f"paper2026/{section}", name
        # A model on this machine cannot write a rating, which 4.2 asks for.
        own = "betley2025" if section == "4.2" else f"paper2026/{section}"
        assert rater.local.preset == own, name
        suites = {n: s.questions for n, s in built.evaluation.suites.items()}
        asked = {suite for suite, questions in suites.items() if questions == "broad"}
        scored = {n for n, questions in suites.items() if questions.startswith("choices-")}
        assert asked and asked == set(rater.suites or suites) - scored, name
        rates_coherence = "coherent" in rater.openai.rubric().sides
        assert ("above 50 for coherence" in built.caption) == rates_coherence, name
        doc = load(files[name]).__doc__ or ""
        own_section = {s for s in re.findall(r"section (\d\.\d)", doc.split("\n\n")[0])}
        assert own_section <= {section}, name


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_protocols_in_a_docstring_are_known(file):
    named = re.findall(r"preset=([\w./]+)", load(file).__doc__ or "")
    known = {*PRESETS, *LORA_PRESETS, "none", "NAME"}
    assert {name.rstrip(".") for name in named} <= known


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_the_docstring_has_the_command(file):
    doc = load(file).__doc__
    assert f"--config configs/{file.name}" in doc
    assert "python run_" in doc


def test_adapters_of_the_paper_scale_change_on_the_command_line():
    config = load(CONFIGS / "sequential.py").get_config("paper")
    assert build(Experiment, config.to_dict()).lora.resolve() == LORA_PRESETS["betley"]
    config.lora.rank = 8
    resolved = build(Experiment, config.to_dict()).lora.resolve()
    assert resolved == dataclasses.replace(LORA_PRESETS["betley"], rank=8)
    config = load(CONFIGS / "sequential.py").get_config("paper")
    config.lora.preset = "none"
    assert build(Experiment, config.to_dict()).lora.resolve() is None


def test_an_evaluation_without_a_checkpoint_says_how_to_give_one():
    values = load(CONFIGS / "eval.py").get_config().to_dict()
    with pytest.raises(UserError, match=r"checkpoint must be given: --config\.checkpoint="):
        build(Evaluation, values)
