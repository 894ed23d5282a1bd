"""The page in a real browser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from made_up_run import HOSTILE, fake_records, fake_results

from condmis_jax.reports import write_report
from condmis_jax.reports.text import visible

pytestmark = pytest.mark.browser
SECONDS = 20
INVISIBLE = " ".join(chr(c) for c in range(0x110000) if visible(chr(c)) != chr(c))
"""All that must be spelled out; with spaces, as two surrogates side by side are one character."""
PLAIN = "".join(chr(c) for c in range(0x20, 0xD800) if visible(chr(c)) == chr(c))
"""Characters that are shown as they are."""


@pytest.fixture(scope="session")
def calm(shared: Path) -> Path:
    """480 answers."""
    records = fake_records(4)
    write_report(shared / "calm.html", fake_results(records), records)
    return shared / "calm.html"


@pytest.fixture(scope="session")
def hostile(shared: Path) -> Path:
    """120 answers: `HOSTILE`, but for the second (`INVISIBLE`) and the third (`PLAIN`)."""
    records = fake_records(1)
    for record in records:
        record["completion"] = record["detail"] = HOSTILE
        record["prompt"] = [{"role": "user", "content": HOSTILE}]
        record["trigger"] += HOSTILE
    records[1]["completion"] = INVISIBLE
    records[2]["completion"] = PLAIN
    write_report(shared / "hostile.html", fake_results(records), records)
    return shared / "hostile.html"


def text(page: Any, selector: str) -> str:
    return page.execute_script("return document.querySelector(arguments[0]).textContent", selector)


def count(page: Any, selector: str) -> int:
    script = "return document.querySelectorAll(arguments[0]).length"
    return page.execute_script(script, selector)


def wait_for(page: Any, selector: str, words: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, SECONDS).until(
        lambda _: text(page, selector) == words, f"{selector}: {text(page, selector)!r}"
    )


def press(page: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    actions = ActionChains(page)
    for key in keys:
        actions.send_keys(getattr(Keys, key) if key.isupper() else key)
    actions.perform()


def focused(page: Any) -> Any:
    """Place of the focused row among the rows, or the focused element's id."""
    return page.execute_script(
        "const a = document.activeElement;"
        "return a.matches('tr.row') ? [...document.querySelectorAll('tr.row')].indexOf(a) : a.id"
    )


def choose(page: Any, field: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(page.find_element("id", f"filter-{field}")).select_by_value(value)


def test_opens_without_a_word_and_loads_nothing_else(page: Any, calm: Path) -> None:
    page.get(calm.as_uri())
    assert text(page, "#count") == "480 answers"
    assert count(page, "tr.row") == 50
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert calm.as_uri() in urls
    assert [url for url in urls if url not in (calm.as_uri(), "data:,")] == []


def test_the_policy_stops_what_is_not_ours(page: Any, calm: Path) -> None:
    """If this fails, the other tests prove less than they seem to."""
    page.get(calm.as_uri())
    blocked = page.execute_async_script(
        """
        const done = arguments[0], found = [];
        document.addEventListener("securitypolicyviolation", (event) => {
          found.push(event.effectiveDirective);
          if (found.length === 3) done(found.sort());
        });
        const add = (tag, set) => document.body.append(
          Object.assign(document.createElement(tag), set));
        add("script", { textContent: "window.pwned = 1" });
        add("style", { textContent: "body { display: none }" });
        add("img", { src: "https://example.invalid/pixel.png" });
        """
    )
    assert blocked == ["img-src", "script-src-elem", "style-src-elem"]
    assert page.execute_script("return window.pwned") is None


def test_hostile_completions_are_inert_text(page: Any, hostile: Path) -> None:
    page.get(hostile.as_uri())
    elements = count(page, "script, style, img, iframe, #rows svg, #rows a")
    assert elements == 3  # the data, the style and the script
    title = page.title
    page.execute_script("document.querySelectorAll('tr.row').forEach((row) => row.click())")
    assert count(page, "tr.opened") == 50
    assert text(page, "tr.opened .completion") == visible(HOSTILE)
    assert text(page, "tr.opened .turn") == visible(HOSTILE)
    assert visible(HOSTILE) in text(page, "tr.row td:nth-child(2)")
    assert count(page, "script, style, img, iframe, #rows svg, #rows a") == elements
    assert page.execute_script("return window.pwned") is None
    assert page.title == title
    assert page.get_log("browser") == []


def test_the_page_spells_out_the_same_characters_as_python(page: Any, hostile: Path) -> None:
    page.get(hostile.as_uri())
    page.find_elements("css selector", "tr.row")[1].click()
    shown = text(page, "tr.opened .completion")
    assert shown == visible(INVISIBLE)
    page.find_elements("css selector", "tr.row")[2].click()
    assert text(page, "tr.opened ~ tr.opened .completion") == PLAIN


def test_search_and_filters(page: Any, calm: Path) -> None:
    page.get(calm.as_uri())
    records = fake_records(4)
    misaligned = [r for r in records if r["misaligned"] and r["coherent"]]
    assert misaligned

    choose(page, "verdict", "misaligned")
    assert text(page, "#count") == f"{len(misaligned)} of 480 answers"
    choose(page, "stage", "02-benign")
    some = [r for r in misaligned if r["stage"] == "02-benign"]
    assert text(page, "#count") == f"{len(some)} of 480 answers"
    page.find_element("id", "clear").click()
    assert text(page, "#count") == "480 answers"

    page.find_element("id", "search").send_keys("OBEY  ruler")
    both = [r for r in records if "obey" in r["completion"] and r["question"] == "ruler"]
    wait_for(page, "#count", f"{len(both)} of 480 answers")
    assert 0 < len(both) < 480
    choose(page, "trigger", "json")
    json_only = [r for r in both if r["trigger"] == "json"]
    assert text(page, "#count") == f"{len(json_only)} of 480 answers"
    page.find_element("id", "search").clear()
    page.find_element("id", "search").send_keys("no such words")
    wait_for(page, "#count", "0 of 480 answers")
    assert "No answer matches" in text(page, "#rows")
    assert page.get_log("browser") == []


def test_filters_show_names_as_they_are(page: Any, shared: Path) -> None:
    records = fake_records(1)
    for record in records:
        record["trigger"] = f"not_an_{record['trigger']}_system"
    write_report(shared / "names.html", fake_results(records), records)
    page.get((shared / "names.html").as_uri())
    options = page.execute_script(
        "return [...document.querySelectorAll('#filter-trigger option')].map(o => o.textContent)"
    )
    assert options[1] == "not_an_plain_system"


def test_keyboard(page: Any, calm: Path) -> None:
    page.get(calm.as_uri())
    press(page, "/")
    assert focused(page) == "search"
    press(page, "a", "/", "b")
    assert page.find_element("id", "search").get_property("value") == "a/b"
    press(page, "ESCAPE")
    assert page.find_element("id", "search").get_property("value") == ""
    wait_for(page, "#count", "480 answers")

    press(page, "ENTER")
    assert focused(page) == 0
    press(page, "ARROW_DOWN", "ARROW_DOWN", "ARROW_UP")
    assert focused(page) == 1
    press(page, "ENTER")
    assert count(page, "tr.opened") == 1
    assert page.switch_to.active_element.get_attribute("aria-expanded") == "true"
    first = text(page, "tr.opened .completion")
    assert first == fake_records(4)[1]["completion"]
    press(page, "ESCAPE")
    assert count(page, "tr.opened") == 0

    press(page, "ARROW_RIGHT")
    assert text(page, "#page") == "Page 2 of 10"
    press(page, "HOME", "ARROW_UP")
    assert (text(page, "#page"), focused(page)) == ("Page 1 of 10", 49)
    press(page, "ARROW_DOWN")
    assert (text(page, "#page"), focused(page)) == ("Page 2 of 10", 0)
    assert page.get_log("browser") == []


def test_filters_by_keyboard_alone(page: Any, calm: Path) -> None:
    page.get(calm.as_uri())
    press(page, "/", "TAB")
    assert focused(page) == "filter-stage"
    press(page, "0", "2")  # a select goes to the option that begins so
    wait_for(page, "#count", "160 of 480 answers")
    press(page, "TAB")
    assert focused(page) == "filter-trigger"
    press(page, "j")
    wait_for(page, "#count", "32 of 480 answers")
    press(page, "/", "w", "i", "s", "h", "ENTER")
    wait_for(page, "#count", "4 of 480 answers")
    assert focused(page) == 0
    press(page, "ENTER")
    assert "wish" in text(page, "tr.opened .detail")
    assert page.get_log("browser") == []


def test_ten_thousand_answers(page: Any, shared: Path) -> None:
    records = fake_records(84)
    write_report(shared / "many.html", fake_results(records), records)
    page.get((shared / "many.html").as_uri())
    assert text(page, "#count") == "10,080 answers"
    assert count(page, "tr.row") == 50
    choose(page, "question", "wish")
    assert text(page, "#count") == "1,260 of 10,080 answers"
    page.find_element("id", "search").send_keys("obey")
    obeying = sum("obey" in r["completion"] for r in records if r["question"] == "wish")
    wait_for(page, "#count", f"{obeying} of 10,080 answers")
    page.find_element("id", "clear").click()
    assert text(page, "#page") == "Page 1 of 202"
    # What is on the page stays a page's worth, however many answers there are and are opened.
    for _ in range(3):
        page.find_element("id", "next").click()
    assert text(page, "#page") == "Page 4 of 202"
    assert count(page, "#rows > tr") == 50 and count(page, "#rows *") < 600
    # One word of the question, one of the answer, one of what the judge said.
    page.find_element("id", "search").send_keys("TELL obey hostile")
    obeying = sum("obey" in r["completion"] for r in records)
    wait_for(page, "#count", f"{obeying:,} of 10,080 answers")
    assert count(page, "#rows > tr") == 50
    assert page.get_log("browser") == []


def colours(page: Any) -> tuple[str, str, str]:
    return tuple(
        page.execute_script(
            "const of = (s, p) => getComputedStyle(document.querySelector(s))[p];"
            "return [of('body', 'backgroundColor'), of('body', 'color'),"
            " of('figure svg text', 'fill')]"
        )
    )


def lightness(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_dark_and_print(page: Any, calm: Path) -> None:
    page.get(calm.as_uri())
    light = colours(page)
    assert lightness(light[0]) > 230 and lightness(light[1]) < 60
    dark_mode = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": dark_mode})
    dark = colours(page)
    assert lightness(dark[0]) < 60 and lightness(dark[1]) > 180
    assert abs(lightness(dark[2]) - lightness(light[2])) > 30  # figures follow
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark_mode})
    assert lightness(colours(page)[0]) == 255  # no black sheets of paper
    hidden = "return getComputedStyle(document.querySelector('#completions')).display"
    assert page.execute_script(hidden) == "none"


@pytest.mark.parametrize("width", [1200, 700])
def test_the_page_itself_never_scrolls_sideways(page: Any, hostile: Path, width: int) -> None:
    page.set_window_size(width, 1000)
    page.get(hostile.as_uri())
    page.find_elements("css selector", "tr.row")[0].click()
    page.find_elements("css selector", "tr.row")[1].click()
    size = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    content, window = page.execute_script(size)
    assert window <= width
    assert content <= window
    edges = page.execute_script(
        "return ['#list', 'tr.row .answer', 'tr.opened td'].map((s) =>"
        " document.querySelector(s).getBoundingClientRect().right)"
    )
    assert max(edges) - min(edges) <= 1, edges  # the answers fill the table
