from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading

import pytest

from condmis_jax.errors import UserError
from condmis_jax.judges.store import Store, digest_of


def test_put_and_get(tmp_path):
    path = tmp_path / "deep" / "store.sqlite"
    value = {"text": "é\ud800", "top": {"８０": -0.5}, "none": None}
    with Store(path) as store:
        assert store.get("k") is None
        assert store.put("k", "call", value) == value
        assert store.put("p", "probe", {}) == {}
    with Store(path) as store:
        assert store.get("k") == value
        assert store.get("p") == {}
        assert store.keys("call") == ["k"]


def test_the_first_value_stands(tmp_path):
    with Store(tmp_path / "s.sqlite") as one, Store(tmp_path / "s.sqlite") as two:
        assert one.put("k", "call", {"n": 1}) == {"n": 1}
        assert two.put("k", "call", {"n": 2}) == {"n": 1}
        assert one.get("k") == {"n": 1}


def test_a_record_is_durable_before_put_returns(tmp_path):
    """A copy of the files made right after `put`, without closing, holds the record."""
    with Store(tmp_path / "s.sqlite") as store:
        store.put("k", "call", {"n": 1})
        (tmp_path / "copy").mkdir()
        for file in tmp_path.glob("s.sqlite*"):
            shutil.copy(file, tmp_path / "copy" / file.name)
    with Store(tmp_path / "copy" / "s.sqlite") as copy:
        assert copy.get("k") == {"n": 1}


def test_digest_of():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert len(digest_of("\ud800")) == 64
    with pytest.raises(ValueError, match="JSON"):
        digest_of(float("nan"))


def filled(path, n=300):
    with Store(path) as store:
        for i in range(n):
            store.put(digest_of(i), "call", {"n": i, "pad": "x" * 200})


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"not a database, but long enough to have a header " * 100)
    with pytest.raises(UserError, match=r"damaged \(file is not a database\); restore") as caught:
        Store(path)
    assert str(path) in str(caught.value)


def test_a_zeroed_page_is_noticed_when_opening(tmp_path):
    path = tmp_path / "s.sqlite"
    filled(path)
    data = bytearray(path.read_bytes())
    data[4 * 4096 : 6 * 4096] = bytes(2 * 4096)
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged") as caught:
        Store(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_letter_in_a_record_is_noticed(tmp_path):
    path = tmp_path / "s.sqlite"
    filled(path, 3)
    data = path.read_bytes()
    assert data.count(b'"n": 1') == 1
    path.write_bytes(data.replace(b'"n": 1', b'"n": 7'))
    with Store(path) as store:
        assert store.get(digest_of(2)) is not None
        with pytest.raises(UserError, match="does not match its checksum"):
            store.get(digest_of(1))


def test_a_store_of_a_later_version(tmp_path):
    path = tmp_path / "s.sqlite"
    filled(path, 1)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(UserError, match="version 99"):
        Store(path)


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "s.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE bookmarks (x)")
    db.close()
    with pytest.raises(UserError, match="another program"):
        Store(path)


def test_a_path_that_cannot_be_opened(tmp_path):
    with pytest.raises(UserError, match="cannot open the judgement store"):
        Store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make this folder"):
        Store(tmp_path / "file" / "s.sqlite")


def test_a_full_disk(tmp_path):
    with Store(tmp_path / "s.sqlite") as store:
        store.put("k", "call", {"n": 1})
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(UserError, match=r"disk is full; make room"):
            store.put("big", "call", {"pad": "x" * 50_000})
        assert store.get("k") == {"n": 1}
        assert store.get("big") is None


def test_a_store_held_by_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr("condmis_jax.judges.store._BUSY_S", 0.05)
    path = tmp_path / "s.sqlite"
    with Store(path) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="another process has held"):
            store.put("k", "call", {})
        other.execute("ROLLBACK")
        other.close()
        assert store.put("k", "call", {}) == {}


def test_a_new_file_that_another_process_is_setting_up(tmp_path):
    """The switch to WAL needs the file for itself, and SQLite does not wait for that on its own."""
    path = tmp_path / "s.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE records (x)")
    other.execute("DROP TABLE records")
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, other.execute, ["ROLLBACK"])
    release.start()
    with Store(path) as store:
        assert store.put("k", "call", {}) == {}
    release.join()
    other.close()


def test_two_processes_write_at_once(tmp_path):
    script = textwrap.dedent("""
        import sys
        from condmis_jax.judges.store import Store, digest_of
        with Store(sys.argv[1]) as store:
            for i in range(100):
                store.put(digest_of(["own", sys.argv[2], i]), "own", {"by": sys.argv[2]})
                store.put(digest_of(["shared", i]), "shared", {"by": sys.argv[2]})
    """)
    path = tmp_path / "s.sqlite"
    # Both make the file, too.
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    with Store(path) as store:
        assert len(store.keys("own")) == 200
        assert len(store.keys("shared")) == 100
