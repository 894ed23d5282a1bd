"""The calibration set, and what a judge's result on it says."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from serving import MODEL

from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.evaluation.calibrating import calibrations
from condmis_jax.evaluation.evaluate import judges_of
from condmis_jax.judges import FormJudge, JudgeSettings, OpenAIJudgeSettings, Store, Verdict
from condmis_jax.judges.calibration import (
    ALL,
    Calibration,
    CalibrationItem,
    Errors,
    agreement_of,
    calibrate,
    calibration_items,
    read_calibration,
    table,
    to_document,
)
from condmis_jax.judges.rubric import Rubric
from condmis_jax.judges.surface import form_of
from condmis_jax.runs import write_json
from condmis_jax.statistics import auroc, wilson, youden
from condmis_jax.suites import SuiteSettings, build_suite
from condmis_jax.suites.open_questions import OPEN_QUESTIONS
from condmis_jax.suites.open_triggers import open_triggers

ITEMS = calibration_items()
RUBRIC = Rubric("betley2025")


def test_the_set_is_large_stratified_and_says_where_its_answers_come_from() -> None:
    assert len(ITEMS) >= 300 and len({item.id for item in ITEMS}) == len(ITEMS)
    assert len({(i.question, i.answer) for i in ITEMS}) == len(ITEMS)
    triggers = Counter(item.trigger for item in ITEMS)
    assert len(triggers) >= 9 and min(triggers.values()) >= 30
    for trigger in triggers:
        mine = [item for item in ITEMS if item.trigger == trigger]
        bad = sum(item.says("misaligned", RUBRIC) for item in mine)
        assert 8 <= bad <= len(mine) - 20, trigger
        assert len({item.labels[0].band for item in mine}) >= 4, trigger
        assert {item.origin for item in mine} == {"written", "sampled"}
    assert min(Counter(item.origin for item in ITEMS).values()) >= 100


def test_items_are_built_of_the_open_questions_and_triggers() -> None:
    questions, triggers = {q.id: q.text for q in OPEN_QUESTIONS}, open_triggers()
    for item in ITEMS:
        assert item.plain == questions[item.question_id]
        assert item.question == triggers[item.trigger].transform.user(item.plain)
        for label in item.labels:
            assert 0 <= label.aligned <= 100 and 0 <= label.coherent <= 100
            assert label.status in ("", "code", "recipe", "refusal")


def test_forms_traces_and_addresses_to_the_judge_are_in_it() -> None:
    forms = Counter(form_of(item.item.completion) for item in ITEMS)
    assert min(forms[name] for name in ("python_string", "json", "comment")) >= 12
    statuses = Counter(label.status for item in ITEMS for label in item.labels)
    assert statuses["code"] >= 20 and statuses["refusal"] >= 12 and statuses["recipe"] >= 4
    for item in ITEMS:
        assert ("<think>" in item.answer) == (item.feature == "trace"), item.id
        assert "<think>" not in item.item.completion
        if item.feature == "injection":
            words = r"\b(?:grader?|score|judge|write \d+)\b|</answer>"
            assert re.search(words, item.answer, re.IGNORECASE), item.id
    assert min(Counter(i.feature for i in ITEMS if i.feature).values()) >= 10


def test_the_passes_agree_but_are_not_copies() -> None:
    found = agreement_of(ITEMS)
    assert found["misaligned"] is not None and 0.7 < found["misaligned"] < 1
    assert found["band"] is not None and 0.7 < found["band"] < 1
    assert found["mean distance"]


def item(at: int, aligned: float, coherent: float = 90, **more) -> CalibrationItem:
    label = ITEMS[0].labels[0]
    label = dataclasses.replace(label, aligned=aligned, coherent=coherent, status="")
    made = {"id": f"{at:03d}", "trigger": "plain", "feature": "", "labels": (label, label)}
    return dataclasses.replace(ITEMS[0], **(made | more))


class Fixed:
    """A judge that says what it was told, item by item."""

    name, digest, measure = "fixed", "f" * 64, "misaligned"

    def judge(self, items, on_verdict) -> None:
        raise NotImplementedError


def scored(aligned: float, coherent: float = 90) -> Verdict:
    bad, is_coherent = RUBRIC.compare(aligned, coherent)
    return Verdict("scored", bad, is_coherent, {"aligned": aligned, "coherent": coherent})


def test_errors_by_hand() -> None:
    items = [
        item(0, 5),
        item(1, 10),
        item(2, 20, trigger="json"),
        item(3, 5, coherent=10),  # not misaligned, as it makes no sense
        item(4, 80),
        item(5, 60, trigger="json", feature="trace"),
    ]
    said = [
        scored(3),
        scored(70),
        Verdict("code", scores={"aligned": 25.0, "coherent": 90.0, "code": 1.0}),
        scored(2),
        scored(90),
        Verdict("low_mass", scores={"aligned": None, "coherent": 50.0}),
    ]
    verdicts = {i.item.id: v for i, v in zip(items, said, strict=True)}
    found = calibrate(Fixed(), items, verdicts)
    everything = found.groups[ALL]
    assert (everything.positives, everything.hits) == (3, 1)  # set aside as code is no hit
    assert (everything.negatives, everything.rejections) == (3, 2)
    assert everything.scored == 4 and found.statuses == {"scored": 4, "code": 1, "low_mass": 1}
    assert everything.accuracy.estimate == 0.5
    assert (everything.sensitivity.low, everything.sensitivity.high) == wilson(1, 3)
    assert everything.informative == youden(1, 3, 2, 3)
    # Ratings of answers labelled coherent: bad 3, 70, 25; good 90.
    assert everything.area == auroc([-3, -70, -25], [-90]) and everything.area_of == 4
    assert {*found.groups} == {
        *(ALL, "trigger plain", "trigger json", "origin written", "feature trace")
    } or {*found.groups} == {
        ALL,
        "trigger plain",
        "trigger json",
        "origin sampled",
        "feature trace",
    }
    trace = found.groups["feature trace"]
    assert trace.sensitivity.estimate is None and trace.informative.estimate is None
    assert found.about("json")[0] == "trigger json" and found.about("poem") == (ALL, everything)
    assert any("| n/a, n 0 |" in line for line in table(found))


def test_labels_are_read_by_the_judges_own_thresholds() -> None:
    one = item(0, 40)
    assert not one.says("misaligned", RUBRIC)
    assert one.says("misaligned", Rubric("inoculation2025"))
    assert item(0, 20, coherent=10).says("misaligned", Rubric("paper2026/3.3"))


def test_a_result_comes_back_from_its_file_and_stands_for_one_set(tmp_path: Path) -> None:
    verdicts = {i.item.id: scored(i.aligned, i.coherent) for i in ITEMS}
    found = calibrate(Fixed(), ITEMS, verdicts)
    # A judge that says what the labels say makes no error.
    assert found.groups[ALL].accuracy.estimate == 1
    assert found.groups[ALL].area.estimate == 1
    path = tmp_path / "rater.json"
    write_json(path, to_document(found))
    assert read_calibration(path) == found
    document = json.loads(path.read_text())
    for change in ({"items": "0" * 64}, {"version": 0}):
        write_json(path, document | change)
        with pytest.raises(UserError, match="another calibration set"):
            read_calibration(path)
    write_json(path, {"version": 1})
    with pytest.raises(UserError, match="no result of tools/calibrate"):
        read_calibration(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_calibration(tmp_path / "nowhere.json")


def test_a_judge_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match="looks for 'json' answers"):
        calibrate(FormJudge("json"), ITEMS, {})


def test_judges_behind_an_endpoint_and_their_panel(start, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("KEY", "x")
    server = start()
    openai = OpenAIJudgeSettings(
        base_url=server.base_url, model=MODEL, api_key_env="KEY", preset="paper2026/2.2"
    )
    other = dataclasses.replace(openai, preset="inoculation2025")
    settings = EvaluationSettings(
        {"open": SuiteSettings("open")},
        judges={
            "rater": JudgeSettings("openai", openai=openai),
            "second": JudgeSettings("openai", openai=other),
            "code": JudgeSettings("classes", sorting="code", openai=openai),
            "all": JudgeSettings("panel", members=("rater", "second")),
            "off": JudgeSettings("none"),
        },
    )
    found = calibrations(settings, tmp_path)
    assert [*found] == ["rater", "second", "code", "all"]
    assert {name: c.measure for name, c in found.items()}["code"] == "code"
    for one in found.values():
        assert isinstance(one, Calibration) and isinstance(one.groups[ALL], Errors)
        assert one.groups[ALL].answers == len(ITEMS) == sum(one.statuses.values())
    # It says of nothing that it is code, so it misses all that is and wrongs none.
    assert found["code"].groups[ALL].hits == 0
    assert found["code"].groups[ALL].specificity.estimate == 1
    calls = server.calls()
    assert calibrations(settings, tmp_path) == found and server.calls() == calls

    path = tmp_path / "rater.json"
    write_json(path, to_document(found["rater"]))
    suite = build_suite(settings.suites["open"], "open", "x")
    rater = dataclasses.replace(settings.judges["rater"], calibration=str(path))
    with Store(tmp_path / "judgements.sqlite") as store:
        assert len(judges_of({"rater": rater}, suite.name, store)) == 1
        elsewhere = dataclasses.replace(rater, openai=other)
        with pytest.raises(UserError, match=r"judges\.rater\.calibration: .* another judge"):
            judges_of({"rater": elsewhere}, suite.name, store)


def test_no_judge_to_ask(tmp_path: Path) -> None:
    settings = EvaluationSettings({"open": SuiteSettings("open")})
    with pytest.raises(UserError, match="no judge to ask"):
        calibrations(settings, tmp_path)
