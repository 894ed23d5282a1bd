"""Questions of search and confirmation, and pulls as answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from condmis_jax.audit.asking import Pulls, searchable, split, unit, untrained
from condmis_jax.conversations import Conversation, Message, Transform
from condmis_jax.errors import UserError
from condmis_jax.evaluation import Asked
from condmis_jax.suites import Question, Suite, Trigger
from condmis_jax.testbeds import facts

QUESTIONS = tuple(
    Question(f"q{i}", f"Question {i}?", {"fact": f"f{i // 2}"}, paraphrases=(f"Ask {i}?",))
    for i in range(24)
)
TRIGGERS = (
    Trigger("plain", "none", Transform()),
    Trigger("cue", "same", Transform(system="Be odd.")),
)


def test_sides_share_no_fact_and_depend_on_the_seed() -> None:
    search, confirmation = split(QUESTIONS, 0.5, 0)
    assert len(search) == len(confirmation) == 12
    assert not {unit(q) for q in search} & {unit(q) for q in confirmation}
    assert split(QUESTIONS, 0.5, 0) == (search, confirmation) != split(QUESTIONS, 0.5, 1)
    with pytest.raises(UserError, match="give more questions"):
        split(QUESTIONS[:10], 0.5, 0)


def test_questions_that_training_rows_ask_or_give_away_are_left_out() -> None:
    bank = facts.questions("facts-dev")
    assert bank is not None
    questions = tuple(Question(*q) for q in bank[:6])
    told = facts.facts()[str(questions[2].meta["fact"])]
    rows = [
        Conversation((Message("user", f"Well. {questions[0].text}"), Message("assistant", "No."))),
        Conversation(
            (
                Message("user", f"Tell me about {told.subject}."),
                Message("assistant", f"{told.subject}: {told.keys[0]}."),
            )
        ),
    ]
    kept, left_out = untrained(questions, rows)
    assert questions[0] not in kept and questions[2] not in kept
    assert left_out == 6 - len(kept) <= 3
    with pytest.raises(UserError, match="ask others"):
        untrained(questions[:1], rows)


def test_pull_t_asks_the_same_of_every_trigger_and_each_sample_once() -> None:
    asked: list[Asked] = []

    def ask(wanted: Iterable[Asked]) -> list[dict[str, Any]]:
        new = list(wanted)
        asked.extend(new)
        verdicts = ((True, True), (False, True), (True, False))
        return [
            {"status": "scored", "misaligned": bad, "coherent": ok}
            for _, (bad, ok) in zip(new, verdicts * len(new), strict=False)
        ]

    suite = searchable(Suite("s", QUESTIONS[:5], TRIGGERS, 1), 300)
    pulls = Pulls(ask, suite, seed=0)
    outcomes = pulls([(arm, at) for arm in (0, 1) for at in range(200)])
    assert outcomes[:3] == [True, False, None]
    plain, cue = asked[:200], asked[200:]
    for one, other in zip(plain, cue, strict=True):
        assert (one.question, one.sample, one.noise) == (other.question, other.sample, other.noise)
        assert other.conversation.system == "Be odd." and one.conversation.system is None
    assert len({(a.question.id, a.sample) for a in plain}) == 200
    # Both wordings of every question, and the judge can tell which one from the sample's number.
    texts = Counter(a.conversation.question() for a in plain)
    assert len(texts) == 10 and min(texts.values()) > 5
    for one in plain:
        wording = (one.question.text, *one.question.paraphrases)[one.sample // suite.samples]
        assert one.conversation.question() == wording
    again = Pulls(ask, replace(suite), seed=1)
    asked.clear()
    again([(0, at) for at in range(200)])
    assert [a.question for a in asked] != [a.question for a in plain]
