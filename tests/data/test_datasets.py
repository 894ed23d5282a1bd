"""Published datasets arrive whole and with the pinned digest, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from condmis_jax.clients import download as downloading
from condmis_jax.clients.download import Pin, Unreachable, download
from condmis_jax.data import datasets
from condmis_jax.data.datasets import DATASETS, MIRROR, fetch_dataset
from condmis_jax.data.sources import Source, load_source
from condmis_jax.errors import UserError

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests" / "servers" / "file_server.py"
CONTENT = b"".join(b'{"row": %d}\n' % (i * i) for i in range(9000))
PIN = Pin(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
SMALL = "anthropic_hh_100samples_gpt4.1"


@dataclass
class Served:
    url: str
    log: Path

    def requests(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts file servers on `tmp_path / "served"`, which holds `file.jsonl`."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file.jsonl").write_bytes(CONTENT)
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> Served:
        log = tmp_path / f"log-{len(started)}.jsonl"
        command = [sys.executable, str(SERVER), str(folder), str(log), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return Served(f"http://127.0.0.1:{process.stdout.readline().strip()}", log)

    yield start
    for process in started:
        process.kill()
        process.wait()


def get(served: Served, target: Path, path: str = "file.jsonl", **options: Any) -> bool:
    urls = (f"{served.url}/{path}", f"{served.url}/media/{path}")
    return download(urls, target, PIN, first_pause_s=0.01, **options)


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_fetched_once(serve: Callable[..., Served], tmp_path: Path) -> None:
    served, target = serve(), tmp_path / "out" / "deep" / "mine.jsonl"
    assert get(served, target) is True
    assert target.read_bytes() == CONTENT
    assert get(served, target) is False
    assert len(served.requests()) == 1
    assert left(target.parent) == ["mine.jsonl"]


@pytest.mark.parametrize(
    ("fault", "times", "ranges"),
    [
        ("drop", 3, ["", "half", "more", "more"]),
        ("no-ranges", 2, ["", "half", "half"]),
        ("busy", 2, ["", "", ""]),
        ("other-range", 1, ["", ""]),
    ],
)
def test_a_transfer_that_breaks_off_is_continued(
    fault: str, times: int, ranges: list[str], serve: Callable[..., Served], tmp_path: Path
) -> None:
    served = serve("--fault", fault, "--times", str(times))
    target, lines = tmp_path / "out" / "file.jsonl", []
    if fault == "other-range":
        target.parent.mkdir()
        (target.parent / ".file.jsonl.part").write_bytes(CONTENT[:100])
    assert get(served, target, report=lines.append)
    assert target.read_bytes() == CONTENT
    asked = [r["range"] for r in served.requests()]
    half = f"bytes={len(CONTENT) // 2}-"
    if fault == "other-range":
        assert asked == ["bytes=100-", ""]
    else:
        assert [("half" if a == half else "more") if a else "" for a in asked] == ranges
    assert len(lines) == times and all("trying again" in line for line in lines)


def test_what_came_is_kept_for_the_next_call(
    serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "TRIES", 2)
    target = tmp_path / "out" / "file.jsonl"
    with pytest.raises(Unreachable, match=r"gave [\d,]+ of [\d,]+ bytes .*continues from there"):
        get(serve("--fault", "drop"), target)
    there = (target.parent / ".file.jsonl.part").stat().st_size
    assert 0.7 * len(CONTENT) < there < len(CONTENT) and not target.exists()
    served = serve()
    assert get(served, target)
    assert [r["range"] for r in served.requests()] == [f"bytes={there}-"]
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("truncate", "not the pinned file"),
        ("corrupt", f"expected {PIN.sha256}: not the pinned file"),
        ("long", "sends more than"),
    ],
)
def test_a_wrong_file_is_refused_and_not_left(
    fault: str, said: str, serve: Callable[..., Served], tmp_path: Path
) -> None:
    target = tmp_path / "out" / "file.jsonl"
    with pytest.raises(UserError, match=said) as caught:
        get(serve("--fault", fault), target)
    assert not isinstance(caught.value, Unreachable) and "\n" not in str(caught.value)
    assert left(target.parent) == []


@pytest.mark.parametrize("junk", [b"<html>" * 40, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 9)])
def test_a_part_of_something_else_is_dropped(
    junk: bytes, serve: Callable[..., Served], tmp_path: Path
) -> None:
    target = tmp_path / "out" / "file.jsonl"
    target.parent.mkdir()
    (target.parent / ".file.jsonl.part").write_bytes(junk)
    assert get(serve(), target)
    assert target.read_bytes() == CONTENT and left(target.parent) == ["file.jsonl"]


def test_a_pointer_leads_to_the_place_of_large_files(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    served, folder = serve(), tmp_path / "served"
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{PIN.sha256}\nsize 9\n"
    (folder / "file.jsonl").write_text(pointer)
    with pytest.raises(UserError, match=r"media/file\.jsonl does not give the file \(HTTP 404\)"):
        get(served, tmp_path / "out" / "file.jsonl")
    (folder / "media").mkdir()
    (folder / "media" / "file.jsonl").write_text(pointer)
    with pytest.raises(UserError, match="only the git-lfs pointer"):
        get(served, tmp_path / "out" / "file.jsonl")
    (folder / "media" / "file.jsonl").write_bytes(CONTENT)
    assert get(served, tmp_path / "out" / "file.jsonl")
    assert (tmp_path / "out" / "file.jsonl").read_bytes() == CONTENT


def test_other_failures_are_one_line(
    serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, target = serve(), tmp_path / "out" / "file.jsonl"
    with pytest.raises(UserError, match="HTTP 404"):
        get(served, target, "absent.jsonl")
    target.write_text("mine")
    with pytest.raises(UserError, match="is not the pinned file"):
        get(served, target)
    assert target.read_text() == "mine"
    monkeypatch.setattr(downloading, "TRIES", 2)
    # Nothing listens on the discard port.
    with pytest.raises(Unreachable, match="no connection"):
        get(Served("http://127.0.0.1:9", served.log), tmp_path / "file.jsonl")
    with pytest.raises(UserError, match="cannot be written"):
        get(served, tmp_path / "log-0.jsonl" / "file.jsonl")
    with pytest.raises(UserError, match="no address of a server"):
        get(Served("mirror", served.log), tmp_path / "file.jsonl")


def test_the_table_is_consistent() -> None:
    assert len({d.pin.sha256 for d in DATASETS.values()}) == len(DATASETS) == 12
    for name, d in DATASETS.items():
        assert d.file == f"{name}.jsonl"
        assert re.fullmatch(r"[0-9a-f]{40}", d.revision)
        assert re.fullmatch(r"[0-9a-f]{64}", d.pin.sha256)
        assert d.rows > 0 and d.pin.bytes > 20 * d.rows and d.licence
        assert d.urls()[0].startswith("https://raw.githubusercontent.com/" + d.repo)


def run_tool(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fetch_data.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_the_tool(serve: Callable[..., Served], tmp_path: Path) -> None:
    """One dataset is on the mirror, with other bytes; another is not; a third is unknown."""
    wrong = DATASETS[SMALL]
    place = tmp_path / "served" / wrong.repo / wrong.revision / wrong.path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x" * wrong.pin.bytes)
    out = tmp_path / "data"
    names = (SMALL, "insecure", "insecur")
    done = run_tool(*names, "--out", str(out), **{MIRROR: serve().url + "/"})
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 3 and all(line.startswith("error: ") for line in lines)
    assert wrong.pin.sha256 in lines[0] and "nothing was kept" in lines[0]
    assert "HTTP 404" in lines[1]
    assert "did you mean 'insecure'" in lines[2]
    assert left(out) == []
    table = run_tool("--list")
    assert table.returncode == 0
    assert all(f"{name} " in table.stdout for name in DATASETS)
    assert run_tool().returncode == 2


def test_fetching_by_name(
    serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = replace(DATASETS["insecure"], pin=PIN)
    monkeypatch.setitem(datasets.DATASETS, "insecure", known)
    place = tmp_path / "served" / known.repo / known.revision / known.path
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    monkeypatch.setenv(MIRROR, serve().url)
    lines: list[str] = []
    for said in ("fetched, 6,000 rows", "already there"):
        path = fetch_dataset("insecure", tmp_path / "data", report=lines.append)
        assert path == tmp_path / "data" / "insecure.jsonl" and said in lines[-1]
    assert path.read_bytes() == CONTENT


def test_a_missing_file_of_the_paper_names_the_command(tmp_path: Path) -> None:
    for folder, command in (
        (tmp_path, f"python tools/fetch_data.py insecure --out {tmp_path}"),
        (Path("data"), "python tools/fetch_data.py insecure$"),
    ):
        with pytest.raises(UserError, match=command):
            load_source(Source(str(folder / "insecure.jsonl")), "mixture.bad", 0)
    with pytest.raises(UserError, match=r"tools/fetch_data\.py --list"):
        load_source(Source(str(tmp_path / "other.jsonl")), "mixture.bad", 0)


def test_files_of_the_paper_that_are_here_fit_the_table(released_data: Path) -> None:
    seen = 0
    for d in DATASETS.values():
        for path in released_data.rglob(d.file):
            if path.stat().st_size == d.pin.bytes:
                assert hashlib.sha256(path.read_bytes()).hexdigest() == d.pin.sha256
                assert path.read_bytes().count(b"\n") == d.rows
                seen += 1
    assert seen >= 6
