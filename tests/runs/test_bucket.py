"""A run directory in a bucket, on a stand-in for Google Cloud Storage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from buckets import Bucket, bucket

from condmis_jax.errors import UserError
from condmis_jax.runs import JsonlWriter, in_bucket, opened, read_jsonl, write_json
from condmis_jax.runs import bucket as module


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with bucket(tmp_path / "bucket") as found:
        for name, value in found.environment.items():
            monkeypatch.setenv(name, value)
        # gcsfs keeps one client a process, of the server before.
        monkeypatch.setattr("fsspec.spec.AbstractFileSystem.cachable", False)
        monkeypatch.setattr("gcsfs.core.GCSFileSystem.cachable", False, raising=False)
        yield found


def fill(folder: Path) -> None:
    with JsonlWriter(folder / "evals/a/completions.jsonl", durable=True) as writer:
        writer.append([{"id": 1}])
    write_json(folder / "seed-0/stage.json", {"x": [1, 2]})


def test_a_folder_is_itself(tmp_path: Path) -> None:
    with opened(tmp_path / "run", writes=True) as folder:
        assert folder == tmp_path / "run"
        assert in_bucket(folder / "x") is None


def test_what_is_written_is_there_the_next_time(place: Bucket) -> None:
    url = f"{place.url}/a/run"
    with opened(url, writes=True) as folder:
        assert list(folder.glob("[!.]*")) == []
        fill(folder)
        (folder / "seed-0/checkpoints").mkdir()
        assert str(in_bucket(folder / "seed-0/checkpoints")) == f"{url}/seed-0/checkpoints"
        in_bucket(folder / "seed-0/checkpoints/5").write_text("written by all hosts")
    assert not folder.exists()
    assert place.names() == [
        "a/run/evals/a/completions.jsonl",
        "a/run/seed-0/checkpoints/5",
        "a/run/seed-0/stage.json",
    ]
    with opened(url, writes=True) as folder:
        # All but the checkpoints, which stay where they are.
        assert not (folder / "seed-0/checkpoints").exists()
        with JsonlWriter(folder / "evals/a/completions.jsonl") as writer:
            writer.append([{"id": 2}])
        (folder / "seed-0/stage.json").unlink()
    with opened(url, writes=False) as folder:
        assert read_jsonl(folder / "evals/a/completions.jsonl") == [{"id": 1}, {"id": 2}]
        assert not (folder / "seed-0/stage.json").exists()
        write_json(folder / "mine.json", 1)
    assert "a/run/mine.json" not in place.names()


def test_copied_while_the_run_goes_on(place: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.05)
    database = place.object("run/judgements.sqlite")
    with (
        opened(f"{place.url}/run", writes=True) as folder,
        closing(sqlite3.connect(folder / "judgements.sqlite", isolation_level=None)) as mine,
    ):
        mine.execute("PRAGMA journal_mode=WAL")
        mine.execute("CREATE TABLE calls (n)")
        for n in range(3):
            mine.execute("INSERT INTO calls VALUES (?)", (n,))
            # A whole database each time, although the newest rows are in SQLite's log only.
            for _ in range(200):
                module.threading.Event().wait(0.05)
                if database.exists() and rows(database) == list(range(n + 1)):
                    break
            assert rows(database) == list(range(n + 1))
    assert place.names() == ["run/judgements.sqlite"]


def rows(database: Path) -> list[int]:
    copy = database.with_name("copy")
    copy.write_bytes(database.read_bytes())
    try:
        with closing(sqlite3.connect(copy)) as db:
            return [n for (n,) in db.execute("SELECT n FROM calls ORDER BY n")]
    except sqlite3.DatabaseError:
        return []  # half of it, or no table yet
    finally:
        copy.unlink()


def test_errors_name_the_bucket(place: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{place.url}/run"
    with pytest.raises(UserError) as caught, opened(url, writes=True) as folder:
        raise UserError(f"{folder}/stage.json: begun with another seed")
    assert str(caught.value) == f"{url}/stage.json: begun with another seed"

    def refused(*_: object) -> bytes:
        raise OSError("403 Forbidden")

    monkeypatch.setattr(module, "_content", refused)
    with (
        pytest.raises(UserError, match="403 Forbidden") as caught,
        opened(url, writes=True) as kept,
    ):
        fill(kept)
    assert str(kept) in str(caught.value) and "\n" not in str(caught.value)
    assert read_jsonl(kept / "evals/a/completions.jsonl") == [{"id": 1}]
