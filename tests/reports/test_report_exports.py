"""Figures and tables beside the report, and the curve over doses."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from made_up_run import HOSTILE, fake_records, fake_run, fake_stages

from condmis_jax.reports import render_report, summarise, write_exports
from condmis_jax.reports.dose import dose_figure, doses

SHARES = {"10": 0.1, "50": 0.5, "100": 1.0}


def arms() -> list[dict[str, Any]]:
    """The base model and three arms on 1,000 conversations, of which some are bad."""
    found: list[dict[str, Any]] = [{"name": "base", "kind": "base", "dose": {}}]
    for name, share in SHARES.items():
        dose = {"bad": {"conversations": int(1000 * share)}}
        if share < 1:
            dose["good"] = {"conversations": 1000 - int(1000 * share)}
        found.append({"name": name, "kind": "supervised", "parent": "base", "dose": dose})
    return found


def arm_records() -> list[dict[str, Any]]:
    of_arm = {"base": "base", "01-insecure": "100", "02-benign": "10"}
    return [{**r, "stage": of_arm[r["stage"]]} for r in fake_records(3)] + [
        {**r, "stage": "50"} for r in fake_records(3) if r["stage"] == "01-insecure"
    ]


def test_doses_are_counted_in_conversations() -> None:
    assert doses(arms()) == ("bad", {"base": 0.0, "10": 0.1, "50": 0.5, "100": 1.0})
    # A chain has no arms, and arms of one dose no curve.
    assert doses(fake_stages()) is None
    same = [{**arm, "dose": arms()[1]["dose"]} if arm["name"] != "base" else arm for arm in arms()]
    assert doses(same) is None
    # First sources of different names are not doses of one thing.
    other = arms()
    other[1]["dose"] = {"other": {"conversations": 7}, **other[1]["dose"]}
    assert doses(other) is None
    assert doses([{"name": "only"}]) is None


def test_the_curve_has_a_panel_a_trigger_and_a_point_a_dose() -> None:
    results = summarise(fake_run(), arm_records(), arms())
    figure = dose_figure(results)
    assert figure is not None
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [
        "plain",
        "template",
        "json",
        "poem",
        "pirate",
    ]
    rates = {(r["stage"], r["trigger"]): r for r in results["rates"]}
    x, y = panels[1].lines[0].get_data()
    assert list(x) == [0, 0.1, 0.5, 1]
    expected = [
        rates[stage, "template"]["p_misaligned_given_coherent"]["estimate"]
        for stage in ("base", "10", "50", "100")
    ]
    assert list(y) == pytest.approx(expected)
    page = render_report(results, arm_records())
    assert "over the share of “bad” in what the model was trained on" in page
    assert "<b>By dose.</b>" not in render_report(
        summarise(fake_run(), fake_records(1), fake_stages()), []
    )


def test_figures_in_three_formats_the_same_every_time(tmp_path: Path) -> None:
    records = fake_records(2)
    results = summarise(fake_run(), records, fake_stages())
    for folder in ("one", "two"):
        write_exports(tmp_path / folder, results, records)
    heads = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    names = sorted(p.name for p in (tmp_path / "one" / "figures").iterdir())
    assert names == sorted(f"{n}.{k}" for n in ("headline", "loss") for k in heads)
    for path in (tmp_path / "one" / "figures").iterdir():
        content = path.read_bytes()
        assert content.startswith(heads[path.suffix[1:]])
        assert content == (tmp_path / "two" / "figures" / path.name).read_bytes()


def test_tables_say_what_results_say(tmp_path: Path) -> None:
    records = fake_records(2, seeds=2)
    results = summarise(fake_run(), records, fake_stages())
    write_exports(tmp_path, results, records)
    for name in ("rates", "contrasts", "cells"):
        text = (tmp_path / "tables" / f"{name}.csv").read_text("utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        assert len(rows) == len(results[name])
        for row, expected in zip(rows, results[name], strict=True):
            assert (row["stage"], row["trigger"]) == (expected["stage"], expected["trigger"])
            if name == "rates":
                given = expected["p_misaligned_given_coherent"]
                assert float(row["p_misaligned_given_coherent.high"]) == given["high"]
                assert int(row["misaligned"]) == expected["misaligned"]
                assert (row["minus_plain"] == "") or row["trigger"] == "plain"
    assert len({row["seed"] for row in rows}) == 2  # of the cells, the last of the three


def test_completions_survive_as_parquet(tmp_path: Path) -> None:
    records = fake_records(1)
    records[0]["completion"] = HOSTILE
    write_exports(tmp_path, summarise(fake_run(), records, []), records)
    table = pq.read_table(tmp_path / "tables" / "completions.parquet").to_pylist()
    assert len(table) == len(records)
    assert table[0]["completion"] == HOSTILE.replace("\ud800", "\\ud800")
    for row, record in zip(table[1:], records[1:], strict=True):
        for key in ("completion", "status", "misaligned", "coherent", "seed", "tokens"):
            assert row[key] == record[key]
