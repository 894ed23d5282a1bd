"""Orbax checkpoints: what is trained, optimiser, step and data-iterator state, all or nothing.

With adapters the frozen weights are not in a checkpoint; whoever opens it has the base model.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from condmis_jax.errors import UserError, first_line
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import Params, shardings, weight_table
from condmis_jax.runs import in_bucket, read_json, write_json
from condmis_jax.sharding.hosts import is_first, lost_host, on_first, several

KEPT = 2


class Checkpoints:
    """The checkpoints of one stage; the newest ones are kept, saves run in the background.

    Beside a checkpoint lies its seal, the sha256 of each of its files, written when the save has
    finished: neither Orbax nor the file system would notice a flipped byte. A bucket would. A
    process that was killed between the two leaves a checkpoint that is whole by Orbax's own commit,
    a rename: a resume takes it, says so, and seals it then.

    Args:
        folder: of all of them.
        kept: how many.
    """

    def __init__(self, folder: Path, kept: int = KEPT):
        remote = in_bucket(folder)
        self._sealed = remote is None  # a bucket keeps checksums of its own
        self._folder = remote or folder.absolute()
        on_first(lambda: self._folder.mkdir(parents=True, exist_ok=True))
        # Named, the hosts meet through the coordination service; else Orbax would use the devices,
        # from a thread of its own and in the middle of a step.
        hosts = ocp.options.MultiprocessingOptions(
            active_processes=set(range(jax.process_count())) if several() else None
        )
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=kept,
                create=False,
                enable_async_checkpointing=True,
                multiprocessing_options=hosts,
            ),
        )
        self._sealing: threading.Thread | None = None
        self._failure: UserError | None = None

    @property
    def latest(self) -> int | None:
        """Steps done in the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, params: Params, optimiser: Any, iterator: dict[str, Any]) -> None:
        """Starts writing the state after `step` optimiser steps; `params` are those trained.

        Raises:
            UserError: this or the save before could not be written.
        """
        self.wait()
        arguments = ocp.args.Composite(
            params=ocp.args.StandardSave(params),  # type: ignore[call-arg]
            optimiser=ocp.args.StandardSave(optimiser),  # type: ignore[call-arg]
            progress=ocp.args.JsonSave({"step": step, "iterator": iterator}),  # type: ignore[call-arg]
        )
        try:
            self._manager.save(step, args=arguments)
        except Exception as error:  # whatever Orbax's layers raise
            raise self._unwritten(step, error) from error
        self._sealing = threading.Thread(target=self._seal, args=(step,))
        self._sealing.start()

    def wait(self) -> None:
        """Returns when every save is on disk and sealed.

        Raises:
            UserError: a save could not be written.
        """
        if self._sealing is not None:
            self._sealing.join()
            self._sealing = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _seal(self, step: int) -> None:
        try:
            self._manager.wait_until_finished()
            if not (self._sealed and is_first()):
                return
            self._write_seal(step)
            for old in self._folder.glob("*.sha256.json"):
                if not (self._folder / old.name.partition(".")[0]).is_dir():
                    old.unlink()
        # Whatever Orbax's layers raise; the next `wait` raises it in the caller's thread.
        except Exception as error:
            self._failure = self._unwritten(step, error)

    def _write_seal(self, step: int) -> None:
        write_json(self._seal_path(step), _digests(self._folder / str(step)))

    def _seal_path(self, step: int) -> Path:
        return self._folder / f"{step}.sha256.json"

    def _unwritten(self, step: int, error: Exception) -> UserError:
        return lost_host(error) or UserError(
            f"{self._folder}/{step}: the checkpoint cannot be written ({first_line(error)}); "
            "make room and run the same command, which resumes from the one before"
        )

    def _check_seal(self, step: int) -> None:
        path = self._seal_path(step)
        if not path.exists():
            return
        expected, found = read_json(path), _digests(self._folder / str(step))
        changed = sorted(
            n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)
        )
        if changed:
            raise self._damaged(step, f"{changed[0]} is not what was written")

    def _damaged(self, step: int | None, reason: str) -> UserError:
        return UserError(
            f"{self._folder}/{step}: this checkpoint is damaged or of another model ({reason}); "
            "delete its folder and run again to resume from the one before"
        )

    def restore(self, params: Any, optimiser: Any) -> tuple[Params, Any, dict[str, Any]]:
        """The newest state as (params, optimiser, {"step", "iterator"}).

        Args:
            params, optimiser: arrays or shapes with shardings, the form to restore into.

        Raises:
            UserError: the checkpoint cannot be read; says how to go back to the one before.
        """
        step = self.latest
        found = self._read(
            step,
            ocp.args.Composite(
                params=ocp.args.StandardRestore(jax.tree.map(_shape, params)),  # type: ignore[call-arg]
                optimiser=ocp.args.StandardRestore(jax.tree.map(_shape, optimiser)),  # type: ignore[call-arg]
                progress=ocp.args.JsonRestore(),
            ),
        )
        assert step is not None  # read, so it is there
        on_first(lambda: self._seal_late(step))
        return found["params"], found["optimiser"], found["progress"]

    def _seal_late(self, step: int) -> None:
        if self._sealed and not self._seal_path(step).exists():
            print(
                f"{self._folder}/{step}: saved, but the run ended before its digests were written; "
                "resuming from it, and writing them now",
                file=sys.stderr,
            )
            self._write_seal(step)

    @property
    def steps(self) -> list[int]:
        """Steps done in each whole checkpoint, the newest last."""
        return sorted(self._manager.all_steps())

    def restore_params(self, config: DecoderConfig, mesh: Mesh, step: int | None = None) -> Params:
        """The trained parameters of a checkpoint, on the mesh.

        Args:
            step: that of the checkpoint; None takes the newest.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        if self.latest is None:
            raise UserError(f"{self._folder}: no finished checkpoint")
        if step is not None and step not in self.steps:
            there = ", ".join(map(str, self.steps))
            raise UserError(f"{self._folder}: no checkpoint of step {step}; there are {there}")
        places = shardings(config, mesh)
        wanted = {
            w.name: jax.ShapeDtypeStruct(w.shape(config), "float32", sharding=places[w.name])
            for w in weight_table(config)
            if w.trained
        }
        restore = ocp.args.StandardRestore(wanted)  # type: ignore[call-arg]
        return self._read(step or self.latest, ocp.args.Composite(params=restore))["params"]

    def _read(self, step: int | None, args: Any) -> Any:
        if step is not None:
            on_first(lambda: self._check_seal(step))
        try:
            return self._manager.restore(step, args=args)
        # Orbax and TensorStore raise whatever their layers raise on damaged files.
        except Exception as error:
            raise lost_host(error) or self._damaged(step, first_line(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failure: UserError | None = None
        try:
            self.wait()
        except UserError as error:
            failure = error
        try:
            self._manager.close()
        except Exception as error:  # Orbax raises the failure of an unfinished save once more
            failure = failure or self._unwritten(self.latest or 0, error)
        if failure is not None and kind is None:
            raise failure


def _digests(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, by relative path."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
