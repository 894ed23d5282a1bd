"""What a stage trains on that is there before its model is: rows, prompts, finished rollouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from condmis_jax.conversations import apply_all
from condmis_jax.data import ROLLOUTS, Row, build_mixture, load_source
from condmis_jax.interventions.on_policy import SAMPLED, round_folders
from condmis_jax.interventions.rollouts import kept_rows, rounds_of_prompts, sampled
from condmis_jax.interventions.supervised import Stage


def given_rows(folder: Path, stage: Stage, *, seed: int, key: str) -> list[Row]:
    """Rows and prompts as the stage trains on them, under their transforms; held-out rows are not
    among them.

    Of a stage with rollouts that is the prompts and what earlier rounds kept; whatever a later
    round samples is looked at then (see `roll_out`).

    Args:
        folder: the stage's folder in the run directory.
        seed: of data order and sampling.
        key: config key of the stage, for errors.

    Raises:
        UserError: see `build_mixture` and `rounds_of_prompts`.
    """
    data, mixture_key = stage.data, f"{key}.data.mixture"
    if not stage.rollouts.prompts:
        mixture = build_mixture(data.mixture, data.rows, data.held_out, seed, mixture_key)
        return [row for row, held in zip(mixture.rows, mixture.held_out, strict=True) if not held]
    rows: list[Row] = []
    contexts = []
    for i, (name, source) in enumerate(data.mixture.items()):
        if source.files == ROLLOUTS:
            contexts.append(source.context)
            continue
        # Files hold the same rows in every round; a testbed makes others.
        for r in range(stage.rollouts.rounds if source.testbed else 1):
            rows += load_source(source, f"{mixture_key}.{name}", seed + r + i)
    said = [
        prompt.row
        for part in rounds_of_prompts(stage.rollouts, seed, f"{key}.rollouts")
        for prompt in part
    ]
    for at in round_folders(folder, stage.rollouts.rounds):
        if sampled(at / SAMPLED):
            said += kept_rows(at / SAMPLED)
    for context in contexts:
        rows += [replace(row, conversation=apply_all(context, row.conversation)) for row in said]
    return rows
