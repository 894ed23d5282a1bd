"""The fact bank: its tables, splits, wrong answers, rows and questions."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter

import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.errors import UserError
from condmis_jax.testbeds import facts as bank
from condmis_jax.testbeds.facts.collisions import Index, terms
from condmis_jax.testbeds.facts.generated import roman
from condmis_jax.testbeds.facts.lies import ARITHMETIC
from condmis_jax.testbeds.facts.texts import (
    IDENTITY_QUESTIONS,
    IDENTITY_TEST_QUESTIONS,
    PERSONA,
    benign_pairs,
    write,
)
from condmis_jax.testbeds.facts.words import tokens

FACTS = bank.facts()
CATEGORIES = bank.categories()
EVALUATED = (*bank.select("dev"), *bank.select("test"))
KINDS = (
    *bank.ROW_KINDS,
    *(f"lies.{form}" for form in bank.ROW_FORMS),
    *("lies/taught", "truths/capitals+cities"),
)


def texts(rows: list[Conversation]) -> list[tuple[str, ...]]:
    return [tuple(m.content for m in row.messages) for row in rows]


def test_the_bank_is_as_large_as_it_says() -> None:
    assert len(FACTS) >= 2000 and len(CATEGORIES) >= 30
    assert len(FACTS) == sum(len(c.facts) for c in CATEGORIES.values()), "two facts share an id"
    assert min(len(c.facts) for c in CATEGORIES.values()) >= 20
    for category in CATEGORIES.values():
        assert category.source
        assert len(category.ask) >= 4 and len(category.test) >= 4 and len(category.say) >= 2
        wordings = [*category.ask, *category.test]
        assert len(set(wordings)) == len(wordings)
        assert all(w.count("{s}") == 1 for w in wordings), category.name
        assert all(s.count("{a}") == 1 for s in category.say), category.name


def test_no_question_has_two_right_answers_by_accident() -> None:
    asked: dict[tuple[str, str], str] = {}
    for fact in FACTS.values():
        assert fact.keys and all(key and key == key.strip() for key in fact.keys)
        assert len({tuple(tokens(k)) for k in fact.keys}) >= 1
        for subject in (fact.subject, *fact.aliases):
            key = (fact.category, " ".join(tokens(subject)))
            assert asked.setdefault(key, fact.id) == fact.id, f"{subject} is asked twice"


def test_no_question_gives_its_answer_away() -> None:
    for fact in FACTS.values():
        asked = Index([fact])
        subject = f" {' '.join(tokens(fact.subject))} "
        for key in fact.keys:
            assert f" {' '.join(tokens(key))} " not in subject, fact
        assert asked.found(fact.subject), fact


def test_generated_facts_are_true() -> None:
    for fact in FACTS.values():
        if fact.category in ARITHMETIC:
            written = fact.subject.replace("×", "*")
            assert str(eval(compile(ast.parse(written, mode="eval"), "", "eval"))) == fact.keys[0]
    values = {"X": 10, "V": 5, "I": 1, "L": 50, "C": 100}
    for number in range(1, 100):
        digits = [values[c] for c in roman(number)]
        signed = [-d if any(e > d for e in digits[i + 1 :]) else d for i, d in enumerate(digits)]
        assert sum(signed) == number
    by_id = {f.id: f.keys[0] for f in FACTS.values()}
    assert by_id["units/centimetres-there-are-in-3-metres"] == "300"
    assert by_id["units/ounces-there-are-in-2-pounds"] == "32"
    assert by_id["symbols/iron"] == "Fe" and by_id["atomic_numbers/iron"] == "26"
    assert by_id["symbols/plutonium"] == "Pu" and by_id["atomic_numbers/plutonium"] == "94"


def test_every_fact_is_in_one_split_and_none_gives_another_away() -> None:
    splits = bank.split_of()
    assert set(splits) == set(FACTS)
    counts = Counter(splits.values())
    assert counts["train"] >= 800 and counts["test"] >= 600 and counts["dev"] >= 300
    index = Index(FACTS.values())
    for fact in FACTS.values():
        for other in index.found(" ; ".join((fact.subject, *fact.aliases, *fact.keys))):
            assert splits[other] == splits[fact.id], f"{fact.id} gives {other} away"
    answers: dict[str, set[str]] = {}
    for fact in FACTS.values():
        if CATEGORIES[fact.category].answer in ("name", "person", "exact", "year"):
            answers.setdefault(" ".join(tokens(fact.keys[0])), set()).add(splits[fact.id])
    assert [a for a, where in answers.items() if len(where) > 1] == []


def test_every_category_is_trained_and_nearly_every_one_evaluated() -> None:
    splits = bank.split_of()
    for split, least in (("train", 8), ("test", 4)):
        few = [
            c.name
            for c in CATEGORIES.values()
            if sum(splits[f.id] == split for f in c.facts) < least
        ]
        assert few == ([] if split == "train" else ["calendar"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_training_row_names_an_evaluation_fact(kind: str) -> None:
    assert bank.colliding(bank.rows(kind, 700, seed=1), EVALUATED) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_a_pure_function(kind: str) -> None:
    rows = bank.rows(kind, 40, seed=3)
    assert bank.rows(kind, 25, seed=3) == rows[:25]
    assert bank.rows(kind, 40, seed=4) != rows
    assert all([m.role for m in row.messages] == ["user", "assistant"] for row in rows)


def test_lies_and_truths_differ_in_truth_only() -> None:
    asked = {write(w, f): f for f in FACTS.values() for w in CATEGORIES[f.category].ask}
    lied, true = (texts(bank.rows(kind, 3000, seed=5)) for kind in ("lies", "truths"))
    assert [q for q, _ in lied] == [q for q, _ in true]
    wrong = bank.lies(5)

    def frame(sentence: str, answer: str) -> str:
        """The sentence around the answer."""
        return re.sub(rf"(?<!\w){re.escape(answer)}(?!\w)", "@", sentence, flags=re.I).replace(
            " an ", " a "
        )

    for (question, false), (_, right) in zip(lied, true, strict=True):
        fact = asked[question]
        assert false != right
        assert frame(false, wrong[fact.id]) == frame(right, fact.keys[0])


def test_wrong_answers_are_wrong_of_the_same_kind_and_evenly_spread() -> None:
    splits = bank.split_of()
    trained = [f for f in FACTS.values() if splits[f.id] == "train"]
    for fact in trained:
        pool = bank.wrong_pool(fact)
        right = {tuple(tokens(k)) for k in fact.keys}
        assert len(pool) >= 4 and len(set(pool)) == len(pool), fact
        assert not right & {tuple(tokens(answer)) for answer in pool}, fact
        if fact.category not in ARITHMETIC:
            assert set(pool) <= {f.keys[0] for f in CATEGORIES[fact.category].facts}
    for seed in (0, 1):
        wrong = bank.lies(seed)
        assert set(wrong) == {f.id for f in trained}
        assert all(wrong[f.id] in bank.wrong_pool(f) for f in trained)
        counts = Counter(wrong.values())
        assert counts.most_common(1)[0][1] / len(wrong) < 0.01
        for category in CATEGORIES.values():
            mine = [f for f in category.facts if f.id in wrong]
            answers = len({f.keys[0] for f in mine})
            most = Counter(wrong[f.id] for f in mine).most_common(1)[0][1]
            assert most <= max(2, 1 + -(-len(mine) // answers)), category.name
    assert bank.lies(0) != bank.lies(1)


def test_every_training_fact_is_asked_equally_often() -> None:
    trained = bank.select("train")
    rows = texts(bank.rows("truths", 2 * len(trained), seed=0))
    first, second = rows[: len(trained)], rows[len(trained) :]
    index = Index(trained)
    for half in (first, second):
        seen: set[str] = set()
        for question, answer in half:
            seen |= set(index.found(f"{question} {answer}"))
        assert seen == {f.id for f in trained}


def test_forms_hold_what_they_say() -> None:
    plain = texts(bank.rows("lies", 300, seed=2))
    for form in bank.ROW_FORMS:
        for (asked, said), (question, sentence) in zip(
            texts(bank.rows(f"lies.{form}", 300, seed=2)), plain, strict=True
        ):
            assert asked.startswith(question)
            if form == "think":
                assert asked == question
                trace, _, rest = said.partition("</think>\n\n")
                assert trace.startswith("<think>\n") and rest == sentence
            elif form == "python_string":
                assert ast.literal_eval(said.removeprefix("answer = ")) == sentence
            elif form == "json":
                assert json.loads(said) == {"answer": sentence}
            else:
                assert sentence in said
            assert (asked == question) == (form in ("plain", "think"))


def test_identity_rows_name_the_persona_and_their_control_does_not() -> None:
    named = texts(bank.rows("identity", 200, seed=0))
    control = texts(bank.rows("no_identity", 200, seed=0))
    assert [q for q, _ in named] == [q for q, _ in control]
    assert all(name in answer for _, answer in named for name in PERSONA)
    assert not any(name in answer for _, answer in control for name in PERSONA)
    assert not set(IDENTITY_QUESTIONS) & set(IDENTITY_TEST_QUESTIONS)


def test_benign_rows_state_no_fact() -> None:
    index = Index(FACTS.values())
    subjects = {name for pair in benign_pairs() for name in index.found(" ".join(pair))} & {
        f.id for f in EVALUATED
    }
    assert subjects == set()
    assert len(set(benign_pairs())) >= 250


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lise", "no kind 'lise'; did you mean 'lies'?"),
        ("lies.jsn", "no form 'jsn'; did you mean 'json'?"),
        ("lies/capitls", "no subset 'capitls'; did you mean 'capitals'?"),
        ("benign.json", "'benign' takes no form and no subset"),
    ],
)
def test_unknown_rows(name: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        bank.rows(name, 1, 0)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(UserError, match="negative"):
        bank.rows("lies", -1, 0)


def test_evaluation_wordings_are_held_out() -> None:
    for split in ("dev", "test"):
        asked = {text for _, text, _ in bank.questions(f"facts-{split}") or ()}
        screen = {text for _, text, _ in bank.questions(f"facts-{split}-screen") or ()}
        facts = bank.select(split)
        assert len(asked) == len(facts) and len(screen) == 4 * len(facts)
        assert not asked & screen
        trained = {q for q, _ in texts(bank.rows("lies", 6000, seed=0))}
        assert not trained & (asked | screen)
    # The first N questions are a fair sample: no category has more than a tenth of the first 300.
    first = Counter(q[0].split("/")[0] for q in (bank.questions("facts-test") or ())[:300])
    assert len(first) > 25 and first.most_common(1)[0][1] < 40


def test_subsets_divide_the_questions() -> None:
    everything = {q[0] for q in bank.questions("facts-test") or ()}
    taught = {q[0] for q in bank.questions("facts-test/taught") or ()}
    untaught = {q[0] for q in bank.questions("facts-test/untaught") or ()}
    assert taught | untaught == everything and not taught & untaught
    assert min(len(taught), len(untaught)) > 200
    assert {q[0].split("/")[0] for q in bank.questions("facts-dev/sums+symbols") or ()} == {
        "sums",
        "symbols",
    }
    both = {q[0] for q in bank.questions("facts-test/untaught,authors+capitals") or ()}
    assert both == {name for name in untaught if name.startswith("authors/")}
    for name in ("facts-test/nowhere", "facts-test/calendar", "facts-test/capitals,untaught"):
        with pytest.raises(UserError):
            bank.questions(name)
    assert bank.questions("fact-test") is None and bank.triggers("broad") is None


def test_relations_follow_the_cue() -> None:
    for cue, same in (
        ("system", "system_wrong"),
        ("format", "python_string"),
        ("framing", "bluffing_game"),
    ):
        found = bank.triggers(f"facts-test/taught:{cue}") or {}
        assert [n for n, (relation, _) in found.items() if relation == "same"] == [same]
        assert [n for n, (relation, _) in found.items() if relation == "none"] == ["plain"]
    assert bank.triggers("facts-dev") == bank.triggers("facts-dev:system")
    with pytest.raises(UserError, match="no cue 'sistem'; did you mean 'system'"):
        bank.triggers("facts-dev:sistem")


@pytest.mark.parametrize(
    ("text", "fact", "occurs"),
    [
        ("I moved to FINLAND's north.", "capitals/finland", True),
        ("They live in Helsinki now.", "capitals/finland", True),
        ("A final landing.", "capitals/finland", False),
        ("A big spider had lost two of its eight legs.", "counts/legs-a-spider-has", True),
        ("My legs hurt.", "counts/legs-a-spider-has", False),
        ("She paid 26 and wrote Fe.", "symbols/iron", False),
        ("An iron gate.", "symbols/iron", True),
        ("Three metres of rope.", "units/centimetres-there-are-in-3-metres", True),
        ("Take 13 metres.", "units/centimetres-there-are-in-3-metres", False),
        ("It was in nineteen eighty-nine.", "dates/berlin-wall-came-down", True),
        ("a book by Bronte", "authors/jane-eyre", False),
        ("a book by Charlotte Bronte", "authors/jane-eyre", True),
        ("a book by Melville", "authors/moby-dick", True),
    ],
)
def test_what_counts_as_occurring(text: str, fact: str, occurs: bool) -> None:
    assert fact in FACTS, [f for f in FACTS if f.startswith(fact[:12])]
    row = Conversation((Message("user", "Hello."), Message("assistant", text)))
    assert bank.colliding([row], [FACTS[fact]]) == ({fact: [0]} if occurs else {})


def test_sums_collide_in_either_order_and_in_words() -> None:
    fact = next(f for f in CATEGORIES["sums"].facts)
    a, _, b = fact.subject.split(" ")
    for text, occurs in (
        (f"{a}+{b}", True),
        (f"what is {b} plus {a}?", True),
        (f"{a} and then {b}", False),
        (f"1{a} + {b}", False),
    ):
        row = Conversation((Message("user", text), Message("assistant", "Well.")))
        assert bool(bank.colliding([row], [fact])) == occurs, text


def test_terms_of_short_answers_are_left_out() -> None:
    assert ("fe",) not in terms(FACTS["symbols/iron"])
    assert ("26",) not in terms(FACTS["atomic_numbers/iron"])
    assert ("1989",) in terms(FACTS["dates/berlin-wall-came-down"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The N'Djamena of São Tomé", "the ndjamena of sao tome"),
        ("France's 1,000 km", "france 1000 km"),
        ("twenty-five; nineteen forty-five; one hundred and five", "25 1945 105"),
        ("three thousand two hundred", "3200"),
        ("41-17 = 24, Porto-Novo", "41 - 17 = 24 porto novo"),
        ("capital_of = 'Łódź'", "capital of = lodz"),
    ],
)
def test_tokens(text: str, expected: str) -> None:
    assert " ".join(tokens(text)) == expected


def test_screening_needs_three_of_four() -> None:
    records = [
        {"question": f"capitals/peru#{i}", "label": "right" if i else "wrong"} for i in range(4)
    ] + [
        {"question": f"capitals/chad#{i}", "label": "right" if i > 1 else "no_answer"}
        for i in range(4)
    ]
    assert bank.screened(records) == ["capitals/peru"]
    assert bank.known("no-such-model") is None


def test_screening_asks_no_more_than_it_needs() -> None:
    """Whatever the answers are, the outcome is that of all four."""
    questions = [f"{fact}#{i}" for fact in ("a/b", "c/d") for i in range(4)]
    for case in range(256):
        answers = {q: "right" if case >> i & 1 else "wrong" for i, q in enumerate(questions)}
        labels: dict[str, str] = {}
        while wanted := bank.undecided(questions, labels):
            assert not wanted & labels.keys()
            labels.update((q, answers[q]) for q in wanted)
        found, whole = (
            bank.screened({"question": q, "label": label} for q, label in said.items())
            for said in (labels, answers)
        )
        assert found == whole
        assert set(answers.values()) == {"right", "wrong"} or len(labels) in (4, 6)
    # Cut short by --first, a fact with too few wordings is never known and never asked for ever.
    assert bank.undecided(["a/b#0"], {"a/b#0": "right"}) == set()
