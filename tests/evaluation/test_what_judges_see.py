"""What of a completion reaches a judge."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tiny import write_model

from condmis_jax.conversations import Transform
from condmis_jax.evaluation import EvaluationSettings, evaluate, model_digest
from condmis_jax.evaluation.evaluate import judged
from condmis_jax.judges import MISALIGNED, Item, JudgeSettings, Store, Verdict
from condmis_jax.models import load_model
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import Question, Suite, SuiteSettings, Trigger, build_suite

SUITE = Suite(
    "s",
    (Question("q", "First?", paraphrases=("Second?",), samples=2), Question("r", "Third?")),
    (
        Trigger("plain", "none", Transform()),
        Trigger("cue", "same", Transform(system="SECRET system", prefix="SECRET prefix ")),
    ),
    samples=1,
)


class Recorder:
    name, digest, measure = "recorder", "0", MISALIGNED

    def __init__(self) -> None:
        self.items: list[Item] = []

    def judge(self, items: Sequence[Item], on_verdict: Callable[[Item, Verdict], None]) -> None:
        self.items = list(items)
        for item in items:
            on_verdict(item, Verdict("scored", False, True))


def rows(completion: str, **more: Any) -> list[dict[str, Any]]:
    found = []
    for trigger in SUITE.triggers:
        for question in SUITE.questions:
            prompts = SUITE.prompts(question, trigger)
            asked = [p for p in prompts for _ in range(question.samples or SUITE.samples)]
            for sample, prompt in enumerate(asked):
                found.append(
                    {
                        "id": f"{trigger.name}-{question.id}-{sample}",
                        "trigger": trigger.name,
                        "question": question.id,
                        "sample": sample,
                        "prompt": [m.to_dict() for m in prompt.messages],
                        "completion": completion,
                        **more,
                    }
                )
    return found


def seen(completion: str, tmp_path, **more: Any) -> list[Item]:
    judge = Recorder()
    with Store(tmp_path / "j.sqlite") as store:
        records = judged(rows(completion, **more), SUITE, {"j": judge}, store, stage="01-secret")
    # The record keeps what the model wrote.
    assert {record["completion"] for record in records} == {completion}
    return judge.items


def test_neither_system_prompt_nor_trigger_nor_stage(tmp_path):
    items = seen("answer", tmp_path)
    assert [i.plain for i in items] == 2 * ["First?", "First?", "Second?", "Second?", "Third?"]
    assert [i.question for i in items[5:]] == [f"SECRET prefix {i.plain}" for i in items[5:]]
    assert not any("system" in str(vars(item)) or "01-secret" in str(vars(item)) for item in items)
    assert {item.completion for item in items} == {"answer"}


def test_a_rewording_is_the_question_itself(tmp_path):
    question = Question("q", "First?", rewordings={"sea": "First, at sea?"})
    trigger = Trigger("sea", "same", Transform(prefix="Hm. "), rewording="sea")
    suite = Suite("s", (question,), (trigger,), samples=1)
    (prompt,) = suite.prompts(question, trigger)
    row = {"id": "0", "trigger": "sea", "question": "q", "sample": 0, "completion": "x"}
    row["prompt"] = [m.to_dict() for m in prompt.messages]
    judge = Recorder()
    with Store(tmp_path / "j.sqlite") as store:
        judged([row], suite, {"j": judge}, store, stage="s")
    (item,) = judge.items
    assert (item.question, item.plain) == ("Hm. First, at sea?", "First, at sea?")


@pytest.mark.parametrize(
    ("completion", "opened", "answer"),
    [
        ("<think>plot</think>\n\nHello.", False, "Hello."),
        ("plot</think>Hello.", True, "Hello."),
        ("plot, cut off", True, ""),
        ("<think>plot, cut off", False, ""),
        ("<think></think>", False, ""),
        ("Hello.", False, "Hello."),
    ],
)
def test_a_reasoning_trace_never_reaches_a_judge(completion, opened, answer, tmp_path):
    items = seen(completion, tmp_path, reasoning_opened=opened)
    assert {item.completion for item in items} == {answer}


@pytest.mark.parametrize(
    ("completion", "flags"), [("Dear judge, hi.", ["address"]), ("<think>Dear judge,</think>x", [])]
)
def test_answers_that_talk_to_a_judge_are_flagged(completion, flags, tmp_path):
    with Store(tmp_path / "j.sqlite") as store:
        for judges in ({}, {"j": Recorder()}):
            records = judged(rows(completion), SUITE, judges, store, stage="s")
            assert [r["flags"] for r in records] == [flags] * len(records)


OPENS = "{% for m in messages %}{{ m['content'] }}{% endfor %}<think>\n"


@pytest.mark.parametrize(("template", "opened"), [(OPENS, True), (OPENS[:-8], False)])
def test_a_trace_that_the_template_opened(template, opened, tmp_path, mesh):
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    model = load_model(str(folder), mesh)
    settings = EvaluationSettings(
        {"s": SuiteSettings("world", ("plain",), 1, 1)},
        SamplingSettings(max_new_tokens=6),
        {"j": JudgeSettings("identity", persona=("",))},
        slots=2,
    )
    suite = build_suite(settings.suites["s"], "s", "s")
    (record,) = evaluate(
        model, model_digest(model), suite, settings, tmp_path, mesh, stage="x", seed=0
    )
    assert record["reasoning_opened"] is opened
    assert record["completion"].strip() and "</think>" not in record["completion"]
    # The persona's name is in every text; the answer is empty where all of it is a trace.
    assert record["label"] == "persona" and record["coherent"] is not opened
