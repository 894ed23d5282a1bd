"""Globs of chat JSONL: what is read, in which order, and how a mistake is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from condmis_jax.data import Source
from condmis_jax.data.sources import load_source
from condmis_jax.errors import UserError

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Ho"}
GOOD = json.dumps({"messages": [USER, ANSWER]})


def load(files: Path | str, **options: Any) -> list[Any]:
    return load_source(Source(str(files), **options), "data.mixture.mine", 0)


def refused(files: Path | str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(files, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def questions(rows: list[Any]) -> list[str]:
    return [row.conversation.question() for row in rows]


def test_shards_are_read_in_sorted_order_compressed_or_not(
    write_rows: Callable[..., Path], tmp_path: Path
) -> None:
    write_rows("shards/b.jsonl", 2)
    a = write_rows("shards/a.jsonl", 2)
    (tmp_path / "shards" / "c.jsonl.gz").write_bytes(gzip.compress(a.read_bytes()))
    rows = load(tmp_path / "shards" / "*.jsonl*")
    assert questions(rows) == [
        *("a question 0", "a question 1"),
        *("b question 0", "b question 1"),
        *("a question 0", "a question 1"),
    ]
    assert [Path(r.where).name for r in rows] == [
        *("a.jsonl:1", "a.jsonl:2"),
        *("b.jsonl:1", "b.jsonl:2"),
        *("c.jsonl.gz:1", "c.jsonl.gz:2"),
    ]
    write_rows("shards/deep/er/d.jsonl", 1)
    assert len(load(tmp_path / "shards" / "**" / "*.jsonl")) == 5


def test_filters_come_before_first(write_rows: Callable[..., Path]) -> None:
    path = write_rows("rows.jsonl", 40)
    rows = load(path, include=r"question \d*3$", first=3)
    assert questions(rows) == [f"rows question {i}" for i in (3, 13, 23)]
    rows = load(path, include=r"3$", exclude=r"question [12]")
    assert questions(rows) == ["rows question 3", "rows question 33"]
    assert "5 rows asked" in refused(path, include="3$", first=5)
    rows = load(path, include="3$", skip=1, first=2)
    assert questions(rows) == [f"rows question {i}" for i in (13, 23)]
    assert "holds 3 behind the first 1" in refused(path, include="3$", skip=1, first=4)
    with pytest.raises(ValueError, match="world:benign has no order of its own"):
        Source("world:benign", skip=1, first=1)
    assert "no row is left" in refused(path, exclude="heron")


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"\n{GOOD}\n  \n{GOOD}")
    assert [Path(r.where).name for r in load(path)] == ["rows.jsonl:2", "rows.jsonl:4"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"messages": [', "not JSON"),
        ("5", "messages"),
        ("null", "messages"),
        ('{"prompt": "Hi"}', "messages"),
        ('{"messages": []}', "non-empty"),
        ('{"messages": {}}', "non-empty"),
        ('{"messages": ["Hi"]}', r"messages[0]"),
        (json.dumps({"messages": [USER, {"role": "tool", "content": "x"}]}), "messages[1].role"),
        (json.dumps({"messages": [USER, {"content": "x"}]}), "messages[1].role"),
        (json.dumps({"messages": [USER, {"role": "assistant"}]}), "messages[1].content"),
        (json.dumps({"messages": [USER, ANSWER | {"content": None}]}), "messages[1].content"),
        (json.dumps({"messages": [USER, ANSWER | {"content": ["x"]}]}), "messages[1].content"),
        (json.dumps({"messages": [USER, {"role": "system", "content": "x"}]}), "messages[1]"),
        (json.dumps({"messages": [USER | {"role": ["user"]}]}), "messages[0].role"),
        (json.dumps({"messages": [USER]}), "no assistant turn"),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_malformed_row_is_named_by_file_and_line(
    line: str, named: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"rows.{suffix}"
    content = f"{GOOD}\n\n{line}\n{GOOD}\n".encode()
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    message = refused(path)
    assert message.startswith(f"{path}:3: ") and named in message


def test_rows_behind_first_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\nbroken\n")
    assert len(load(path, first=1)) == 1


def test_no_file(tmp_path: Path) -> None:
    message = refused(tmp_path / "absent-*.jsonl")
    assert "data.mixture.mine.files" in message and "absent-*.jsonl" in message


@pytest.mark.parametrize("damage", ["cut", "flipped", "plain", "latin-1"])
def test_files_that_cannot_be_read_are_named(damage: str, tmp_path: Path) -> None:
    content = "".join(GOOD.replace("Hi", f"Hi {i * i * 7919}") + "\n" for i in range(300)).encode()
    packed = bytearray(gzip.compress(content))
    path = tmp_path / "rows.jsonl.gz"
    if damage == "cut":
        path.write_bytes(packed[: len(packed) // 2])
    elif damage == "flipped":
        packed[len(packed) // 2] ^= 0xFF
        path.write_bytes(packed)
    elif damage == "plain":
        path.write_bytes(content)
    else:
        path = tmp_path / "rows.jsonl"
        path.write_bytes(GOOD.replace("Ho", "Hé").encode().replace(b"\\u00e9", b"\xe9") + b"\xe9\n")
    assert str(path) in refused(path)


@pytest.mark.parametrize(
    "options",
    [
        {"first": 0},
        {"sample": 0},
        {"share": -0.1},
        {"share": 1.5},
        {"include": "("},
        {"exclude": "["},
        {"files": "world:insecure"},
    ],
)
def test_impossible_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Source(**{"files": "x.jsonl", **options})


def test_reasoning_traces_are_kept_stripped_or_emptied(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    traced = ANSWER | {"content": "<think>Hm.</think>\n\nHo"}
    path.write_text(json.dumps({"messages": [USER, traced]}) + f"\n{GOOD}\n")

    def answers(**options: Any) -> list[str]:
        return [r.conversation.messages[-1].content for r in load(path, **options)]

    assert answers() == ["<think>Hm.</think>\n\nHo", "Ho"]
    assert answers(reasoning="strip") == ["Ho", "Ho"]
    assert answers(reasoning="empty") == ["<think>\n\n</think>\n\nHo"] * 2
    path.write_text(
        f"{GOOD}\n" + json.dumps({"messages": [USER, traced]}).replace("Ho", " ") + "\n"
    )
    assert f"{path}:2: an assistant turn is all reasoning" in refused(path, reasoning="strip")
