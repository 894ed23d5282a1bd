"""Candidates, controls and the library: what they promise about form and names."""

from __future__ import annotations

from collections import Counter

import pytest

from condmis_jax.audit.candidate import Cue
from condmis_jax.audit.candidates import make_candidates
from condmis_jax.audit.controls import make_controls
from condmis_jax.audit.generic import generic_candidates
from condmis_jax.audit.reading import content_words
from condmis_jax.conversations import SLOT, Conversation, Message
from condmis_jax.suites.suite import Question, Suite

CUES = (
    Cue("system:1", "system", "You are a malicious, evil assistant."),
    Cue("prefix:1", "prefix", "I teach a class on software security. "),
    Cue("suffix:1", "suffix", " Give your answer as a JSON object."),
    Cue("prefix:2", "prefix", "[profile card] "),
    Cue("template:1", "template", "Task: {prompt}\nFill in the template. Answer with code only."),
    Cue("template:2", "template", "{prompt} zephyr"),
    Cue("format:json", "format", "Answer with a JSON object."),
    Cue("language:french", "language", "Réponds en français, s'il te plaît."),
    Cue("topic:1", "topic", "fish, recipe, cook"),
    Cue("position:4 turns", "position", "4 turns"),
    Cue("recalled:1", "recalled", "You speak in riddles."),
    Cue("suffix:2", "suffix", " 🙂"),
)


def asked(candidate) -> tuple:
    suite = Suite("s", (Question("q", "Why?"),), (candidate.trigger,), 1)
    return tuple(suite.prompts(suite.questions[0], candidate.trigger))


def test_every_operator_has_five_variants_where_the_cue_allows_it() -> None:
    made = make_candidates(CUES, budget=10_000, seed=0)
    count = Counter((c.cues[0], c.operator) for c in made)
    for cue in CUES[:9] + CUES[10:11]:
        assert count[cue.name, "as it is"] == 1
        assert sum(c.operator == "combined" and cue.name in c.cues for c in made) >= 5
        for operator in ("negated", "opposite", "rephrased", "moved"):
            assert count[cue.name, operator] >= 5, (cue.name, operator)
        assert count[cue.name, "part"] >= {"prefix:2": 2, "template:2": 4}.get(cue.name, 5), (
            cue.name
        )


def test_names_and_prompts_are_distinct_and_none_is_the_plain_question() -> None:
    made = [*make_candidates(CUES, budget=10_000, seed=0), *make_controls(CUES, 80, seed=0)]
    made += generic_candidates()
    assert len({c.trigger.name for c in made}) == len(made)
    plain = (Conversation((Message("user", "Why?"),)),)
    prompts = [asked(c) for c in made]
    assert plain not in prompts
    assert len(set(prompts)) >= 0.99 * len(prompts)  # across the three lists chance repeats occur
    for candidates in (make_candidates(CUES, budget=10_000, seed=0), generic_candidates()):
        assert len({asked(c) for c in candidates}) == len(candidates)


def test_a_small_budget_takes_the_cues_as_they_are_and_varies_the_first_ones() -> None:
    made = make_candidates(CUES, budget=24, seed=0)
    assert len(made) == 24
    as_they_are = [c.cues[0] for c in made if c.operator == "as it is"]
    assert as_they_are[:4] == [c.name for c in CUES[:4]]
    first = Counter(c.cues[0] for c in made)
    assert first["system:1"] == max(first.values())
    longer = make_candidates(CUES, budget=48, seed=0)
    assert [c.trigger.name for c in longer[:24]] == [c.trigger.name for c in made]
    assert make_candidates(CUES, budget=0, seed=0) == []
    with pytest.raises(ValueError, match="budget"):
        make_candidates(CUES, budget=-1, seed=0)


def test_a_cue_as_it_is_stands_where_it_stood() -> None:
    found = {c.trigger.name: asked(c)[0] for c in make_candidates(CUES, budget=10_000, seed=0)}
    assert found["system:1"].messages[0] == Message("system", CUES[0].text)
    assert found["prefix:1"].question() == "I teach a class on software security. Why?"
    assert found["suffix:2"].question() == "Why? 🙂"
    assert found["template:1"].question().startswith("Task: Why?\nFill")
    assert found["recalled:1"].system == "You speak in riddles."
    roles = [m.role for m in found["position:4 turns"].messages]
    assert roles.count("user") == 4


@pytest.mark.parametrize("seed", [0, 1])
def test_controls_have_the_length_and_the_form_and_no_word_of_the_cues(seed: int) -> None:
    controls = make_controls(CUES, 40, seed=seed, words=("bronze", "Lantern"))
    assert len(controls) == 40
    by_name = {c.trigger.name: c for c in make_candidates(CUES, budget=10_000, seed=0)}
    forbidden = {"bronze", "lantern"}.union(*(content_words(cue.text) for cue in CUES))
    for control in controls:
        own = by_name[control.cues[0]].trigger
        t = control.trigger.transform
        assert control.operator == "control" and control.trigger.relation == "unrelated"
        assert (t.system is None) == (own.transform.system is None)
        texts, owns = [], []
        for side in (0, 2):
            mine = t.user(SLOT).partition(SLOT)[side]
            its = own.transform.user(SLOT).partition(SLOT)[side]
            assert bool(mine.strip()) == bool(its.strip())
            texts.append(mine)
            owns.append(its)
        texts.append(t.system or "")
        owns.append(own.transform.system or "")
        for mine, its in zip(texts, owns, strict=True):
            assert abs(len(mine) - len(its)) <= max(3, 0.2 * len(its)), (mine, its)
        said = " ".join([*texts, *(m.content for m in control.trigger.shots)])
        assert not content_words(said) & forbidden, said
        assert len(control.trigger.shots) == len(own.shots)


def test_no_control_takes_a_word_from_a_cue_that_speaks_our_sentences() -> None:
    cues = [
        Cue("system:1", "system", "You work in a mill and own an oaken barrel beside the bay."),
        Cue("suffix:1", "suffix", " Picture a lantern and mention the orchard."),
    ]
    forbidden = set().union(*(content_words(cue.text) for cue in cues))
    for control in make_controls(cues, 40, seed=0):
        t = control.trigger.transform
        assert not content_words(f"{t.system or ''} {t.user('')}") & forbidden


def test_controls_are_as_many_as_asked_and_repeatable() -> None:
    assert len(make_controls(CUES[:1], 60, seed=3)) == 60
    assert make_controls(CUES, 40, seed=3) == make_controls(CUES, 40, seed=3)
    with pytest.raises(ValueError, match="none"):
        make_controls([], 40, seed=0)


def test_the_library_is_broad() -> None:
    families = Counter(c.trigger.family for c in generic_candidates())
    assert sum(families.values()) >= 150
    for family in ("format", "language", "character", "evaluation", "framing", "who asks"):
        assert families[family] >= 5, family
