"""Two runs side by side."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_up_run import HOSTILE, fake_records, fake_run, fake_stages, judged
from test_report_html import Page

from condmis_jax.errors import UserError
from condmis_jax.reports import compare, read_completions, summarise, write_exports, write_results
from condmis_jax.statistics import Arm, contrast

ROOT = Path(__file__).parents[2]


def run_of(records: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return summarise({**fake_run(), "name": name}, records, fake_stages())


def only(records: list[dict[str, Any]], **wanted: Any) -> tuple[list[Any], list[Any]]:
    """Misaligned and coherent counts [question][seed] of records with these values."""
    wanted["status"] = "scored"
    some = [r for r in records if all(r[k] == wanted[k] for k in wanted)]
    questions = list(dict.fromkeys(r["question"] for r in records))
    seeds = sorted({r["seed"] for r in records})
    cells = [
        [[r for r in some if (r["question"], r["seed"]) == (q, s)] for s in seeds]
        for q in questions
    ]
    return (
        [[sum(r["coherent"] and r["misaligned"] for r in cell) for cell in row] for row in cells],
        [[sum(r["coherent"] for r in cell) for cell in row] for row in cells],
    )


def test_differences_of_runs_trained_apart() -> None:
    one, other = fake_records(10, seeds=3), fake_records(8, seeds=2)
    rows = compare(run_of(one, "a"), run_of(other, "b"), ("02-benign", "01-insecure"))
    assert [row["trigger"] for row in rows] == ["plain", "template", "json", "poem", "pirate"]
    arms = [
        Arm(*only(one, stage="02-benign", trigger="json"), 1),
        Arm(*only(other, stage="01-insecure", trigger="json"), -1),
    ]
    expected = contrast(arms, "both", shared_seeds=False)
    assert rows[2]["difference"] == expected.to_dict()
    assert "by question and seed, t(1)" in expected.method
    plain = [rate["p_misaligned_given_coherent"]["estimate"] for rate in rows[0]["rates"]]
    json = [rate["p_misaligned_given_coherent"]["estimate"] for rate in rows[2]["rates"]]
    change = (json[0] - plain[0]) - (json[1] - plain[1])
    assert rows[2]["interaction"]["estimate"] == pytest.approx(change)
    assert rows[0]["interaction"] is None
    assert all(row["noninferior"] is None for row in rows)


def test_one_seed_or_a_given_model_compares_models() -> None:
    one, other = run_of(fake_records(10, seeds=3), "a"), run_of(fake_records(10), "b")
    for stages in ((None, None), ("base", "base"), ("02-benign", "base")):
        rows = compare(one, other, stages)
        method = rows[1]["difference"]["method"]
        assert rows[1]["difference"]["low"] is not None
        assert ("by question and seed" in method) == (stages == ("02-benign", "base")), stages


def test_questions_asked_of_one_run_only_are_left_out() -> None:
    one, other = fake_records(6), [r for r in fake_records(6) if r["question"] != "wish"]
    row = compare(run_of(one, "a"), run_of(other, "b"))[1]
    assert row["difference"]["note"].startswith("1 question(s) without answers in all arms")


def test_noninferiority_and_its_margin() -> None:
    records = fake_records(40)
    rows = compare(run_of(records, "a"), run_of(records, "b"), ("base", "base"), margin=0.5)
    assert all(row["noninferior"] is True for row in rows)
    rows = compare(run_of(records, "a"), run_of(records, "b"), ("01-insecure", "base"), 0.01)
    assert rows[1]["noninferior"] is False


def test_what_cannot_be_compared_is_one_line() -> None:
    one = run_of(fake_records(1), "a")
    with pytest.raises(UserError, match="run B has no stage 'x'; it has base, 01-insecure, 02-"):
        compare(one, one, (None, "x"))
    with pytest.raises(UserError, match="share no suite, judge and trigger"):
        compare(one, run_of(judged(fake_records(1), "other"), "b"))


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, samples in (("one", 3), ("two", 2)):
        records = fake_records(samples)
        records[0]["completion"] = HOSTILE
        write_results(folder / name / "results.json", run_of(records, f"{name} {HOSTILE}"))
        write_exports(folder / name, run_of(records, name), records)
    return folder


def tool(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "compare.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_the_tool_writes_a_page(two_runs: Path) -> None:
    out = two_runs / "compare.html"
    done = tool(two_runs / "one", two_runs / "two", "--out", out, "--margin", "0.05")
    assert done.returncode == 0, done.stderr
    page = Page(out.read_text("utf-8"))
    assert page.open == [] and page.comments == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert len(page.of("svg")) == 2 and len(page.raw["script"]) == 2
    assert "A, 02-benign B, 02-benign" in page.text("thead")
    assert "margin of +5.0 points" in page.text("caption")
    assert not re.search(r"<script>window", out.read_text("utf-8"))


def test_the_tool_says_in_one_line_what_is_missing(two_runs: Path) -> None:
    done = tool(two_runs / "one", two_runs / "none", "--out", two_runs / "x.html")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    broken = two_runs / "completions.parquet"
    broken.write_bytes(b"no parquet")
    with pytest.raises(UserError, match="cannot be read as completions"):
        read_completions(broken)


@pytest.mark.browser
def test_both_runs_completions_in_a_browser(two_runs: Path, page: Any) -> None:
    from selenium.webdriver.support.ui import Select

    out = two_runs / "compare.html"
    assert tool(two_runs / "one", two_runs / "two", "--out", out).returncode == 0
    page.get(out.as_uri())
    assert page.find_element("id", "count").text == "600 answers"
    Select(page.find_element("id", "filter-stage")).select_by_value("B · 02-benign")
    assert page.find_element("id", "count").text == "80 of 600 answers"
    assert page.get_log("browser") == []
    assert page.execute_script("return window.pwned") is None
    width = page.execute_script("return document.documentElement.scrollWidth")
    assert width <= 1200
