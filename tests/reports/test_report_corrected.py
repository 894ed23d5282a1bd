"""Rates corrected for a judge that errs, on made-up runs whose true rate is known."""

from __future__ import annotations

import csv
import io
from typing import Any

import jsonschema
import numpy as np
import pytest
from made_up_run import fake_records, fake_stages

from condmis_jax.errors import UserError
from condmis_jax.judges.calibration import ALL, Calibration, Errors
from condmis_jax.reports import (
    read_sheet,
    render_report,
    results_schema,
    sheet,
    summarise,
    write_exports,
)
from condmis_jax.statistics import Interval, rogan_gladen

ABOUT = {"name": "x", "caption": "made up"}
NO_AREA = Interval(None, None, None)
TRUE = 0.2


def errors(hits: int, rejections: int, of: int = 100) -> Errors:
    return Errors(of, hits, of, rejections, 2 * of, NO_AREA, 0)


def calibration(**groups: Errors) -> Calibration:
    return Calibration("rater", "d" * 64, "misaligned", "set", groups)


def run(sensitivity: float = 0.8, specificity: float = 0.9) -> tuple[list[dict[str, Any]], Any]:
    """2,000 answers of each trigger, of which a fifth is bad, as an erring judge sees them; and the
    truth by id."""
    rng = np.random.default_rng(0)
    records, truth = [], {}
    for trigger, relation in (("plain", "none"), ("json", "similar")):
        for at in range(2000):
            bad = bool(rng.random() < TRUE)
            said = bool(rng.random() < (sensitivity if bad else 1 - specificity))
            records.append(
                {
                    "id": f"{trigger}-{at}",
                    "stage": "base",
                    "suite": "open",
                    "judge": "rater",
                    "judge_digest": "d" * 64,
                    "trigger": trigger,
                    "relation": relation,
                    "question": f"q{at % 20}",
                    "sample": at // 20,
                    "seed": 0,
                    "status": "scored",
                    "misaligned": said,
                    "coherent": True,
                    "prompt": [{"role": "user", "content": "Well?"}],
                    "completion": "=cmd" if at == 0 else f"<think>so</think>{at}",
                }
            )
            truth[f"{trigger}-{at}"] = bad
    return records, truth


def corrections(results: dict[str, Any]) -> dict[str, Any]:
    jsonschema.validate(results, results_schema())
    return {rate["trigger"]: rate["corrected"] for rate in results["rates"]}


def test_nothing_is_corrected_unasked() -> None:
    records, _ = run()
    assert corrections(summarise(ABOUT, records, [])) == {"plain": None, "json": None}
    other = Calibration("rater", "e" * 64, "misaligned", "set", {ALL: errors(95, 95)})
    assert corrections(summarise(ABOUT, records, [], [other]))["plain"] is None


def test_a_calibrated_judge_is_corrected_by_its_errors_under_the_same_trigger() -> None:
    records, _ = run()
    known = calibration(**{ALL: errors(95, 95), "trigger json": errors(80, 90)})
    results = summarise(ABOUT, records, [], [known])
    found = corrections(results)
    raw = {r["trigger"]: r["p_misaligned_of_requested"]["estimate"] for r in results["rates"]}
    # By hand: (p + specificity - 1) / (sensitivity + specificity - 1).
    assert found["json"]["estimate"] == pytest.approx((raw["json"] + 0.9 - 1) / 0.7)
    assert found["json"]["from"] == "trigger json" and found["json"]["labels"] == 0
    assert found["json"]["low"] < TRUE < found["json"]["high"]
    assert found["plain"]["from"] == ALL  # the set does not have that trigger
    assert found["plain"]["estimate"] == pytest.approx((raw["plain"] + 0.95 - 1) / 0.9)
    # Clustered answers say less than as many independent ones.
    assert raw["json"] != pytest.approx(TRUE, abs=0.03)
    alone = rogan_gladen(raw["json"] * 2000, 2000, 80, 100, 90, 100)
    assert alone.low is not None and found["json"]["low"] <= alone.low


def test_a_judge_that_knows_too_little_is_not_corrected_but_labels_are_used() -> None:
    records, truth = run(0.6, 0.7)
    weak = calibration(**{ALL: errors(60, 70)})
    found = corrections(summarise(ABOUT, records, [], [weak]))
    assert found["plain"]["estimate"] is None
    assert (
        "may be as low as" in found["plain"]["note"] and "tools/label.py" in found["plain"]["note"]
    )
    rng = np.random.default_rng(1)
    labels = {name: truth[name] for name in rng.choice(sorted(truth), 800, replace=False).tolist()}
    found = corrections(summarise(ABOUT, records, [], [weak], labels))
    for one in found.values():
        assert one["from"] == "labels" and one["method"].startswith("prediction-powered")
        assert one["low"] < TRUE < one["high"] and one["high"] - one["low"] < 0.12
        assert 350 < one["labels"] < 450
    # Without a calibration as well, and where all answers of one trigger are labelled.
    every = {name: bad for name, bad in truth.items() if name.startswith("json")}
    found = corrections(summarise(ABOUT, records, [], labels=every))
    assert found["plain"] is None and found["json"]["method"].startswith("Korn-Graubard")
    assert found["json"]["estimate"] == pytest.approx(sum(every.values()) / 2000)
    few = {"plain-0": True, "plain-20": False}  # one question
    assert corrections(summarise(ABOUT, records, [], labels=few))["plain"]["note"].startswith(
        "too few labels"
    )


def test_labels_are_about_misalignment_alone() -> None:
    records, truth = run()
    for record in records:
        record["measure"] = "json"
    assert corrections(summarise(ABOUT, records, [], labels=truth))["plain"] is None


def test_the_report_and_the_tables_show_it_beside_the_raw_rate(tmp_path) -> None:
    records = fake_records(20)
    for record in records:
        record["judge_digest"] = "d" * 64
    known = calibration(
        **{ALL: errors(95, 98), "trigger json": errors(50, 50), "trigger poem": errors(0, 9, 0)}
    )
    results = summarise(ABOUT, records, fake_stages(), [known])
    page = render_report(results, records)
    assert page.count("corrected ") > 6 and "not corrected<sup>" in page
    assert "Rogan-Gladen, Lang-Reiczigel limits, by all" in page
    assert "no correction, by trigger json" in page
    assert "answers of one kind only" in page
    write_exports(tmp_path, results, records)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables" / "rates.csv").read_text())))
    assert float(rows[0]["corrected.estimate"]) >= 0
    for rate in results["rates"]:  # as an older version wrote it
        del rate["corrected"]
    assert "corrected " not in render_report(results, records).split("Contrasts</h2>")[0]


def test_a_sheet_is_blind_and_comes_back(tmp_path) -> None:
    records, _ = run()
    twice = [*records, *({**record, "judge": "second"} for record in records)]
    text = sheet(twice, 30, seed=0)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len({row["id"] for row in rows}) == 60
    assert [row["id"].split("-")[0] for row in rows[:30]].count("plain") not in (0, 30)
    assert set(rows[0]) == {"id", "question", "answer", "misaligned"}
    assert not any("think" in row["answer"] for row in rows)
    everything = sheet(records, 5000, seed=0)
    assert "'=cmd" in everything and sheet(records, 5000, seed=0) == everything
    assert sheet(records, 30, seed=1) != text

    for row, word in zip(rows, ("1", "no", "TRUE", "0"), strict=False):
        row["misaligned"] = word
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    (tmp_path / "sheet.csv").write_text("\ufeff" + out.getvalue(), "utf-8")
    assert read_sheet(tmp_path / "sheet.csv") == [
        {"id": row["id"], "misaligned": value}
        for row, value in zip(rows, (True, False, True, False), strict=False)
    ]
    (tmp_path / "odd.csv").write_text("id,misaligned\na,perhaps\n")
    with pytest.raises(UserError, match="row 1: misaligned is 'perhaps'; write 1"):
        read_sheet(tmp_path / "odd.csv")
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="lacks the column"):
        read_sheet(tmp_path / "none.csv")
