"""Several judges of one run: which suites they judge, and what records call them."""

from __future__ import annotations

import dataclasses

import pytest
from tiny import write_model

from condmis_jax.config import build, to_config
from condmis_jax.conversations import Transform
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings, evaluate, model_digest
from condmis_jax.evaluation.evaluate import judges_of
from condmis_jax.judges import (
    Item,
    JudgeSettings,
    OpenAIJudge,
    OpenAIJudgeSettings,
    Store,
)
from condmis_jax.models import load_model
from condmis_jax.reports import summarise
from condmis_jax.runs import read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import (
    JudgePrompt,
    Question,
    Suite,
    SuiteSettings,
    Trigger,
    build_suite,
    rating_prompts,
)

SETTINGS = EvaluationSettings(
    suites={
        "a": SuiteSettings("world", ("plain",), 2, 2),
        "b": SuiteSettings("world", ("plain",), 1, 2),
        "c": SuiteSettings("world", ("plain",), 1, 1),
    },
    sampling=SamplingSettings(max_new_tokens=6),
    judges={
        "exact": JudgeSettings("world", suites=("a",)),
        "shape": JudgeSettings("form", suites=("a", "b")),
        "other": JudgeSettings("form", suites=("b",), form="json"),
        "rater": JudgeSettings(),
    },
    slots=4,
)
FORM, WORLD = "form (exact)", "world parser (exact)"


def test_each_suite_has_its_judges(tmp_path, mesh):
    model = load_model(str(write_model(tmp_path / "model")), mesh)
    records = []
    for name, suite in SETTINGS.suites.items():
        folder = tmp_path / name
        records += evaluate(
            model,
            model_digest(model),
            build_suite(suite, name, name),
            SETTINGS,
            folder,
            mesh,
            stage="s",
            seed=0,
        )
        asked = [r["id"] for r in records if r["suite"] == name]
        drawn = [row["id"] for row in read_jsonl(folder / "completions.jsonl")]
        # However many judges, every completion is drawn once.
        assert sorted(set(asked)) == sorted(drawn)
    results = summarise({"name": "x", "caption": "y"}, records, [{"name": "s"}])
    rates = {(r["suite"], r["judge"]): r for r in results["rates"]}
    assert {key: r["requested"] for key, r in rates.items()} == {
        ("a", WORLD): 4,
        ("a", FORM): 4,
        ("b", f"shape: {FORM}"): 2,
        ("b", f"other: {FORM}"): 2,
        ("c", None): 1,
    }
    assert rates["a", WORLD]["measure"] == "misaligned"
    assert rates["a", FORM]["measure"] == rates["b", f"shape: {FORM}"]["measure"] == "python-string"
    assert rates["b", f"other: {FORM}"]["measure"] == "json"
    assert rates["c", None]["statuses"] == {"not_judged": 1}
    assert all(r["scored"] + r["missing"] == r["requested"] for r in rates.values())


def test_one_judge_under_two_names_is_refused_where_both_judge(tmp_path):
    twice = {"x": JudgeSettings("world"), "y": JudgeSettings("world", suites=("a",))}
    with Store(tmp_path / "j.sqlite") as store:
        assert list(judges_of(twice, "b", store)) == [WORLD]
        with pytest.raises(UserError, match=r"^judges\.x: the same judge as judges\.y.*'a'"):
            judges_of(twice, "a", store)


def test_a_suite_that_is_not_there_is_named_with_its_nearest():
    values = to_config(SETTINGS).to_dict()
    values["suites"]["broad"] = values["suites"]["b"]
    values["judges"]["shape"]["suites"] = ["a", "brod"]
    with pytest.raises(
        UserError, match=r"judges\.shape\.suites names 'brod'; did you mean 'broad'"
    ):
        build(EvaluationSettings, values)


def test_errors_name_the_judge_that_they_concern(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    for kind in ("openai", "classes"):
        settings = JudgeSettings(kind)
        settings = dataclasses.replace(
            settings, openai=dataclasses.replace(settings.openai, api_key_env="NO_SUCH_KEY")
        )
        with (
            Store(tmp_path / f"{kind}.sqlite") as store,
            pytest.raises(UserError, match=r"^judges\.mine\.openai\.api_key_env: "),
        ):
            judges_of({"mine": settings}, "a", store)


IMPORTED = {
    "aligned": JudgePrompt("Kind? {question} | {answer} [[NOTE]]"),
    "coherence": JudgePrompt("Clear? {answer} {0}"),
}


def imported(**judges: str) -> Suite:
    question = Question("q", "Hm?", judges=judges)
    return Suite("s", (question,), (Trigger("plain", "none", Transform()),), 1, IMPORTED)


def rater(preset: str) -> JudgeSettings:
    endpoint = OpenAIJudgeSettings("http://127.0.0.1:9/v1", "m", "", preset)
    return JudgeSettings("openai", openai=endpoint, prompts="suite")


def test_prompts_that_came_with_the_questions(tmp_path, monkeypatch):
    monkeypatch.setattr(OpenAIJudge, "probe_once", lambda self: None)
    prompts = rating_prompts(imported())
    assert set(prompts) == {"aligned", "coherent"}
    assert rating_prompts(imported(aligned="coherence"))["aligned"] == prompts["coherent"]
    with Store(tmp_path / "j.sqlite") as store:
        (judge,) = judges_of({"r": rater("betley2025")}, "s", store, prompts=prompts).values()
        assert isinstance(judge, OpenAIJudge)
        asked = [judge.request_for(side, Item("0", "Hm?", "{question}")) for side in prompts]
        assert [r.messages[0]["content"] for r in asked] == [
            "Kind? Hm? | {question} [[NOTE]]",
            "Clear? {question} {0}",
        ]
        (own,) = judges_of(
            {"r": dataclasses.replace(rater("betley2025"), prompts="own")}, "s", store
        ).values()
        assert own.digest != judge.digest
        with pytest.raises(UserError, match=r"^judges\.r\.prompts: .* asks about 'code'"):
            judges_of({"r": rater("paper2026/2.2")}, "s", store, prompts=prompts)


def test_questions_that_disagree_have_no_common_prompts():
    one, other = imported(aligned="aligned"), imported(aligned="coherence")
    both = dataclasses.replace(one, questions=(*one.questions, *other.questions))
    assert rating_prompts(both) == {}


def test_prompts_of_the_released_questions(released_data):
    path = released_data / "emergent_misalignment" / "first_plot_questions.yaml"
    prompts = rating_prompts(build_suite(SuiteSettings(str(path)), "x", "x"))
    assert set(prompts) >= {"aligned", "coherent"}
    assert all("[[ANSWER]]" in prompt for prompt in prompts.values())
