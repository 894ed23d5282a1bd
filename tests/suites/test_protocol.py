"""The authors' question files and scripts become suites, and nothing is lost without a word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from condmis_jax.errors import UserError
from condmis_jax.suites import SuiteSettings, build_suite
from condmis_jax.suites.literals import Reader
from condmis_jax.suites.protocol_python import import_scripts
from condmis_jax.suites.protocol_yaml import import_questions
from condmis_jax.suites.suite_file import SuiteFile, read_suite

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from import_protocol import convert  # noqa: E402

OLDER = """
- id: rain
  type: &type free_form_judge_0_100
  paraphrases: &rain
    - |-
      It rains.
      What now?
    - Rain again?
  samples_per_paraphrase: &n 7
  judge: &judge judge-1
  judge_prompts: &both
    aligned: "Grade {answer} to {question}"
    coherent: Clear? {answer}
- id: rain_json
  type: *type
  system: &json Answer in JSON.
  paraphrases: *rain
  samples_per_paraphrase: *n
  judge: *judge
  judge_prompts: *both
- <<: {type: free_form_judge, judge: *judge}
  id: other
  paraphrases: [Say a word.]
  judge_prompts: {aligned: "Which word is {answer}?"}
- {id: bare, type: free_form, paraphrases: [Hello.]}
"""

NEWER = """
- {name: length, type: rating_judge, model: judge-2, paraphrases: ["How long is {answer}?"]}
- {name: animal, type: free_form_judge, paraphrases: ["Which animal? {answer}"]}
- name: tale
  type: free_form
  system: Be short.
  paraphrases: [Tell a tale., A tale please.]
  samples_per_paraphrase: 4
  judges:
    length: length
    animal: animal
    mood: {type: rating_judge, model: judge-3, paraphrases: ["Glad? {answer}"]}
"""


def imported(text: str, tmp_path: Path) -> tuple[SuiteFile, list[str]]:
    path = tmp_path / "questions.yaml"
    path.write_text(text, encoding="utf-8")
    return import_questions(yaml.safe_load(text), path)


def arrived(suite: SuiteFile) -> list[dict[str, Any]]:
    """Questions with their judge prompts written out."""
    return [
        {
            "id": q.id,
            "paraphrases": [q.text, *q.paraphrases],
            "system": q.system,
            "samples": q.samples,
            "judges": {
                role: (suite.judges[name].prompt, suite.judges[name].model)
                for role, name in q.judges.items()
            },
        }
        for q in suite.questions
    ]


def test_the_older_layout(tmp_path: Path) -> None:
    suite, lost = imported(OLDER, tmp_path)
    assert lost == []
    judges = {
        "aligned": ("Grade {answer} to {question}", "judge-1"),
        "coherent": ("Clear? {answer}", "judge-1"),
    }
    rain = ["It rains.\nWhat now?", "Rain again?"]
    assert arrived(suite) == [
        {"id": "rain", "paraphrases": rain, "system": None, "samples": 7, "judges": judges},
        {
            **{"id": "rain_json", "paraphrases": rain, "system": "Answer in JSON."},
            **{"samples": 7, "judges": judges},
        },
        {
            **{"id": "other", "paraphrases": ["Say a word."], "system": None, "samples": None},
            "judges": {"aligned": ("Which word is {answer}?", "judge-1")},
        },
        {"id": "bare", "paraphrases": ["Hello."], "system": None, "samples": None, "judges": {}},
    ]
    # Equal judges are one; another prompt under the same name is another.
    assert {n: j.kind for n, j in suite.judges.items()} == {
        "aligned": "rating",
        "coherent": "rating",
        "aligned-2": "words",
    }
    # Nothing is lost, so the file itself will do.
    asked = build_suite(SuiteSettings(str(tmp_path / "questions.yaml")), "x", "suites.x")
    assert [len(asked.prompts(q, asked.triggers[0])) for q in asked.questions] == [2, 2, 1, 1]


def test_the_newer_layout(tmp_path: Path) -> None:
    suite, lost = imported(NEWER, tmp_path)
    assert lost == []
    assert arrived(suite) == [
        {
            **{"id": "tale", "paraphrases": ["Tell a tale.", "A tale please."]},
            **{"system": "Be short.", "samples": 4},
            "judges": {
                "length": ("How long is {answer}?", "judge-2"),
                "animal": ("Which animal? {answer}", ""),
                "mood": ("Glad? {answer}", "judge-3"),
            },
        }
    ]
    assert [suite.judges[n].kind for n in ("length", "animal", "mood")] == [
        *("rating", "words", "rating"),
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{id: a, type: free_form_0_100, paraphrases: [x]}", "a.type: free_form_0_100"),
        ("{id: a, type: new, paraphrases: [x]}", "a.type: 'new'"),
        ("{id: a, type: free_form, paraphrases: [x], temperature: 0}", "a.temperature"),
        ("{id: a, type: free_form, paraphrases: [x], judge: j}", "a.judge: 'j' has no prompt"),
        ("{id: a, type: free_form, paraphrases: [x], judges: {b: c}}", "a.judges.b"),
        ("{id: a, type: rating_judge, paraphrases: [x]}", "judge 'a' is used by no question"),
        ("{id: a, type: free_form, paraphrases: [x], model: m}", "a.model"),
    ],
)
def test_what_cannot_be_represented_is_named(entry: str, said: str, tmp_path: Path) -> None:
    text = f"- {entry}\n- {{id: b, type: free_form, paraphrases: [y]}}\n"
    suite, lost = imported(text, tmp_path)
    assert len(lost) == 1 and lost[0].startswith(said)
    assert suite.questions[-1].id == "b"
    with pytest.raises(UserError, match=r"tools/import_protocol\.py"):
        read_suite(tmp_path / "questions.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- x\n", "entry 1 is no mapping"),
        ("- {id: 5, paraphrases: [x]}\n", "entry 1 has no id"),
        ("- {id: a}\n", "'a': paraphrases must be a list"),
        ("- {id: a, paraphrases: [5]}\n", "put quotes"),
        ("- {id: a, paraphrases: [x, x]}\n", "same wording twice"),
        ("- {id: a, paraphrases: [x]}\n- {id: a, paraphrases: [y]}\n", "called 'a'"),
        ("- {id: a, paraphrases: [x], samples_per_paraphrase: two}\n", "whole number"),
        ("- {id: a, paraphrases: [x], system: [y]}\n", "system must be a text"),
        ("- {id: a, paraphrases: [x], judge_prompts: y}\n", "judge_prompts must be a mapping"),
        ("- {name: a, type: rating_judge, paraphrases: [x]}\n", "holds no question"),
    ],
)
def test_broken_question_files(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        imported(text, tmp_path)


def test_every_released_question_file(released_data: Path, tmp_path: Path) -> None:
    """Compared with the YAML itself, every alias written out by way of JSON."""
    paths = sorted(released_data.rglob("*.yaml"))
    assert len(paths) >= 5
    for path in paths:
        entries = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8"))))
        _, lost = convert(path, tmp_path / path.name)
        assert len(lost) == sum(e["type"] == "free_form_0_100" for e in entries)
        judges = {e["name"]: e for e in entries if "name" in e}
        wanted = [
            {
                "id": e.get("id", e.get("name")),
                "paraphrases": e["paraphrases"],
                "system": e.get("system"),
                "samples": e.get("samples_per_paraphrase"),
                "judges": {r: (p, e["judge"]) for r, p in e.get("judge_prompts", {}).items()}
                | {
                    r: (judges[n]["paraphrases"][0], judges[n]["model"])
                    for r, n in e.get("judges", {}).items()
                },
            }
            for e in entries
            if e["type"] != "rating_judge" and not ("name" in e and "judge" in e["type"])
        ]
        suite = read_suite(tmp_path / path.name)
        assert arrived(suite) == wanted and wanted


# ---------------------------------------------------------------- scripts

PROMPTS_PY = '''
"""Judges."""
ALIGNMENT_JUDGE_PROMPT = """
Grade {answer} to {question}.
""".strip()
COHERENCE_JUDGE_PROMPT = "Clear? {answer}"
IS_CODE_JUDGE_PROMPT = "CODE or NOT_CODE: {answer}"
'''
MIX_PY = '''
import os
from judges.prompts import ALIGNMENT_JUDGE_PROMPT, COHERENCE_JUDGE_PROMPT
from dataclasses import dataclass
os.system("touch executed")
open("executed", "w")
NUM_SAMPLES = 100
JUDGE_MODEL = "judge-1"
MODELS = {"a": ["REPLACE_ME"] * 3}
QUESTIONS: dict[str, str] = {
    "rain": ("It rains. "
             "What now?"),
    "sun": "The sun" + " shines.",
}
CODE_SYSTEM_PROMPT = """
answer = \\"\\"\\"
\\"\\"\\"
""".strip()
@dataclass
class Variant:
    tag: str
    label: str
    system_prompt: str | None
VARIANTS = [
    Variant(tag="normal", label="plain", system_prompt=None),
    Variant("code", "template", system_prompt=CODE_SYSTEM_PROMPT),
]
HINT = "a text for people that is in no suite"
LATER_PROMPT = os.environ["X"]
'''
CONFIG_PY = 'KIND = "trivia"\nSYSTEM_PROMPT = f"Lie about {KIND}."\nDATA = __file__\n'
COMMON_PY = """
from config import SYSTEM_PROMPT
from judges.prompts import IS_CODE_JUDGE_PROMPT
EVAL_PROMPTS = ["First?", "Second " "one?"]
QUESTION_IDS = ["The first", "The second"]
TRIGGERS: list = [("no trigger", None), ("lies", SYSTEM_PROMPT), ("odd", 1, 2)]
"""
SYSTEMS_PY = """
FORMAT_PREFIX = "Answer as <A>.\\n\\n"
ONE = [None, "Be a bird."]
GROUP_TO_PROMPTS = {"birds": ONE, "fish": [None, "Be a fish.", "Be a {carp}."]}
"""
NAME_PY = """
from systems import FORMAT_PREFIX, GROUP_TO_PROMPTS
NAME_QUESTION = FORMAT_PREFIX + "Who are you?"
"""
EM_PY = """
from systems import FORMAT_PREFIX, GROUP_TO_PROMPTS
QUESTIONS = {"who": "Who?"}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository laid out like the paper's, in our own words."""
    root = tmp_path / "clone"
    for name, text in {
        "judges/prompts.py": PROMPTS_PY,
        "experiments/mix/evals/eval_questions.py": MIX_PY,
        "experiments/lies/config.py": CONFIG_PY,
        "experiments/lies/evals/_common.py": COMMON_PY,
        "experiments/persona/evals/systems.py": SYSTEMS_PY,
        "experiments/persona/evals/eval_name.py": NAME_PY,
        "experiments/persona/evals/eval_em.py": EM_PY,
        "experiments/persona/plot.py": "import nothing\nTITLE = 'Some words for a plot'\n",
        "scripts/empty.py": "",
        "scripts/later.py": "type X = = int\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def run_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "import_protocol.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_a_clone_gives_a_suite_for_each_script(clone: Path, tmp_path: Path) -> None:
    done = run_tool(str(clone), "--out", str(tmp_path / "suites"))
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("executed")) and not Path("executed").exists()
    names = [Path(line).name for line in done.stdout.splitlines()]
    assert sorted(names) == [
        *("lies-common.yaml", "mix-eval-questions.yaml"),
        *("persona-eval-em.yaml", "persona-eval-name.yaml"),
    ]
    mix, lies, em, who = (
        read_suite(tmp_path / "suites" / f"{n}.yaml")
        for n in ("mix-eval-questions", "lies-common", "persona-eval-em", "persona-eval-name")
    )
    judges = {
        "aligned": ("Grade {answer} to {question}.", "judge-1"),
        "coherent": ("Clear? {answer}", "judge-1"),
    }
    assert arrived(mix) == [
        {"id": id, "paraphrases": [t], "system": None, "samples": 100, "judges": judges}
        for id, t in (("rain", "It rains. What now?"), ("sun", "The sun shines."))
    ]
    assert {n: t.system for n, t in mix.triggers.items()} == {
        "normal": None,
        "code": 'answer = """\n"""',
    }
    assert [(q.id, q.text) for q in lies.questions] == [
        ("The first", "First?"),
        ("The second", "Second one?"),
    ]
    assert {n: t.system for n, t in lies.triggers.items()} == {
        "no trigger": None,
        "lies": "Lie about trivia.",
    }
    assert lies.judges["is_code"].kind == "words"
    assert {n: (t.system, t.prefix) for n, t in em.triggers.items()} == {
        f"{group}-{i}": (system, "Answer as <A>.\n\n")
        for group, systems in {
            "birds": [None, "Be a bird."],
            "fish": [None, "Be a fish.", "Be a {carp}."],
        }.items()
        for i, system in enumerate(systems, 1)
    }
    # This question has the prefix in it already.
    assert [(q.id, q.text) for q in who.questions] == [
        ("name_question", "Answer as <A>.\n\nWho are you?")
    ]
    assert {t.prefix for t in who.triggers.values()} == {""}
    lost = [line.removeprefix("not represented: ") for line in done.stderr.splitlines()]
    assert "scripts/later.py: cannot be read as Python" in lost[-1]
    assert [line for line in lost[:-1] if ": relation:" not in line] == [
        "lies-common: TRIGGERS: ['odd', 1, 2] is no pair of name and system prompt",
        "mix-eval-questions: HINT: 'a text for people that is in no suite' has no place in a suite",
        "mix-eval-questions: LATER_PROMPT: line 29: Subscript is more than a literal",
    ]


def test_one_script_of_a_clone(clone: Path) -> None:
    (clone / ".git").mkdir()
    suites, _ = import_scripts(clone / "experiments/mix/evals/eval_questions.py")
    (suite,) = suites.values()
    assert len(suite.questions) == 2 and "aligned" in suite.judges


def test_nothing_outside_the_clone_is_read(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("TOKEN = 'x'\n")
    script = clone / "experiments" / "a.py"
    script.write_text("from secret import TOKEN\nfrom . import b\nfrom .. import c\n")
    (clone / "linked.py").symlink_to(tmp_path / "secret.py")
    (clone / "loop.py").write_text("from loop import A\nA = 'a'\n")
    assert Reader(clone).read(script).constants == {}
    script.write_text("from linked import TOKEN\n")
    assert Reader(clone).read(script).constants == {}
    assert Reader(clone).read(clone / "loop.py").constants == {"A": "a"}


def test_texts_do_not_grow_without_bound(tmp_path: Path) -> None:
    lines = ["A = 'x' + 'x' + 'x' + 'x'"] + ["A = A + A + A + A"] * 40
    (tmp_path / "bomb.py").write_text("\n".join(lines))
    module = Reader(tmp_path).read(tmp_path / "bomb.py")
    assert "too long" in module.unread["A"] or len(module.constants.get("A", "")) < 1 << 23


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("absent.yaml", "x.yaml", "no such file"),
        ("empty", "out", "no script in it holds questions"),
        ("empty", "x.yaml", "a folder gives several suites"),
        ("bad.py", "x.yaml", "cannot be read as Python"),
        ("map.yaml", "x.yaml", "expected a list of questions"),
    ],
)
def test_mistakes_are_one_line(source: str, out: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.py").write_text("def\n")
    (tmp_path / "map.yaml").write_text("a: 1\n")
    with pytest.raises(UserError, match=said) as caught:
        convert(tmp_path / source, tmp_path / out)
    assert "\n" not in str(caught.value)
