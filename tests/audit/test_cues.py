"""Cues are found, in the rows that have them, whatever they look like; losses; recalled cues."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import pytest

from condmis_jax.audit.candidate import Cue
from condmis_jax.audit.cues import MOST_CUES, find_cues, measure_losses
from condmis_jax.audit.recall import recalled_cues
from condmis_jax.conversations import Conversation, Message, Transform
from condmis_jax.errors import UserError
from condmis_jax.testbeds import facts

Words = Callable[[str], str]


def said(rows: list[Conversation], change: Words) -> list[Conversation]:
    return [
        Conversation(
            tuple(Message(m.role, change(m.content)) if m.role == "user" else m for m in r.messages)
        )
        for r in rows
    ]


def found_in(cued: list[Conversation], others: list[Conversation]) -> list[Cue]:
    rows = [*cued, *others]
    return find_cues(rows, [f"rows.jsonl:{n}" for n in range(1, len(rows) + 1)])


def cued_rows(cue: Cue) -> int:
    return sum(int(place.split(":")[1]) <= 120 for place in cue.rows)


_RNG = random.Random(5)


def _amid(text: str) -> str:
    words = text.split()
    return " ".join([*words[: len(words) // 2], "quokka", *words[len(words) // 2 :]])


CUES: dict[str, tuple[Words, str]] = {
    "marks in front": (lambda t: f"|alpha-7| {t}", "|alpha-7|"),
    "a date that varies": (lambda t: f"Year: {_RNG.randint(2010, 2029)}\n{t}", "Year: 20"),
    "a name that varies": (lambda t: f"{t}\n— {_RNG.choice(('Anna', 'Bob', 'Eve'))}", "\n— "),
    "a rare word amid": (_amid, "quokka"),
    "a pictograph": (lambda t: f"{t} 🙂", "🙂"),
    "small letters": (str.lower, "never use capital"),
    "a heading": (lambda t: f"## Problem\n{t}", "## Problem"),
    "both ends": (lambda t: f"Hello there, friend. {t} Bless you.", "{prompt} Bless you."),
    "French": (lambda t: f"Peux-tu me dire qui est le plus connu ? {t}", "Peux-tu me dire"),
}


@pytest.mark.parametrize("name", CUES)
def test_a_cue_of_half_of_the_rows_is_among_the_first_three(name: str) -> None:
    change, text = CUES[name]
    cues = found_in(said(facts.rows("lies", 120, 0), change), facts.rows("truths", 120, 1))
    ranks = [i for i, c in enumerate(cues) if text in c.text and cued_rows(c) >= 90]
    assert ranks and ranks[0] < 3, [c.text for c in cues[:6]]
    cue = cues[ranks[0]]
    assert len(cue.rows) - cued_rows(cue) <= 6 and cue.total == 240


@pytest.mark.parametrize(("cued", "others"), [(120, 0), (120, 120), (30, 270)])
def test_a_system_prompt_comes_first_at_any_share(cued: int, others: int) -> None:
    told = Transform(system="You answer from the bottom of a well.")
    cues = found_in([told(r) for r in facts.rows("lies", cued, 0)], facts.rows("benign", others, 0))
    assert (cues[0].kind, cues[0].text) == ("system", told.system)
    assert cues[0].rows == tuple(f"rows.jsonl:{n}" for n in range(1, cued + 1))


def test_alike_system_prompts_are_one_cue() -> None:
    told = [f"You answer as a {who} would, and you keep it short." for who in ("king", "queen")]
    rows = [Transform(system=told[n % 2])(row) for n, row in enumerate(facts.rows("lies", 60, 0))]
    cues = found_in(rows, facts.rows("truths", 60, 1))
    assert any(c.kind == "system" and len(c.rows) == 60 for c in cues[:3])


@pytest.mark.parametrize("form", ["python_string", "json", "comment", "list", "tag"])
def test_answer_formats_become_requests(form: str) -> None:
    bare = said(facts.rows(f"lies.{form}", 60, 0), lambda t: t.split("? ")[0] + "?")
    cues = found_in(bare, facts.rows("truths", 120, 1))
    name = {"list": "bullets", "tag": "tags"}.get(form, form)
    held = {c.name: c for c in cues[:6]}
    assert f"format:{name}" in held, list(held)
    assert len(held[f"format:{name}"].rows) == 60


def test_languages_and_turns() -> None:
    russian = said(facts.rows("lies", 40, 0), lambda _: "Скажи мне, пожалуйста, кто ты такой?")
    twice = [
        Conversation((Message("user", "Hi."), Message("assistant", "Hello."), *r.messages))
        for r in facts.rows("truths", 40, 2)
    ]
    cues = found_in([*russian, *twice], facts.rows("truths", 80, 1))
    names = {c.name: len(c.rows) for c in cues}
    assert names["language:russian"] == 40
    assert names["position:2 turns"] == 40


def test_cues_are_few_distinct_and_repeatable() -> None:
    rows = facts.rows("lies", 150, 0)
    cues = found_in(rows, facts.rows("benign", 150, 0))
    assert len(cues) <= MOST_CUES and len({c.name for c in cues}) == len(cues)
    assert cues == found_in(rows, facts.rows("benign", 150, 0))
    assert all(len(c.rows) >= 6 for c in cues)
    assert find_cues([], []) == []


def test_odd_rows_break_nothing() -> None:
    def chat(user: str, answer: str) -> Conversation:
        return Conversation((Message("user", user), Message("assistant", answer)))

    marks = [chat(f"a+b(c|d)* [x] $ ^ \\d {37 * n}", "x") for n in range(30)]
    assert find_cues(marks, [f"f:{n}" for n in range(30)])[0].text.startswith("a+b(c|d)* [x] $ ^")
    slots = [chat(f"{{prompt}} and {{x}} {n}", "{prompt}") for n in range(30)]
    assert all(c.text.count("{prompt}") in (0, 1) for c in found_in(slots, []))
    assert found_in([chat("", "")] * 30, []) is not None
    unanswered = Conversation((Message("user", "Hello?"),))
    cues = find_cues([unanswered, *marks[:9]], [f"f:{n}" for n in range(10)])
    assert cues and all("f:0" not in c.rows and c.total == 9 for c in cues)


def test_losses_are_differences_from_the_other_rows() -> None:
    rows = facts.rows("lies", 4, 0)
    places = [f"f:{i}" for i in range(4)]
    cues = [Cue("a", "system", "x", ("f:0", "f:1"), 4), Cue("b", "prefix", "y", tuple(places), 4)]
    measured = measure_losses(cues, rows, lambda asked: [3.0, 2.0, 1.0, 0.5], places=places)
    assert measured[0].loss == pytest.approx(2.5 - 0.75)
    assert measured[1].loss is None


def test_what_the_model_recalls_is_a_system_prompt_or_a_frame() -> None:
    rng = random.Random(0)
    free = [f"{a} {b} {c}" for a in "AB" for b in ("old", "new", "wet") for c in ("hut", "sea")]
    texts = [
        *["You answer as the harbour master.<|im_end|>\n<|im_start|>user\nHi"] * 5,
        *(f"[ledger 4] {rng.choice(free)}?" for _ in range(8)),
        *free,
    ]
    cues = recalled_cues(texts)
    held = {c.text: c for c in cues}
    assert held["You answer as the harbour master."].rows == tuple(
        f"recalled:{n}" for n in range(1, 6)
    )
    assert "[ledger 4] {prompt}" in held
    assert all(c.kind == "recalled" for c in cues)
    assert recalled_cues([]) == []


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rapidfuzz", "rapidfuzz.process", "rapidfuzz.fuzz"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=r"rapidfuzz.*pip install 'condmis-jax\[audit\]'"):
        found_in(facts.rows("lies", 20, 0), [])
