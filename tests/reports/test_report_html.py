"""The page as a parser sees it; test_report_browser.py opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_up_run import HOSTILE, fake_records, fake_results, fake_run, fake_stages, judged

from condmis_jax.errors import UserError
from condmis_jax.reports import page as frame
from condmis_jax.reports import render_report, summarise, write_report


class Page(HTMLParser):
    """Elements with their attributes, text by the elements that it stands in."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.comments: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.feed(page)
        self.close()

    VOID = ("meta", "link", "input", "br")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self.raw[tag].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.open)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]][-1] += data
        self.texts.append((tuple(self.open), data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, inside: str) -> str:
        return " ".join(" ".join(text for path, text in self.texts if inside in path).split())


def page_of(records: list[dict[str, Any]], **run: Any) -> Page:
    results = summarise({**fake_run(), **run}, records, fake_stages())
    return Page(render_report(results, records))


def hostile_records() -> list[dict[str, Any]]:
    records = fake_records(2)
    for record in records:
        record["completion"] = record["detail"] = record["label"] = HOSTILE
        record["prompt"] = [{"role": HOSTILE, "content": HOSTILE}]
        for key in ("suite", "trigger", "question", "judge"):
            record[key] += HOSTILE
    return records


def test_well_formed_and_complete() -> None:
    page = page_of(fake_records(3))
    assert page.open == []
    assert page.comments == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for target in re.findall(r"#[\w-]+", " ".join(a["href"] or "" for a in page.of("a"))):
        assert target[1:] in ids


def test_the_policy_allows_this_style_and_this_script_only() -> None:
    page = page_of(fake_records(1))
    (policy,) = [
        meta["content"] or ""
        for meta in page.of("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    script = page.raw["script"][-1]
    (style,) = page.raw["style"]

    def source(text: str) -> str:
        digest = hashlib.sha256(text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == source(script)
    assert rules["style-src"] == source(style)
    assert set(rules) == {
        "default-src",
        "script-src",
        "style-src",
        "img-src",
        "base-uri",
        "form-action",
    }
    assert rules["img-src"] == "data:"
    assert rules["base-uri"] == rules["form-action"] == "'none'"


def test_a_run_needs_no_more_than_a_name_and_a_caption() -> None:
    records = fake_records(1)
    results = summarise({"name": "bare", "caption": "made up"}, records, [])
    assert "made up" in Page(render_report(results, records)).text("main")


@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_is_loaded_and_nothing_runs_inline(hostile: bool) -> None:
    page = page_of(hostile_records() if hostile else fake_records(2))
    loading = ("src", "href", "xlink:href", "srcset", "action", "data", "poster", "formaction")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style", (tag, name)
            if name in loading:
                assert (value or "").startswith(("#", "data:,")), (tag, name, value)
            elif not name.startswith("xmlns"):
                assert not re.search(r"url\((?!#)", value or "")
    (style,) = page.raw["style"]
    assert "url(" not in style and "@import" not in style


def test_hostile_text_adds_no_element_and_ends_none() -> None:
    calm, hostile = page_of(fake_records(2)), page_of(hostile_records())
    assert hostile.open == [] and hostile.comments == []
    foreign = {"script", "style", "img", "iframe", "b", "body", "head"}

    def counts(page: Page) -> dict[str, int]:
        return {tag: len(page.of(tag)) for tag in sorted(foreign)}

    assert counts(hostile) == counts(calm)
    assert len(hostile.raw["script"]) == 2
    data = json.loads(hostile.raw["script"][0])
    assert data["rows"][0][9] == HOSTILE
    assert HOSTILE in data["prompts"][0][0]


def test_names_are_shown_with_their_invisible_characters_spelled_out() -> None:
    page = page_of(hostile_records(), name="sequential \u202e\x1b[2J")
    assert "⟨U+202E⟩right to left⟨U+202C⟩ ⟨U+0000⟩⟨U+001B⟩[2J" in page.text("table")
    assert page.text("h1") == "sequential ⟨U+202E⟩⟨U+001B⟩[2J"
    assert "{{ 7 * 7 }}" in page.text("table")
    shown = "".join(text for path, text in page.texts if "script" not in path)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\ud800-\udfff]", shown)


def test_written_as_utf8_even_with_lone_surrogates(tmp_path: Path) -> None:
    records = hostile_records()
    path = tmp_path / "folder" / "report.html"
    write_report(path, fake_results(records), records)
    data = json.loads(Page(path.read_bytes().decode("utf-8")).raw["script"][0])
    assert data["rows"][0][9] == HOSTILE


def test_without_a_judge_there_are_counts_and_no_rate() -> None:
    page = page_of(judged(fake_records(3), None))
    assert page.text("ul").count("120 requested, 0 scored: no rate.") == 3
    assert page.text("tbody").count("24 requested, 0 scored") == 15
    for inside in ("ul", "tbody", "svg"):
        assert not re.search(r"\d\s*%", page.text(inside)), inside
    assert "free-form, not judged" in page.text("caption")


def test_the_rates_table_says_what_results_say() -> None:
    results = fake_results(fake_records(6))
    page = page_of(fake_records(6))
    cells = page.text("tbody")
    for rate in results["rates"]:
        assert f"{rate['misaligned']} / {rate['coherent']}" in cells
        assert f"{rate['scored']} / {rate['requested']}" in cells
        assert f"{100 * rate['p_misaligned_given_coherent']['estimate']:.1f}%".strip("0") in cells
    caption = results["run"]["caption"]
    assert page.text("figcaption").count(caption) == 2


def test_the_training_table() -> None:
    words = page_of(fake_records(1)).text("table")
    assert "Held-out loss, before → after" in words
    assert "6,000 512,340 3.51 → 1.12" in words
    assert "not measured → not measured" in words
    assert "Without a loss token" in words and "500 42,610 17" in words
    assert "Cut at the end" not in words  # all zero
    stages = [{"name": "a", "dose": {"x": {"conversations": 5, "truncated": 2}}}]
    records = fake_records(1)
    words = Page(render_report(summarise(fake_run(), records, stages), records)).text("table")
    assert "Cut at the end" in words and "Held-out" not in words and "Without a loss" not in words


def test_two_judges_have_a_table_each() -> None:
    records = fake_records(2)
    page = page_of([*records, *judged(records, "gpt-judge")])
    captions = page.text("caption")
    assert "free-form, judged by exact." in captions
    assert "free-form, judged by gpt-judge." in captions


def test_the_first_samples_are_kept_and_the_rest_is_announced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = fake_records(4)
    results = fake_results(records)
    page = Page(render_report(results, records, most=250))
    rows = json.loads(page.raw["script"][0])["rows"]
    assert len(rows) == 240
    assert {row[7] for row in rows} == {"0", "1"}
    assert "240 of 480" in page.text("section")
    monkeypatch.setattr(frame, "MOST_CHARACTERS", 10)
    page = Page(render_report(results, records))
    assert "120 of 480" in page.text("section")  # one of each cell, whatever its length


def test_no_completions_at_all() -> None:
    page = page_of([])
    assert "No completion was asked for" in page.text("section")
    assert "nothing to show" in page.text("svg")


def test_results_that_break_the_schema_are_refused(tmp_path: Path) -> None:
    results = fake_results(fake_records(1))
    del results["rates"][0]["scored"]
    with pytest.raises(UserError, match=r"report: results: rates\[0\] lacks 'scored'"):
        write_report(tmp_path / "report.html", results, [])
    assert not list(tmp_path.iterdir())


def test_a_narrow_measure_is_never_called_misalignment() -> None:
    records = [{**r, "measure": "false"} for r in fake_records(samples=2)]
    run = {**fake_run(), "caption": "Answers to factual questions of our own."}
    page = Page(render_report(summarise(run, records, []), records))
    shown = page.text("body").lower()
    assert "misalign" not in shown
    assert "p(false | coherent)" in shown and "false answers among coherent ones" in shown
    assert "conditional behaviour, run report" in shown
    assert "is not the right one" in shown
    # Verdicts in the list of completions, and the other words around the figure.
    (data,) = [text for text in page.raw["script"] if '"names"' in text]
    assert {"false", "not false"} <= set(json.loads(data)["names"])
    assert not {"misaligned", "aligned"} & set(json.loads(data)["names"])


def test_several_seeds_are_shown_apart_and_together() -> None:
    records = fake_records(5, seeds=3)
    results = fake_results(records)
    shown = Page(render_report(results, records)).text("table")
    assert "Seed 0 Seed 1 Seed 2 Across seeds" in shown
    rate = next(r for r in results["rates"] if r["seeds"])
    assert rate["across_seeds"] in shown
    assert "by question and seed" in Page(render_report(results, records)).text("ol")
    one = page_of(fake_records(2))
    assert "Seed 0" not in one.text("table")
    assert "not estimable (one seed)" in one.text("section")


def test_contrasts_stand_in_their_declared_families() -> None:
    records = fake_records(5, seeds=3)
    results = fake_results(records)
    page = Page(render_report(results, records))
    summaries = page.text("summary")
    for family in results["families"]:
        assert f"{family['what']} (free-form, judged by exact; a family of {family['size']})" in (
            summaries
        )
    # 12 comparisons of 8 questions: Holm's smallest is 12 · 2/2^8; of 3 seeds nothing is left.
    assert "Least p by Holm: 0.094 by question, 1 by seed." in page.text("caption")
    assert "a given model" in page.text("td")  # the base model has no seeds to flip


def test_the_papers_aggregations_are_named_and_beside_ours() -> None:
    records = fake_records(5)
    results = fake_results(records)
    page = Page(render_report(results, records))
    assert "own aggregations, preset paper2026" in page.text("summary")
    rate = results["rates"][6]["published"]["sections"]["2.2"]["rate"]
    assert f"{100 * rate['estimate']:.1f}%" in page.text("details")
    assert "own aggregations" not in page_of(judged(records, None)).text("summary")
