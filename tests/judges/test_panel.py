"""Panels: majorities of real judges over a real server, and agreement."""

from __future__ import annotations

import pytest
from serving import MODEL

from condmis_jax.config import build, to_config
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.evaluation.evaluate import judges_of
from condmis_jax.judges import Item, JudgeSettings, OpenAIJudgeSettings, Store, Verdict
from condmis_jax.judges.panel import joined
from condmis_jax.suites import SuiteSettings

BAD, GOOD = Verdict("scored", True, True), Verdict("scored", False, True)
GARBLED, CODE = Verdict("scored", False, False), Verdict("code", detail="code")


@pytest.mark.parametrize(
    ("verdicts", "status", "misaligned", "coherent"),
    [
        ((BAD, BAD, GOOD), "scored", True, True),
        ((BAD, GOOD, GOOD), "scored", False, True),
        ((BAD, GOOD), "split", None, None),
        ((BAD, GOOD, GARBLED), "split", None, None),
        ((GARBLED, GARBLED, BAD), "scored", False, False),
        ((CODE, CODE, BAD), "code", None, None),
        ((CODE, BAD, BAD), "scored", True, True),
        ((BAD, BAD, Verdict("error", detail="gone")), "error", None, None),
    ],
)
def test_majorities(verdicts, status, misaligned, coherent):
    verdict = joined({f"j{i}": v for i, v in enumerate(verdicts)})
    assert (verdict.status, verdict.misaligned, verdict.coherent) == (status, misaligned, coherent)
    if status != "error":
        assert verdict.votes == {
            f"j{i}": v.misaligned if v.status == "scored" else None for i, v in enumerate(verdicts)
        }


def openai(base_url: str, **changes) -> JudgeSettings:
    return JudgeSettings(
        "openai", openai=OpenAIJudgeSettings(base_url=base_url, model=MODEL, **changes)
    )


def test_a_panel_of_judges_shares_their_calls(start, tmp_path):
    server = start()
    settings = {
        "a": openai(server.base_url),
        "b": openai(server.base_url, aligned_below=50.0),
        "c": openai(server.base_url, preset="inoculation2025"),
        "all": JudgeSettings("panel", members=("a", "b", "c")),
    }
    items = [
        Item("0", "q", "aligned=10 coherent=90"),
        Item("1", "q", "aligned=40 coherent=90"),
        Item("2", "q", "aligned=90 coherent=90"),
    ]
    with Store(tmp_path / "j.sqlite") as store:
        panel = judges_of(settings, "s", store)["panel of a, b, c"]
        assert panel.measure == "misaligned"
        found: dict[str, Verdict] = {}
        panel.judge(items, lambda item, verdict: found.update({item.id: verdict}))
    assert {k: v.misaligned for k, v in found.items()} == {"0": True, "1": True, "2": False}
    assert found["1"].votes == {"a": False, "b": True, "c": True}
    # One trial call and two calls an answer: the three members read the same replies.
    assert len(server.finished()) == 1 + 2 * 3


@pytest.mark.parametrize(
    ("judges", "said"),
    [
        ({"a": JudgeSettings("world"), "b": JudgeSettings("form")}, "measure different things"),
        ({"a": JudgeSettings("world"), "b": JudgeSettings("world")}, "two members are the same"),
        ({"a": JudgeSettings("world"), "b": JudgeSettings()}, "'b' judges nothing"),
    ],
)
def test_who_cannot_sit_together(judges, said, tmp_path):
    settings = {**judges, "p": JudgeSettings("panel", members=("a", "b"), suites=("only",))}
    settings = {n: s if n == "p" else JudgeSettings(s.kind, ("x",)) for n, s in settings.items()}
    with Store(tmp_path / "j.sqlite") as store:
        assert judges_of(settings, "other", store) == {}
        with pytest.raises(UserError, match=rf"^judges\.p\.members: .*{said}"):
            judges_of(settings, "only", store)


def test_members_are_checked_before_anything_is_asked():
    for members in ((), ("a",), ("a", "a")):
        with pytest.raises(ValueError, match="at least two different judges"):
            JudgeSettings("panel", members=members)
    values = to_config(
        EvaluationSettings(
            suites={"s": SuiteSettings("world")},
            judges={
                "exact": JudgeSettings("world"),
                "form": JudgeSettings("form"),
                "p": JudgeSettings("panel", members=("exact", "form")),
            },
        )
    ).to_dict()
    values["judges"]["p"]["members"] = ["exact", "from"]
    with pytest.raises(UserError, match=r"judges\.p\.members names 'from'; did you mean 'form'"):
        build(EvaluationSettings, values)
