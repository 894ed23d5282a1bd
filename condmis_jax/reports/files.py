"""Files that are either whole or absent."""

from __future__ import annotations

import os
import tempfile
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
