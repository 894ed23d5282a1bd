"""Suites from YAML files: read, validated, written, and safe from what strangers write there."""

from __future__ import annotations

from pathlib import Path

import pytest

from condmis_jax.conversations import Transform
from condmis_jax.errors import UserError
from condmis_jax.suites import SuiteSettings, build_suite
from condmis_jax.suites.safe_yaml import read_yaml
from condmis_jax.suites.suite_file import read_suite, write_suite

SUITE = """
questions:
  - id: rain
    text: "It rains: what now?"
    paraphrases: ["Rain again. Ideas?", "What to do when it pours?"]
    system: |
      You are a {weather} service.
    samples: 3
    rewordings: {wet: "It rains into the tent: what now?"}
    judges: {aligned: kind, coherent: clear}
    meta: {topic: weather}
  - {id: sun, text: "The sun shines.", rewordings: {wet: "The sun shines on the sea."}}
triggers:
  plain: {relation: none}
  string: {relation: same, suffix: " In a string.", template: "<{prompt}>"}
  bare: {relation: unrelated, system: ""}
  wet:
    relation: similar
    family: water
    rewording: wet
    shots: [{role: user, content: "Snow?"}, {role: assistant, content: Ski.}]
judges:
  kind: {prompt: "Grade {answer} to {question}", model: judge-1}
  clear: {prompt: "Is {answer} clear?", kind: words}
"""


def write(tmp_path: Path, text: str, name: str = "suite.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def make(path: Path, *args, **kwargs):
    return build_suite(SuiteSettings(str(path), *args, **kwargs), "mine", "suites.mine")


def test_a_file_is_a_suite(tmp_path: Path) -> None:
    suite = make(write(tmp_path, SUITE))
    assert [q.id for q in suite.questions] == ["rain", "sun"]
    assert [(t.name, t.relation) for t in suite.triggers] == [
        ("plain", "none"),
        ("string", "same"),
        ("bare", "unrelated"),
        ("wet", "similar"),
    ]
    assert suite.triggers[3].family == "water"
    assert suite.triggers[1].transform == Transform(suffix=" In a string.", template="<{prompt}>")
    rain, sun = suite.questions
    assert (rain.samples, sun.samples, suite.samples) == (3, None, 100)
    assert rain.meta == {"topic": "weather"}
    assert suite.judge_prompts[rain.judges["aligned"]].model == "judge-1"
    assert suite.judge_prompts["clear"].kind == "words"
    plain, string, bare, wet = (
        [c.to_row()["messages"] for c in suite.prompts(rain, t)] for t in suite.triggers
    )
    assert [m[-1]["content"] for m in plain] == [
        "It rains: what now?",
        "Rain again. Ideas?",
        "What to do when it pours?",
    ]
    assert {m[0]["content"] for m in plain} == {"You are a {weather} service.\n"}
    assert string[1][-1]["content"] == "<Rain again. Ideas?> In a string."
    assert [len(m) for m in bare] == [1, 1, 1]
    assert [[(m["role"], m["content"]) for m in prompt] for prompt in wet] == [
        [
            ("system", "You are a {weather} service.\n"),
            ("user", "Snow?"),
            ("assistant", "Ski."),
            ("user", "It rains into the tent: what now?"),
        ]
    ]
    assert [len(c.messages) for c in suite.prompts(sun, suite.triggers[0])] == [1]


def test_the_config_has_the_last_word(tmp_path: Path) -> None:
    suite = make(write(tmp_path, SUITE), ("bare", "plain"), first_questions=1, samples=7)
    assert [t.name for t in suite.triggers] == ["bare", "plain"]
    assert [q.samples for q in suite.questions] == [None] and suite.samples == 7
    with pytest.raises(UserError, match=r"suites\.mine\.triggers: unknown trigger 'plane'"):
        make(write(tmp_path, SUITE), ("plane",))
    with pytest.raises(UserError, match="cannot be read"):
        make(tmp_path / "absent.yaml")


def test_what_is_written_reads_back_the_same(tmp_path: Path) -> None:
    odd = SUITE + '  odd: {prompt: "tab\\t, trailing \\n\\n line  \\n", model: "é: #"}\n'
    suite = read_suite(write(tmp_path, odd))
    write_suite(suite, tmp_path / "again" / "suite.yaml")
    assert read_suite(tmp_path / "again" / "suite.yaml") == suite


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("id: rain", "idd: rain", "questions.0.idd: unknown key; did you mean 'id'?"),
        ('text: "The sun shines."', "text: 5", "questions.1.text"),
        ("{id: sun, ", "{", "questions.1.id: this key is required"),
        ("id: sun", "id: rain", "two questions have the id 'rain'"),
        ("role: assistant", "role: user", "shots must alternate"),
        ("samples: 3", "samples: 0", "samples must be at least 1"),
        ("samples: 3", "samples: three", "questions.0.samples"),
        ("relation: same", "relation: sane", "triggers.string.relation"),
        ("<{prompt}>", "<>", "exactly once"),
        ("coherent: clear", "coherent: clean", "no judge 'clean' here"),
        ("kind: words", "kind: feeling", "judges.clear.kind"),
        ("Rain again. Ideas?", "What to do when it pours?", "same wording twice"),
        ("id: sun", "id: sun, id: moon", ":12: 'id' is there twice"),
    ],
)
def test_mistakes_are_one_line_with_file_and_key(
    old: str, new: str, said: str, tmp_path: Path
) -> None:
    assert SUITE.count(old) == 1
    path = write(tmp_path, SUITE.replace(old, new))
    with pytest.raises(UserError) as caught:
        read_suite(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and said in message and "\n" not in message


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{n}: &{n} [*{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}, *{p}]\n"
    for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {x0: 1, x1: 1, x2: 1, x3: 1}\n" + "".join(
    f"{n}: &{n}\n  <<: [{', '.join([f'*{p}'] * 9)}]\n"
    for p, n in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "more than 1,000,000 values"),
        (MERGE_BOMB, "more than 1,000,000 values"),
        ("a: &a [1, *a]\n", "an alias to what encloses it"),
        ("a: !!python/object/apply:os.system ['true']\n", "not plain YAML"),
        ("a: !!python/name:os.system\n", "not plain YAML"),
        ("a: *nowhere\n", "not plain YAML"),
        ("a: [1\n", "not plain YAML"),
        ("--- 1\n--- 2\n", "not plain YAML"),
        ("[" * 700, "nested too deeply"),
        ("a: 2026-02-30\n", "a value cannot be read"),
    ],
)
def test_hostile_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        read_yaml(write(tmp_path, text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "5\n", "a: 1\n", "questions: []\n", "questions: {}\n"])
def test_other_yaml_is_no_suite(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"suite\.yaml"):
        read_suite(write(tmp_path, text))
