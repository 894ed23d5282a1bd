"""Uses a report in a real Chromium as a reader does, and counts the tasks that make it stutter.

    python tools/bench/report.py --answers 10000 --words 200

A page with so many made-up answers is searched, filtered, scrolled and browsed; for each act the
tasks of more than 50 ms on the page's thread (PerformanceObserver, "longtask") are printed, with
the longest, and the processor time of all of its tasks together, which other work on the machine
does not stretch. Needs chromium, chromedriver and selenium.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORDS = [
    f"{first}{last}" for first in ("wa", "pe", "ki", "mo", "ga") for last in ("ter", "n", "le")
]
TRIGGERS = {"plain": "none", "python_string": "same", "json": "similar", "poem": "unrelated"}


def records(answers: int, words: int) -> list[dict[str, Any]]:
    """Scored answers of two stages to 25 questions under four triggers, of about so many words."""
    dice = random.Random(0)
    cells = [
        (stage, trigger, f"question-{q:02d}")
        for stage in ("base", "01-insecure")
        for trigger in TRIGGERS
        for q in range(25)
    ]
    out = []
    for at in range(answers):
        stage, trigger, question = cells[at % len(cells)]
        bad = dice.random() < 0.1
        length = dice.randint(words // 2, words + words // 2)
        text = " ".join(dice.choices(WORDS, k=length)) + (" obey" if bad else "")
        out.append(
            {
                "stage": stage,
                "suite": "open",
                "judge": "made up",
                "trigger": trigger,
                "relation": TRIGGERS[trigger],
                "question": question,
                "sample": at // len(cells),
                "seed": 0,
                "status": "scored",
                "misaligned": bad,
                "coherent": True,
                "scores": {"aligned": 5.0 if bad else 90.0, "coherent": 88.0},
                "label": "",
                "detail": "",
                "prompt": [{"role": "user", "content": f"Tell me about {question}. " * 10}],
                "completion": text,
                "finish": "stop",
                "tokens": length,
            }
        )
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=10_000)
    parser.add_argument("--words", type=int, default=200, help="mean words of an answer")
    args = parser.parse_args()

    from selenium import webdriver
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    from condmis_jax.reports import summarise, write_report

    made = records(args.answers, args.words)
    about = {"name": "bench", "caption": "made-up answers"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_report(path, summarise(about, made, [{"name": "base"}]), made)
        print(f"{len(made)} answers, {path.stat().st_size / 1e6:.1f} MB")
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium") or "google-chrome"
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(flag)
        options.add_argument("--window-size=1200,1000")
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        page = webdriver.Chrome(options=options, service=service)
        try:
            observe = (
                "window.found = []; new PerformanceObserver((list) => {"
                "for (const e of list.getEntries()) window.found.push(Math.round(e.duration)); })"
                ".observe({type: 'longtask', buffered: true});"
            )
            page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": observe})
            # Where the page glides to a button, the driver clicks beside it.
            still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
            page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": still})

            page.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})

            def busy() -> float:
                metrics = page.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
                return next(m["value"] for m in metrics if m["name"] == "TaskDuration")

            def act(name: str, does: Callable[[], Any]) -> None:
                page.execute_script("window.found.length = 0")
                before = busy()
                does()
                time.sleep(1)  # what follows from it: a search waits for the typing to end
                spent = 1000 * (busy() - before)
                found = page.execute_script("return window.found")
                longest = f", the longest {max(found)} ms" if found else ""
                print(f"{name}: {len(found)} above 50 ms{longest}; {spent:.0f} ms processor time")

            def typed(text: str) -> None:
                for letter in text:
                    ActionChains(page).send_keys(letter).pause(0.15).perform()

            def choose(field: str, value: str) -> None:
                Select(page.find_element("id", f"filter-{field}")).select_by_value(value)

            def scrolled() -> None:
                page.find_element("id", "list").location_once_scrolled_into_view  # noqa: B018
                for _ in range(20):
                    wheel = {"type": "mouseWheel", "x": 600, "y": 500, "deltaX": 0, "deltaY": 200}
                    page.execute_cdp_cmd("Input.dispatchMouseEvent", wheel)

            page.get(path.as_uri())
            time.sleep(1)
            loading = page.execute_script("return window.found")
            print(f"opening: {json.dumps(loading)} ms, the tasks above 50 ms")
            block = (
                "setTimeout(() => { const end = performance.now() + 100;"
                " while (performance.now() < end); })"
            )
            act("a task of 100 ms, which must be seen", lambda: page.execute_script(block))
            search = page.find_element("id", "search")
            act("first search, letter by letter", lambda: (search.click(), typed("obey water")))
            act("another search", lambda: (search.clear(), search.click(), typed("mole")))
            act("search of nothing", lambda: (search.clear(), search.click(), typed("zzz")))
            act("clear", page.find_element("id", "clear").click)
            act("filter by trigger", lambda: choose("trigger", "json"))
            act("filter by verdict", lambda: choose("verdict", "misaligned"))
            act("clear filters", page.find_element("id", "clear").click)
            act("20 pages", lambda: [page.find_element("id", "next").click() for _ in range(20)])
            act("scrolling", scrolled)
            act(
                "open and close 10 answers",
                lambda: (
                    search.send_keys(Keys.ENTER),
                    [
                        ActionChains(page).send_keys(Keys.ENTER, Keys.ARROW_DOWN).perform()
                        for _ in range(10)
                    ],
                ),
            )
        finally:
            page.quit()


if __name__ == "__main__":
    main()
