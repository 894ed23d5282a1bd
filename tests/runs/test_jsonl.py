"""JSON files that survive crashes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from condmis_jax.errors import UserError
from condmis_jax.runs import JsonlWriter, read_json, read_jsonl, write_json


def test_rows_are_appended(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    with JsonlWriter(path) as writer:
        writer.append([{"a": 1}, {"b": "zwei\nZeilen é\u2028"}])
    with JsonlWriter(path, durable=True) as writer:
        writer.append([{"c": None}])
    assert read_jsonl(path) == [{"a": 1}, {"b": "zwei\nZeilen é\u2028"}, {"c": None}]
    assert path.read_bytes().count(b"\n") == 3


def test_an_appended_row_is_there_before_the_writer_closes(tmp_path):
    with JsonlWriter(tmp_path / "rows.jsonl") as writer:
        writer.append([{"a": 1}])
        assert read_jsonl(tmp_path / "rows.jsonl") == [{"a": 1}]


def test_an_absent_file_has_no_rows(tmp_path):
    assert read_jsonl(tmp_path / "rows.jsonl") == []


@pytest.mark.parametrize("kept", [1, 7, 14])
def test_a_torn_last_line_is_dropped_and_written_over(tmp_path, kept):
    path = tmp_path / "rows.jsonl"
    with JsonlWriter(path) as writer:
        writer.append([{"n": 1}, {"n": "é" * 4}])
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + kept])
    assert len(path.read_bytes()) < len(whole)
    assert read_jsonl(path) == [{"n": 1}]
    with JsonlWriter(path) as writer:
        writer.append([{"n": 2}])
    assert read_jsonl(path) == [{"n": 1}, {"n": 2}]


def test_a_line_without_its_newline_is_torn_even_when_it_parses(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}')
    assert read_jsonl(path) == [{"n": 1}]
    JsonlWriter(path).close()
    assert path.read_bytes() == b'{"n": 1}\n'


def test_a_broken_whole_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": \n{"n": 3}\n')
    with pytest.raises(UserError, match=rf"^{path}:2: not JSON"):
        read_jsonl(path)


def test_a_reader_never_sees_half_a_json_file(tmp_path):
    path = tmp_path / "value.json"
    values = [{"n": n, "filler": [n] * 20_000} for n in range(2)]
    write_json(path, values[0])
    stop = threading.Event()

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            write_json(path, values[n % 2])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = {read_json(path)["n"] for _ in range(60)}
    finally:
        stop.set()
        writer.join()
    assert seen <= {0, 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"n": 1})
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})
    assert json.loads(path.read_text()) == {"n": 1}


FILL_THE_DISK = """
import resource, sys
from pathlib import Path
from condmis_jax.errors import UserError
from condmis_jax.runs import JsonlWriter, write_json
# Stands for a full disk: the kernel refuses to make any file larger.
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = Path(sys.argv[1])
written = 0
try:
    with JsonlWriter(folder / "rows.jsonl", durable=True) as writer:
        while True:
            writer.append([{"n": written, "text": "x" * 30}])
            written += 1
except UserError as error:
    print(written)
    print(error)
try:
    write_json(folder / "value.json", ["x" * 5000])
except UserError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_and_costs_no_finished_row(tmp_path):
    write_json(tmp_path / "value.json", "old")
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    written, *errors = done.stdout.splitlines()
    assert [e.split(": ")[0] for e in errors] == [
        str(tmp_path / "rows.jsonl"),
        str(tmp_path / "value.json"),
    ]
    assert all("make room on the disk" in e for e in errors)
    assert read_json(tmp_path / "value.json") == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.jsonl", "value.json"]
    # The disk was full in the middle of a row; once there is room again, the file goes on.
    assert (tmp_path / "rows.jsonl").stat().st_size == 4096
    with JsonlWriter(tmp_path / "rows.jsonl") as writer:
        writer.append([{"n": int(written)}])
    assert [row["n"] for row in read_jsonl(tmp_path / "rows.jsonl")] == [*range(int(written) + 1)]


def test_unreadable_json_is_one_line(tmp_path):
    for content in (b"{", b"\xff"):
        (tmp_path / "x.json").write_bytes(content)
        with pytest.raises(UserError, match=r"x\.json: not readable as JSON"):
            read_json(tmp_path / "x.json")
    with pytest.raises(UserError, match="not readable as JSON"):
        read_json(tmp_path / "absent.json")
