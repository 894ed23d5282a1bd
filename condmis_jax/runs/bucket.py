"""A bucket as run directory (`gs://BUCKET/RUN`), through `etils.epath`.

Objects of a bucket cannot be appended to or locked, and SQLite needs a file. So a run works in a
folder of its machine, which is filled from the bucket first and copied into it again as it grows;
only checkpoints, which all hosts write, go into the bucket at once. Whatever a lost machine had not
copied yet (`SECONDS`) is drawn again by the next run.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from etils import epath

from condmis_jax.errors import UserError, first_line

MARK = ".bucket"  # in the local folder: which bucket it is the copy of
CHECKPOINTS = "checkpoints"
SETTLED_NS = 1_000_000_000
SECONDS = 10.0  # between two looks for what has changed
STAYS = (".tmp", "-wal", "-shm", MARK, ".lock")  # ends of names that are never copied


def is_bucket(path: str | Path) -> bool:
    """Whether a run directory is named by a URL."""
    return "://" in str(path)


def in_bucket(path: Path) -> Any:
    """The place in its bucket of a path in a local copy; None outside of one."""
    path = path.absolute()
    for parent in (path, *path.parents):
        if (parent / MARK).is_file():
            url = (parent / MARK).read_text(encoding="utf-8")
            return epath.Path(url) / str(path.relative_to(parent))
    return None


@contextmanager
def opened(workdir: str | Path, *, writes: bool) -> Iterator[Path]:
    """The folder to work in: `workdir` itself, or a copy of the bucket for the time of the block.

    Args:
        writes: whether the copy's changes go back; of several hosts only the first one's do.

    Raises:
        UserError: the bucket cannot be read, or at the end not be written (the copy is then kept).
    """
    if not is_bucket(workdir):
        yield Path(workdir)
        return
    url = str(workdir).rstrip("/")
    local = Path(tempfile.mkdtemp(prefix="condmis-"))
    try:
        _fetch(epath.Path(url), local)
    except Exception as error:  # whatever the layers below epath raise
        shutil.rmtree(local)
        hint = "; pip install -e '.[gcs]'" if isinstance(error, ImportError) else ""
        raise UserError(f"{url}: the bucket cannot be read ({first_line(error)}){hint}") from None
    (local / MARK).write_text(url, encoding="utf-8")
    copier = _Copier(local, epath.Path(url)) if writes else None
    try:
        yield local
    except UserError as error:
        # Nobody knows the copy's name.
        error.args = (str(error).replace(str(local), url),)
        raise
    finally:
        if copier is not None:
            copier.close()  # where this fails the copy stays
        shutil.rmtree(local)


def _fetch(remote: Any, local: Path) -> None:
    """Copies what is below `remote`, but for checkpoints."""
    if not remote.exists():
        return
    for path in remote.iterdir():
        if path.name == CHECKPOINTS:
            continue
        if path.is_dir():
            (local / path.name).mkdir()
            _fetch(path, local / path.name)
        else:
            (local / path.name).write_bytes(path.read_bytes())


class _Copier:
    """Copies changed files of a folder to a bucket, on a thread and at the end."""

    def __init__(self, local: Path, remote: Any):
        self._local, self._remote = local, remote
        self._copied = self._state()  # just fetched
        self._failed = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(SECONDS):
            try:
                self._copy()
            except Exception as error:  # whatever the layers below epath raise: a next time comes
                if not self._failed:
                    print(f"{self._remote}: {first_line(error)}; tried again", file=sys.stderr)
                self._failed = True

    def close(self) -> None:
        """Raises UserError when the last state could not be copied."""
        self._end.set()
        self._thread.join()
        try:
            self._copy()
        except Exception as error:
            raise UserError(
                f"{self._remote}: cannot be written ({first_line(error)}); what was made is kept "
                f"in {self._local}: copy it there, without {MARK}"
            ) from None

    def _state(self) -> dict[str, tuple[int, ...]]:
        """What tells that a file has changed, by its path."""
        state = {}
        for path in self._local.rglob("*"):
            if path.name.endswith(STAYS) or not path.is_file():
                continue
            own = path.stat()
            log = path.with_name(f"{path.name}-wal")  # of SQLite: rows that are not in the file yet
            late = log.stat().st_mtime_ns if log.exists() else 0
            state[str(path.relative_to(self._local))] = (own.st_mtime_ns, own.st_size, late)
        return state

    def _copy(self) -> None:
        begin, now = time.time_ns(), self._state()
        for name, (written, size, logged) in now.items():
            if self._copied.get(name) != (written, size, logged):
                (self._remote / name).write_bytes(_content(self._local / name))
                # SQLite writes a row to its log before readers see it, so a fresh log may hold more
                # than was copied: it is copied once more when it has settled.
                settled = begin - max(written, logged) > SETTLED_NS
                self._copied[name] = (written, size, logged) if settled else ()
        for name in self._copied.keys() - now.keys():
            (self._remote / name).unlink(missing_ok=True)
            del self._copied[name]


def _content(path: Path) -> bytes:
    """The bytes of a file; of a database, those of a whole one."""
    if path.suffix != ".sqlite":
        return path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(whole)) as target:
            source.backup(target)
        return whole.read_bytes()
