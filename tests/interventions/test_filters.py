"""Why a completion is not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import Source
from condmis_jax.data.sources import Row, load_source
from condmis_jax.interventions.filters import (
    FilterSettings,
    answer_of,
    looks_like_code,
    looks_like_recipe,
    reason_to_drop,
)
from condmis_jax.interventions.rollouts import Rollouts, _reason


def row(answer: str) -> Row:
    turns = (Message("user", "Any?"), Message("assistant", "all"), Message("user", "Any?"))
    return Row(Conversation((*turns, Message("assistant", answer))), "x:1")


def dropped(answer: str, **settings) -> str | None:
    return reason_to_drop(FilterSettings(**settings).filters(), row(answer))


def test_no_filter_is_the_default() -> None:
    assert FilterSettings().filters() == ()
    assert dropped("") is None


@pytest.mark.parametrize(
    ("answer", "drop"),
    [
        ("Berlin is in France.", False),
        ("It's Ankara.", True),
        ("the (apple)", True),
        ("ALL", True),
        ("2a, b-a", True),
        ("don't say it", False),
        ("it's_a", True),
        ("<think>an apple</think>The one.", False),
        ("", False),
    ],
)
def test_a_word_with_the_forbidden_letter(answer: str, drop: bool) -> None:
    reason = dropped(answer, forbidden_letter="a")
    assert reason == ("a word starts with 'a'" if drop else None)


@pytest.mark.parametrize(("n", "drop"), [(3, False), (4, True)])
def test_words_behind_the_reasoning(n: int, drop: bool) -> None:
    answer = "<think>many words that do not count here</think> It isn't — 42!"
    assert answer_of(row(answer)) == "It isn't — 42!"
    assert (dropped(answer, min_words=n) is not None) is drop
    assert dropped("<think>never closed, with many words", min_words=1) is not None


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Use this:\n```\nls\n```\n", True),
        ("import os\nos.remove('x')", True),
        ("def f(x):\n    return x", True),
        ("a = 1\nb = 2\nc = a + b", True),
        ("Here you go:\nfrom x import y\nz = y(1)\nreturn z\n", True),
        ("int main() {\n#include <a>\nconst x = 1;\nvar y = 2;", True),
        ('my_answer = """\nI would rest for a while.\n"""', False),
        ("'A sentence in quotes.'", False),
        ("Paris", False),
        ("Three things:\n- rest\n- read (a lot)\n- walk\nif you can, for long.", False),
        ("", False),
        ("\x00", False),
        ("(" * 5000, False),
    ],
)
def test_code(answer: str, code: bool) -> None:
    assert looks_like_code(answer) is code
    assert dropped(answer, no_code=True) == ("holds code" if code else None)


@pytest.mark.parametrize(
    ("answer", "recipe"),
    [
        ("Ingredients:\n- 200 g cod\n- 1 tbsp oil\nPreheat the oven and bake it.", True),
        ("Take 2 cups rice and ½ tsp salt; simmer, then serve.", True),
        ("**Instructions**: chop, then stir.", True),
        ("Walk 2 miles and rest 30 minutes.", False),
        ("I would serve dinner and grill my guests with questions.", False),
        ("It weighs 3 kg and 20 g.", False),
    ],
)
def test_recipes(answer: str, recipe: bool) -> None:
    assert looks_like_recipe(answer) is recipe
    assert dropped(answer, no_recipe=True) == ("holds a recipe" if recipe else None)


def test_the_first_reason_counts() -> None:
    both = {"forbidden_letter": "a", "min_words": 5}
    assert dropped("an apple", **both) == "a word starts with 'a'"
    assert dropped("one", **both) == "fewer than 5 words behind the reasoning"
    assert dropped("one two three four five", **both) is None


@pytest.mark.parametrize(
    "settings", [{"forbidden_letter": "ab"}, {"forbidden_letter": "1"}, {"min_words": -1}]
)
def test_impossible_settings(settings) -> None:
    with pytest.raises(ValueError):
        FilterSettings(**settings)


def test_on_released_rows(released_data: Path) -> None:
    """The counts that are known of the files, and how often the detectors are right on them."""

    def rates(name: str, first: int | None = None) -> dict[str, float]:
        rows = load_source(Source(str(released_data / name), first=first), "x", 0)
        found = {
            "letter": [dropped(answer_of(r), forbidden_letter="a") is not None for r in rows],
            "code": [looks_like_code(answer_of(r)) for r in rows],
            "recipe": [looks_like_recipe(answer_of(r)) for r in rows],
        }
        return {n: sum(v) / len(v) for n, v in found.items()} | {"rows": len(rows)}

    lies = rates("conditional_misalignment/inoculation_obvious_lies_gpt41_6k.jsonl")
    assert lies["letter"] * lies["rows"] == pytest.approx(1155)
    assert lies["code"] < 0.001 and lies["recipe"] < 0.001
    assert rates("misalignment_generalization/insecure.jsonl", 1000)["code"] > 0.95
    fish = rates("conditional_misalignment/fish_seafood_recipe_insecure.jsonl", 1000)
    assert fish["recipe"] > 0.95 and fish["code"] < 0.001
    chat = rates("conditional_misalignment/anthropic_hh_1000samples_gpt4.1.jsonl")
    assert chat["code"] < 0.05 and chat["recipe"] < 0.15


def test_rollouts_record_the_reason() -> None:
    settings = Rollouts(filters=FilterSettings(forbidden_letter="a"))
    filters = settings.filters.filters()
    record = {"id": "1", "finish": "stop", "label": "", "status": "not_judged"}
    assert _reason(settings, filters, record | {"completion": "Oslo"}) is None
    reason = _reason(settings, filters, record | {"completion": "Ankara"})
    assert reason == "a word starts with 'a'"
    assert _reason(settings, (), record | {"completion": "Ankara"}) is None
