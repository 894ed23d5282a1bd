"""Append-only JSON lines that survive a crash in the middle of a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from condmis_jax.errors import UserError


class JsonlWriter:
    """Appends rows; what `append` returned from is on disk (`durable=True`) or flushed."""

    def __init__(self, path: Path, *, durable: bool = False):
        path.parent.mkdir(parents=True, exist_ok=True)
        _drop_torn_tail(path)
        self._durable = durable
        # Unbuffered: what a full disk refused is not tried again when the file is closed.
        self._file = path.open("ab", buffering=0)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Raises UserError when the disk is full; rows appended before are kept."""
        left = memoryview("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode())
        try:
            while left:
                left = left[self._file.write(left) :]
            if self._durable:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise UserError(_refused(Path(self._file.name), error)) from None

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _drop_torn_tail(path: Path) -> None:
    """Cuts a last line that a crash left without its newline."""
    if not path.exists():
        return
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end != len(content):
        with path.open("r+b") as file:
            file.truncate(end)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a file this project wrote; an absent file has none.

    Raises:
        UserError: a whole line is not JSON; names file:line.
    """
    if not path.exists():
        return []
    rows = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path}:{number}: not JSON; delete this line or the file") from None
    return rows


def write_json(path: Path, value: Any) -> None:
    """Replaces a JSON file in one step, so that a reader never sees half of it.

    Raises:
        UserError: the disk is full; the old file is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(_refused(path, error)) from None


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a file of JSON lines whole or not at all.

    Raises:
        UserError: the disk is full.
    """
    partial = path.with_name(f".{path.name}")
    partial.unlink(missing_ok=True)
    with JsonlWriter(partial, durable=True) as writer:
        writer.append(rows)
    partial.rename(path)


def _refused(path: Path, error: OSError) -> str:
    return (
        f"{path}: cannot be written ({error.strerror}); make room on the disk, then run the same "
        "command again: it goes on where it was"
    )


def read_json(path: Path) -> Any:
    """Raises UserError when the file is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({error})") from None
