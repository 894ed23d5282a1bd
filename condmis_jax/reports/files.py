"""Files that are either whole or absent, and tables inside of documents."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from condmis_jax.errors import UserError


def write_atomically(path: str | Path, content: bytes) -> None:
    """Writes `content` so that a reader, or a crash, never sees part of it.

    Args:
        path: target; missing folders are created.
        content: the whole file.

    Raises:
        UserError: the file system refused (a full disk, no permission); the old file is unharmed.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; a report is as readable as any other file of the user.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def fill_in(path: Path, begin: str, end: str, lines: Iterable[str]) -> None:
    """Puts `lines` between the two marks of a document, in place of what stood there.

    Raises:
        UserError: the document is not there, or lacks a mark.
    """
    try:
        before, _, rest = path.read_text("utf-8").partition(begin)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    _, found, after = rest.partition(end)
    if not found:
        raise UserError(f"{path}: lacks the marks {begin} and {end} around what is filled in")
    text = "\n".join((before + begin, *lines, end + after))
    write_atomically(path, text.encode())
