"""The run directory: the interface between stages.

runs/NAME/config.json, results.json, report.html
runs/NAME/seed-K/stages/01-insecure/{stage.json,metrics.jsonl,checkpoints/,hf/,tensorboard/}
runs/NAME/seed-K/evals/STAGE/SUITE/{completions.jsonl,judgements.sqlite,results.json}
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.runs.jsonl import read_json, write_json

BASE = "00-base"


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run; `root` is the `--workdir`."""

    root: Path

    def seed(self, seed: int) -> Path:
        return self.root / f"seed-{seed}"

    def stage(self, seed: int, stage: str) -> Path:
        return self.seed(seed) / "stages" / stage

    def evaluation(self, seed: int, stage: str, suite: str) -> Path:
        return self.seed(seed) / "evals" / stage / suite


def stage_name(number: int, name: str) -> str:
    """Folder name of the stage at this place in the order, counted from 1."""
    return f"{number:02d}-{name}"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Holds the run directory for this process.

    The lock is the kernel's, so a killed process leaves none behind.

    Raises:
        UserError: another process holds it, named by its pid, or the folder cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        file = (root / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{root}: cannot be used as a run directory ({error.strerror}); give another --workdir"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"{root}: process {holder} is working in this run directory; wait for it or give "
                "another --workdir"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def claim(path: Path, recipe: Mapping[str, Any]) -> None:
    """Ties a folder to the recipe that fills it, so that a resume never mixes two recipes.

    Raises:
        UserError: the folder was begun with another recipe; names the first key that differs.
    """
    if path.exists():
        before = read_json(path)
        key = _first_difference(before, recipe)
        if key is not None:
            raise UserError(
                f"{path}: this folder was begun with another {key}; "
                "give another --workdir, or delete the folder to start it again"
            )
    else:
        write_json(path, recipe)


def _first_difference(a: Any, b: Any, at: str = "") -> str | None:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted(a.keys() | b.keys()):
            found = _first_difference(a.get(key), b.get(key), f"{at}.{key}" if at else str(key))
            if found is not None:
                return found
        return None
    if isinstance(a, list) and isinstance(b, list | tuple) and len(a) == len(b):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            found = _first_difference(x, y, f"{at}[{i}]")
            if found is not None:
                return found
        return None
    return None if a == b else f"{at} ({a!r}, now {b!r})"
