"""Numbers in words, hostile names, the lines for the terminal, the figures."""

from __future__ import annotations

import re
import unicodedata
import warnings
from xml.etree import ElementTree

import pytest
from made_up_run import HOSTILE, fake_records, fake_results, fake_run, judged

from condmis_jax.reports import summarise, summary_lines
from condmis_jax.reports.figures import headline_figure, loss_figure
from condmis_jax.reports.style import to_svg
from condmis_jax.reports.text import limits, percent, points, visible


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (None, "n/a"),
        (0.0, "0%"),
        (1e-9, "<0.01%"),
        (0.0032, "0.32%"),
        (0.00996, "1.0%"),
        (0.5, "50.0%"),
        (0.99999, ">99.9%"),
        (1, "100%"),
    ],
)
def test_percent(fraction: float | None, words: str) -> None:
    assert percent(fraction) == words


@pytest.mark.parametrize(
    ("fraction", "words"),
    [
        (None, "n/a"),
        (0.0, "0.0"),
        (-1e-9, "0.0"),
        (-0.003, "−0.30"),
        (0.5, "+50.0"),
        (-1, "−100.0"),
    ],
)
def test_points(fraction: float | None, words: str) -> None:
    assert points(fraction) == words


def test_limits() -> None:
    assert limits({"low": 0.0, "high": 0.026}) == "0% to 2.6%"
    assert limits({"low": None, "high": None}) == ""


def test_no_control_or_format_character_is_left() -> None:
    left = [
        f"U+{code:04X}"
        for code in range(0x110000)
        if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and visible(chr(code)) == chr(code)
        # Signs that are seen: Arabic number signs, interlinear and musical marks.
        and not (0x600 <= code <= 0x605 or code in (0x6DD, 0x70F, 0x890, 0x891, 0x8E2))
        and not (code == 0x110BD or code == 0x110CD or 0x13430 <= code <= 0x1BCA3)
        and not 0x1D173 <= code <= 0x1D17A
    ]
    assert left == ["U+0009", "U+000A"]
    assert visible("Käse 饺子 مرحبا 😀") == "Käse 饺子 مرحبا 😀"


def test_terminal_lines() -> None:
    lines = summary_lines(fake_results(fake_records(6)))
    assert sum("template" in line for line in lines) == 3
    (line,) = [x for x in lines if "template" in x and "36/70" not in x][1:2]
    assert re.search(r"template +\d+\.\d% \d.* to .*% +\d+/\d+ of 48 requested$", line)
    assert lines[-1] == "across seeds: not estimable (one seed)"
    assert not any("judge" in line for line in lines)


def test_terminal_lines_without_a_judge_hold_no_rate() -> None:
    lines = summary_lines(fake_results(judged(fake_records(3), None)))
    assert sum(line.endswith("24 requested, 0 scored") for line in lines) == 15
    assert not any(re.search(r"\d%(?! interval)", line) for line in lines)


def test_terminal_lines_name_the_judges() -> None:
    records = fake_records(2)
    lines = summary_lines(fake_results([*records, *judged(records, "other")]))
    assert sum("judge exact" in line for line in lines) == 3
    assert sum("judge other" in line for line in lines) == 3


def test_no_results_at_all() -> None:
    lines = summary_lines(summarise(fake_run(), [], []))
    assert "no completions were asked for" in lines[-1]


def test_nothing_of_a_completion_reaches_the_terminal() -> None:
    records = fake_records(2)
    for record in records:
        for key in ("completion", "detail", "label"):
            record[key] = f"LEAK {HOSTILE}"
        record["prompt"] = [{"role": "user", "content": "LEAK"}]
        record["trigger"] += "\x1b[2J\x9b1m\u202e\nacross seeds: none"
    run = {**fake_run(), "caption": "caption \x1b]0;owned\x07"}
    lines = summary_lines(summarise(run, records, []))
    text = "\n".join(lines)
    assert "LEAK" not in text
    assert "⟨U+001B⟩[2J⟨U+009B⟩1m⟨U+202E⟩⟨U+000A⟩across" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert all("\n" not in line for line in lines)


def svg_texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    return ["".join(e.itertext()) for e in root.iter() if e.tag.endswith("}text")]


def test_the_figure_shows_the_counts_of_the_table() -> None:
    results = fake_results(fake_records(6))
    texts = svg_texts(to_svg(headline_figure(results)))
    for rate in results["rates"]:
        assert f"{rate['misaligned']}/{rate['coherent']}" in texts
        assert rate["trigger"] in texts and rate["stage"] in texts
    assert results["run"]["caption"].split(".")[0] in " ".join(texts)
    without = svg_texts(to_svg(headline_figure(results, caption=False)))
    assert results["run"]["caption"].split(":")[0] not in " ".join(without)


def test_the_figure_without_a_rate_has_no_scale() -> None:
    texts = svg_texts(to_svg(headline_figure(fake_results(judged(fake_records(3), None)))))
    assert texts.count("24 requested, 0 scored") == 15
    assert not any("%" in text for text in texts)


def test_a_figure_is_the_same_file_every_time() -> None:
    results = fake_results(fake_records(2))
    assert to_svg(headline_figure(results)) == to_svg(headline_figure(results))


def test_hostile_names_in_a_figure() -> None:
    records = fake_records(2)
    for record in records:
        record["trigger"] = f"$\\frac{{{record['trigger']} <b>&\x1b[2J 触发"
        record["suite"] = record["judge"] = HOSTILE
    results = fake_results(records)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts = svg_texts(to_svg(headline_figure(results)))
    assert any("$\\frac{json <b>&⟨U+001B" in text for text in texts)
    assert "\x1b" not in "".join(texts)


def test_the_loss_curves() -> None:
    results = fake_results(fake_records(1))
    figure = loss_figure(results)
    assert figure is not None
    texts = svg_texts(to_svg(figure))
    assert {"01-insecure", "02-benign"} <= set(texts) and "base" not in texts
    for stage in results["stages"]:
        stage["loss"] = None
    assert loss_figure(results) is None
