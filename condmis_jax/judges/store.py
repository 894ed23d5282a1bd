"""Judgements that were paid for, kept in one SQLite file.

Every `put` is a transaction of its own, on disk before it returns, so a killed process loses at
most the calls that were still in flight. Errors have no place here: a failure is asked again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from condmis_jax.errors import UserError

_VERSION = 1
_BUSY_S = 60.0
_TABLE = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    checksum TEXT NOT NULL,
    created REAL NOT NULL
) WITHOUT ROWID
"""


def digest_of(value: Any) -> str:
    """The sha256 of `value` as canonical JSON: what records are keyed by.

    Raises:
        TypeError, ValueError: `value` has no JSON form (NaN has none).
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class Store:
    """Records by key; several processes and threads may share one file.

    Args:
        path: the database file; it and its folder are made when missing.

    Raises:
        UserError: the file is damaged, is no store, or cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.path.parent}: cannot make this folder: {error.strerror}"
            ) from None
        with self._errors():
            # Autocommit: each statement is its own transaction. The lock below is what makes the
            # connection safe to share among threads.
            self._db = sqlite3.connect(
                self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._prepare()
        except UserError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        # WAL lets readers go on beside the one writer; FULL because each record cost money.
        self._enter_wal()
        self._db.execute("PRAGMA synchronous=FULL")
        # Damage in an index page would not raise, it would only make finished calls unfindable.
        (report,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if report != "ok":
            raise sqlite3.DatabaseError(str(report).splitlines()[-1])
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise UserError(
                f"{self.path}: judgement store of version {version}, this program reads version "
                f"{_VERSION}; use the release that wrote it, or another file"
            )
        if version == 0:
            query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name != 'records'"
            if self._db.execute(query).fetchone() != (0,):
                raise UserError(f"{self.path}: a database of another program; name another file")
            self._db.execute(_TABLE)
            self._db.execute(f"PRAGMA user_version={_VERSION}")

    def _enter_wal(self) -> None:
        # SQLite does not apply its busy timeout to this one statement: of processes that open a new
        # file together, all but one would fail at once.
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def get(self, key: str) -> dict[str, Any] | None:
        """The value stored under `key`, or None.

        Raises:
            UserError: the file is damaged (a record is checked against its checksum) or locked.
        """
        with self._lock, self._errors():
            row = self._db.execute(
                "SELECT kind, value, checksum FROM records WHERE key = ?", (key,)
            ).fetchone()
        return None if row is None else self._checked(key, *row)

    def put(self, key: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        """Stores `value` durably unless `key` has a value already.

        Args:
            key: a digest of everything that could change the value.
            kind: what the value is, for readers of the file ("call", "probe", …).
            value: a JSON object.

        Returns:
            The value that now stands: with two processes at work the first one's, so that both
            report the same.

        Raises:
            UserError: the disk is full, or the file is damaged or locked.
        """
        text = json.dumps(value, sort_keys=True, allow_nan=False)
        row = (key, kind, text, _checksum(key, kind, text), time.time())
        with self._lock, self._errors():
            cursor = self._db.execute("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?)", row)
            added = cursor.rowcount == 1
        if added:
            return json.loads(text)
        return self.get(key) or value

    def keys(self, kind: str) -> list[str]:
        """The keys of all records of one kind, sorted."""
        with self._lock, self._errors():
            query = "SELECT key FROM records WHERE kind = ? ORDER BY key"
            return [key for (key,) in self._db.execute(query, (kind,))]

    def close(self) -> None:
        """Closes the file; the last process to do so folds the write-ahead log into it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _checked(self, key: str, kind: str, text: str, checksum: str) -> dict[str, Any]:
        if checksum != _checksum(key, kind, text):
            raise self._damaged(f"record {key[:12]} does not match its checksum")
        return json.loads(text)

    def _damaged(self, what: str) -> UserError:
        return UserError(
            f"{self.path}: the judgement store is damaged ({what}); restore it from a copy, or "
            "move it and its -wal and -shm files away to judge again from nothing"
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._explain(error) from None

    def _explain(self, error: sqlite3.Error | UnicodeDecodeError) -> UserError:
        text = " ".join(str(error).split())
        code = getattr(error, "sqlite_errorcode", None)
        known: dict[int, Callable[[], UserError]] = {
            sqlite3.SQLITE_BUSY: lambda: UserError(
                f"{self.path}: another process has held the judgement store for {_BUSY_S:g} s; "
                "wait for it or end it, then run the same command again"
            ),
            sqlite3.SQLITE_FULL: lambda: UserError(
                f"{self.path}: the disk is full; make room, then run the same command again: "
                "finished calls are kept"
            ),
            sqlite3.SQLITE_CANTOPEN: lambda: UserError(
                f"{self.path}: cannot open the judgement store ({text}); name a file in a folder "
                "that this user may write to"
            ),
            sqlite3.SQLITE_READONLY: lambda: UserError(
                f"{self.path}: the judgement store is read-only; make it writable or copy it"
            ),
            sqlite3.SQLITE_IOERR: lambda: UserError(
                f"{self.path}: reading or writing the judgement store failed ({text}); check the "
                "disk, then run the same command again"
            ),
        }
        # Extended result codes carry the primary code in their low byte.
        explain = known.get(code & 0xFF) if isinstance(code, int) else None
        return explain() if explain else self._damaged(text)


def _checksum(key: str, kind: str, text: str) -> str:
    return digest_of([key, kind, text])
