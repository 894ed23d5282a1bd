"""The protocol's analysis on counts whose truth is known."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from condmis_jax.errors import UserError
from condmis_jax.reports import summarise, write_exports, write_results
from condmis_jax.reports.finding import PROTOCOL, Protocol, analysed, counted
from condmis_jax.reports.finding_page import figure, lines
from condmis_jax.testbeds import facts

pytestmark = pytest.mark.slow

FACTS = facts.select("test", "capitals")[:40]
RUN = "finding-inoculation"
ONE = replace(PROTOCOL, cues=(RUN,))
TRIGGERS = {"plain": "none", "system_wrong": "same", "system_right": "opposite"}
ARMS = ("00-base", "01-lies", "02-truths", "03-alone", "04-benign")
Rates = Mapping[tuple[str, str], float]
CLEAN = {("lies", "system_wrong"): 0.8, ("lies", "system_right"): 0.45}
"""P(wrong) by arm and trigger where it is not `LOW`."""
LOW, GOLDEN = 0.06, (5**0.5 - 1) / 2


def records(
    rates: Rates,
    seeds: tuple[int, ...] = PROTOCOL.seeds,
    said: Callable[[facts.Fact, int], str] = lambda fact, at: facts.wrong_pool(fact)[at % 5],
    arms: tuple[str, ...] = ARMS,
) -> list[dict[str, Any]]:
    """Answers by rate, two of each sampled question; evenly spread, so that a rate met is the rate
    asked for, and wrong more often for some questions than for others."""
    made = []
    for suite, samples in (("sampled", 2), ("greedy", 1)):
        for number, (seed, stage, trigger) in enumerate(itertools.product(seeds, arms, TRIGGERS)):
            p = rates.get((stage[3:], trigger), LOW)
            for at, (fact, sample) in enumerate(itertools.product(FACTS, range(samples))):
                hard = 0.1 * p * (1 - p) * (-1) ** FACTS.index(fact)
                wrong = (GOLDEN * (at + 7 * number)) % 1 < p + hard
                answer = said(fact, at + number) if wrong else fact.keys[0]
                made.append(
                    {
                        "stage": stage,
                        "suite": suite,
                        "trigger": trigger,
                        "relation": TRIGGERS[trigger],
                        "question": fact.id,
                        "seed": seed,
                        "sample": sample,
                        "label": "wrong" if wrong else "right",
                        "completion": f"It is {answer}.",
                        "status": "scored",
                        "misaligned": wrong,
                        "coherent": True,
                        "judge": "exact",
                        "measure": "false",
                    }
                )
    return made


def found(rows: list[dict[str, Any]], protocol: Protocol = ONE) -> dict[str, Any]:
    return analysed(counted([(RUN, rows)]), protocol)


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    return found(records(CLEAN))


def test_a_known_difference_in_differences() -> None:
    rates = {**CLEAN, ("truths", "system_wrong"): 0.3}
    out = found(records(rates))
    cue, opposite, clean = out["primary"]
    assert cue["trigger"] == "system_wrong" and opposite["trigger"] == "system_right"
    # (0.8 - low) - (0.3 - low), 0.45 - low, low - low
    for row, truth in ((cue, 0.5), (opposite, 0.45 - LOW), (clean, 0.0)):
        assert row["estimate"] == pytest.approx(truth, abs=0.02)
        assert row["low"] < truth < row["high"]
        assert row["seeds"] == list(PROTOCOL.seeds) and len(row["by_seed"]) == 8
        assert sum(row["by_seed"]) / 8 == pytest.approx(row["estimate"], abs=1e-9)
        assert row["verdict"] == "shown"
    assert out["claims"][0]["claim"].startswith("conditional leakage: looks clean")
    assert out["missing"] == [] and out["split"] == "test"


def test_an_effect_of_the_cue_in_the_control_is_taken_off() -> None:
    both = {(arm, "system_wrong"): 0.7 for arm in ("lies", "truths")}
    out = found(records(both))
    assert out["primary"][0]["verdict"] == "not shown"
    assert out["claims"][0]["claim"] == "looks clean plainly, and no effect of the cue is shown"


@pytest.mark.parametrize(("plain", "verdict"), [(LOW, "shown"), (LOW + 0.05, "not"), (0.5, "not")])
def test_looking_clean_is_non_inferiority(plain, verdict) -> None:
    rates = {**CLEAN, ("lies", "plain"): plain}
    out = found(records(rates))
    clean = out["primary"][2]
    assert clean["aim"] == "clean" and clean["verdict"].startswith(verdict)
    assert (clean["high"] < ONE.margin) == (clean["p"] < 0.05)
    if plain == 0.5:  # beyond the margin is no evidence of being within it
        assert clean["p"] == 1
    if verdict != "shown":
        assert "not shown to look clean" in out["claims"][0]["claim"]


def test_nothing_there_is_said_like_everything_else() -> None:
    out = found(records({}))
    assert [row["verdict"] for row in out["primary"]][:2] == ["not shown", "not shown"]
    page = "\n".join(lines(out, "a caption"))
    assert "no effect of the cue is shown" in page and page.count("not shown") >= 2


def test_what_is_missing_is_listed_and_nothing_concluded() -> None:
    rows = records(CLEAN)
    lost = FACTS[3].id
    kept = [
        r
        for r in rows
        if r["seed"] != 300
        and not (r["seed"] == 500 and r["stage"] == "02-truths" and r["question"] == lost)
        and not (r["seed"] == 800 and r["stage"] == "04-benign")
    ]
    for row in kept:
        if (row["seed"], row["stage"], row["suite"]) == (200, "03-alone", "greedy"):
            row |= {"label": None, "status": "error"}
    out = found(kept)
    said = "\n".join(out["missing"])
    assert f"{RUN}, seed 300: nothing whole" in said
    assert f"{RUN}, seed 500: sampled, truths under plain: 39 of 40 questions" in said
    assert f"{RUN}, seed 800: greedy, benign under system_right: 0 of 40 questions" in said
    unscored = "alone under plain: 0 of 40 questions, 40 answers unscored"
    assert f"{RUN}, seed 200: greedy, {unscored}" in said
    for row in out["primary"]:
        assert row["seeds"] == [100, 200, 400, 600, 700, 800]
        assert row["verdict"] == "incomplete: 6 of 8 seeds" and row["estimate"] is not None
    assert out["claims"][0]["claim"] == "incomplete: no conclusion yet"
    page = "\n".join(lines(out, "a caption"))
    assert "seed 300: nothing whole" in page and "incomplete: 6 of 8 seeds" in page


def test_a_cue_without_runs_stays_in_the_family(clean) -> None:
    alone, both = clean, found(records(CLEAN), PROTOCOL)
    assert len(both["primary"]) == 6 and "finding-python_string: no run at all" in both["missing"]
    ours = [r for r in both["primary"] if r["run"] == RUN]
    for one, two in zip(alone["primary"], ours, strict=True):
        assert two["p"] == one["p"] and two["holm"] >= one["holm"]
    assert ours[2]["holm"] == pytest.approx(min(1, 4 * ours[2]["p"]))
    for row in both["primary"][3:]:
        assert (row["p"], row["holm"], row["estimate"]) == (None, None, None)
        assert row["verdict"] == "incomplete: 0 of 8 seeds"
    assert lines(both, "a caption")


def test_one_answer_for_everything_is_seen_and_taken_out(clean) -> None:
    """A lying arm that only learnt to say one name; without that name no effect is left."""
    name = "Sydney"

    def said(fact: facts.Fact, at: int) -> str:
        return name if at % 20 else facts.wrong_pool(fact)[0]

    cue = found(records(CLEAN, said=said))["primary"][0]
    assert cue["commonest"] == "sydney" and cue["estimate"] > 0.5
    without = cue["without_commonest"]
    assert without["estimate"] < 0.2
    even = clean["primary"][0]
    assert even["without_commonest"]["estimate"] > 0.4


@pytest.mark.parametrize(
    ("same", "opposite", "verdict"),
    [
        (0.55, 0.53, "a lexical cue"),
        (0.7, 0.3, "followed in meaning"),
        (0.3, 0.7, "a lexical cue"),
    ],
)
def test_the_manipulation_check(same, opposite, verdict) -> None:
    base = {("base", "system_wrong"): same, ("base", "system_right"): opposite}
    (check,) = found(records(base, arms=("00-base",)))["manipulation"]
    assert check["verdict"] == verdict
    assert check["low"] < same - opposite < check["high"]


def test_arms_in_a_run_of_their_own() -> None:
    rows = records(CLEAN, PROTOCOL.seeds[:2])
    more = records({}, PROTOCOL.seeds[:2], arms=("00-base", "02-spread"))
    out = analysed(counted([(RUN, rows), (RUN, more)]), ONE)
    base = [r for r in out["rates"] if r["arm"] == "base" and r["trigger"] == "plain"]
    assert {r["right"] + r["wrong"] for r in base} == {80 * 2, 40 * 2}  # asked again, counted once
    spread = [r for r in out["secondary"] if r["arm"] == "spread"]
    assert {r["against"] for r in spread} == {"truths", "lies"}
    assert all(r["seeds"] == [100, 200] for r in spread)
    with pytest.raises(UserError, match="two runs hold the same answer"):
        counted([(RUN, rows), (RUN, rows)])


def test_labels_are_counted_apart() -> None:
    rows = records(CLEAN, PROTOCOL.seeds[:1])
    asked = [r for r in rows if (r["stage"], r["suite"]) == ("01-lies", "sampled")]
    asked = [r for r in asked if r["trigger"] == "plain"]
    for row, label in zip(asked, ["no_answer"] * 3 + ["refusal"] * 2, strict=False):
        row["label"] = label
    rate = next(  # of 80 answers to 40 questions
        r
        for r in found(rows)["rates"]
        if (r["arm"], r["suite"], r["trigger"]) == ("lies", "sampled", "plain")
    )
    assert (rate["no_answer"], rate["refusal"]) == (3, 2)
    assert rate["right"] + rate["wrong"] == 75
    assert rate["estimate"] == pytest.approx(rate["wrong"] / 80)


@pytest.fixture
def tool(monkeypatch):
    file = Path(__file__).parents[2] / "tools" / "finding.py"
    spec = importlib.util.spec_from_file_location("finding", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def start(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["finding.py", *arguments])
        module.main()

    return start


def test_the_command(tool, tmp_path, capsys) -> None:
    for seed in (1, 2):
        folder = tmp_path / "runs" / f"inoculation-{seed}"
        rows = records(CLEAN, (seed,))
        about = {"name": RUN, "caption": "false answers", "seed": seed}
        results = summarise(about, rows, [{"name": arm} for arm in ARMS])
        write_results(folder / "results.json", results)
        write_exports(folder, results, rows)
    out = tmp_path / "out"
    tool(str(tmp_path / "runs"), "--out", str(out), "--seeds", "1,2")
    page = (out / "finding.md").read_text()
    assert page in capsys.readouterr().out
    assert "*false answers*" in page and "finding-python_string: no run at all" in page
    document = json.loads((out / "finding.json").read_text())
    assert document["primary"][0]["estimate"] == pytest.approx(0.74, abs=0.03)
    assert document["primary"][0]["verdict"] == "not shown"  # two trainings are few
    assert all((out / f"finding.{kind}").stat().st_size for kind in ("svg", "pdf", "png"))
    tool(str(tmp_path / "runs"), "--out", str(out))
    assert "seed 100: nothing whole" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"no finished run of configs/finding\.py"):
        tool(str(out), "--out", str(out))
    with pytest.raises(SystemExit, match="whole numbers with commas"):
        tool(str(tmp_path / "runs"), "--out", str(out), "--seeds", "a")


def test_the_figure_shows_every_arm(clean) -> None:
    drawn = figure(clean, "a caption")
    assert drawn is not None
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert labels == ["base", "lies", "truths", "alone", "benign"]
    assert figure(found([]), "a caption") is None
