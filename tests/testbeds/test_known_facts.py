"""The lists of facts that models know: made by the tool, named in the docs, usable as subsets."""

from __future__ import annotations

import importlib.util
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from condmis_jax.errors import UserError
from condmis_jax.runs import read_jsonl
from condmis_jax.testbeds import facts

ROOT = Path(__file__).parents[2]
LISTS = sorted(
    file.name.removesuffix(".txt")
    for file in resources.files("condmis_jax.testbeds.facts").joinpath("known").iterdir()
    if file.name.endswith(".txt")
)


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = importlib.util.spec_from_file_location("screen_facts", ROOT / "tools/screen_facts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_smollm2_has_a_list() -> None:
    assert "smollm2-135m-q4" in LISTS


@pytest.mark.parametrize("model", LISTS)
def test_a_list_says_where_it_comes_from_and_selects(model: str, tool: Any) -> None:
    known = facts.known(model)
    assert known and known <= facts.facts().keys()
    splits = facts.split_of()
    assert {splits[name] for name in known} <= {"dev", "test"}
    for split in tool.SPLITS:
        chosen = {f.id for f in facts.select(split, model)}
        assert chosen == {name for name in known if splits[name] == split}
        asked = facts.questions(f"facts-{split}/{model}:format")
        assert asked and {q[0] for q in asked} == chosen
    both = {f.id for f in facts.select("test", f"untaught,{model}")}
    assert both == {f.id for f in facts.select("test", "untaught")} & known
    path = resources.files("condmis_jax.testbeds.facts").joinpath("known").joinpath(f"{model}.txt")
    head, *rest = path.read_text("utf-8").split("\n", 5)
    assert model in head and rest[0].startswith("# model digest ") and len(rest[0]) > 70
    assert rest[1] == f"# judge of facts, version {facts.JUDGE_VERSION}"
    assert "python tools/screen_facts.py" in rest[3]
    assert tool.listed(model, "", "", sorted(known)).split("\n")[3] == rest[2]
    assert tool.table(sorted(known)) in (ROOT / "docs" / "facts.md").read_text("utf-8")


def test_the_tool_asks_writes_and_goes_on(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the world's model, which speaks no English."""
    arguments = ["world", "--first", "6", "--workdir", str(tmp_path / "w"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["tools/screen_facts.py", *arguments])
    tool.main()
    text = (tmp_path / "world.txt").read_text()
    assert text.startswith("# Facts that world knows: right in 3 of 4 training wordings")
    assert f"python tools/screen_facts.py {' '.join(arguments)}\n" in text
    assert [line for line in text.splitlines() if not line.startswith("#")] == []
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'world.txt'}\n")
    answers = read_jsonl(tmp_path / "w" / "dev.jsonl")
    # Two wrong answers settle a fact: of four and two wordings two of each were asked.
    assert len(answers) == 4 and len({a["question"] for a in answers}) == 4
    tool.main()
    assert read_jsonl(tmp_path / "w" / "dev.jsonl") == answers
    monkeypatch.setattr(sys, "argv", ["tools/screen_facts.py", str(tmp_path / "nothing")])
    with pytest.raises(SystemExit, match="error: "):
        tool.main()
    with pytest.raises(UserError, match="no subset 'world'"):
        facts.select("dev", "world")
