"""Orbax checkpoints: parameters, optimiser, step and data-iterator state, all or nothing."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.weights import Params, shardings, weight_table

KEPT = 2


class Checkpoints:
    """The checkpoints of one stage; the newest `KEPT` are kept, saves run in the background."""

    def __init__(self, folder: Path):
        self._folder = folder.absolute()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT, create=True, enable_async_checkpointing=True
            ),
        )

    @property
    def latest(self) -> int | None:
        """Steps done in the newest whole checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, params: Params, optimiser: Any, iterator: dict[str, Any]) -> None:
        """Starts writing the state after `step` optimiser steps."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(params),  # type: ignore[call-arg]
                optimiser=ocp.args.StandardSave(optimiser),  # type: ignore[call-arg]
                progress=ocp.args.JsonSave({"step": step, "iterator": iterator}),  # type: ignore[call-arg]
            ),
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
        return found["params"], found["optimiser"], found["progress"]

    def restore_params(self, config: DecoderConfig, mesh: Mesh) -> Params:
        """The parameters of the newest checkpoint, on the mesh.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        if self.latest is None:
            raise UserError(f"{self._folder}: no finished checkpoint")
        places = shardings(config, mesh)
        wanted = {
            w.name: jax.ShapeDtypeStruct(w.shape(config), "float32", sharding=places[w.name])
            for w in weight_table(config)
        }
        restore = ocp.args.StandardRestore(wanted)  # type: ignore[call-arg]
        return self._read(self.latest, ocp.args.Composite(params=restore))["params"]

    def _read(self, step: int | None, args: Any) -> Any:
        try:
            return self._manager.restore(step, args=args)
        # Orbax and TensorStore raise whatever their layers raise on damaged files.
        except Exception as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise UserError(
                f"{self._folder}/{step}: this checkpoint is damaged or of another model ({reason});"
                " delete its folder and run again to resume from the one before"
            ) from error

    def wait(self) -> None:
        """Returns when every save is on disk."""
        self._manager.wait_until_finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._manager.close()


def _shape(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
