"""Folders of the model cache: where they lie, what is in them, how they appear whole or not at all.

Every folder that this package writes holds a `source.json`: where it came from (digests
included), and the size and sha256 of each file, so that a later call can tell a finished folder
from a damaged one without reading the weights again.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from condmis_jax.clients.download import sha256_of
from condmis_jax.errors import UserError

SOURCE = "source.json"


def cache_root() -> Path:
    """The folder of fetched and converted models: `$CONDMIS_CACHE/models`.

    `CONDMIS_CACHE` defaults to `~/.cache/condmis_jax`.
    """
    root = os.environ.get("CONDMIS_CACHE") or "~/.cache/condmis_jax"
    return Path(root).expanduser().absolute() / "models"


def read_source(folder: Path) -> dict[str, Any] | None:
    """What `source.json` says about a folder that this package wrote.

    Returns:
        None when the folder is absent, was not written here, or lacks a file or part of one.
    """
    try:
        source = json.loads((folder / SOURCE).read_text(encoding="utf-8"))
        whole = all((folder / n).stat().st_size == f["bytes"] for n, f in source["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return source if whole else None


def write_source(folder: Path, source: Mapping[str, Any]) -> None:
    """Writes `source.json`: `source` itself, and the size and digest of every file beside it."""
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != SOURCE
    }
    text = json.dumps({**source, "files": files}, indent=1) + "\n"
    (folder / SOURCE).write_text(text, encoding="utf-8")


@contextmanager
def exclusive(folder: Path) -> Iterator[Path]:
    """Lets one process at a time produce `folder`, in a work folder beside it.

    The lock dies with its process. A work folder left behind by a killed process is handed to the
    next one, which may resume from it. It is removed at the end when nothing is in it.

    Yields:
        the work folder `.NAME.partial`, on the same file system as `folder`.
    Raises:
        UserError: the folder cannot be written; says how to choose another.
    """
    import fcntl

    work = folder.parent / f".{folder.name}.partial"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f".{folder.name}.lock").open("w")
    except OSError as error:
        raise UserError(
            f"{folder.parent}: cannot be written ({error.strerror}); set CONDMIS_CACHE to a "
            "writable folder"
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work.mkdir(exist_ok=True)
        try:
            yield work
        finally:
            if work.exists() and not any(work.iterdir()):
                work.rmdir()


def publish(ready: Path, folder: Path) -> None:
    """Puts a finished folder in its place, instead of an older one of ours.

    Raises:
        UserError: `folder` holds something that this package did not write.
    """
    if folder.exists():
        foreign = not folder.is_dir() or (any(folder.iterdir()) and not (folder / SOURCE).is_file())
        if foreign:
            raise UserError(
                f"{folder}: exists and holds no {SOURCE} of a conversion; nothing was replaced: "
                "choose another folder or remove it"
            )
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old-", dir=folder.parent))
        folder.replace(old / "folder")
        ready.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        ready.replace(folder)
