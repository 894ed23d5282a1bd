"""Rounds of sampling from a policy and training on what it said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax.sharding import Mesh

from condmis_jax.data import ROLLOUTS, ChatTemplate, Prompt, Source, load_source
from condmis_jax.errors import UserError
from condmis_jax.evaluation import model_digest, open_checkpoint
from condmis_jax.interventions.importance import weighed
from condmis_jax.interventions.rollouts import (
    Rollouts,
    counts,
    kept_log_probs,
    kept_rows,
    roll_out,
    rounds_of_prompts,
    sampled,
)
from condmis_jax.interventions.supervised import Stage, prepare_stage, run_stage
from condmis_jax.models import LoadedModel
from condmis_jax.testbeds.facts import Fact
from condmis_jax.training import ComputeSettings

Rounds = list[list[Prompt]]

SAMPLED = "rollouts"


def prepare_rounds(stage: Stage, *, seed: int, key: str) -> Rounds:
    """The prompts of every round. Whatever else the stage reads is read once, to find errors now.

    Raises:
        UserError: see `rounds_of_prompts` and `load_source`; or importance weights have no single
            context to be about.
    """
    if stage.rollouts.importance_weighting is not None:
        sources = _rollout_sources(stage)
        if len(sources) != 1 or sources[0][1].reasoning != "keep":
            raise UserError(
                f"{key}.rollouts.importance_weighting: needs exactly one source with "
                f"files={ROLLOUTS!r} in data.mixture, with reasoning='keep': a weight compares one "
                "answer in two contexts"
            )
    for name, source in stage.data.mixture.items():
        if source.files != ROLLOUTS:
            load_source(source, f"{key}.data.mixture.{name}", seed)
    return rounds_of_prompts(stage.rollouts, seed, f"{key}.rollouts")


def run_rounds(
    folder: Path,
    name: str,
    stage: Stage,
    rounds: Rounds,
    model: LoadedModel,
    model_id: str,
    compute: ComputeSettings,
    mesh: Mesh,
    template: ChatTemplate,
    *,
    seed: int,
    key: str,
    untold: Sequence[Fact] = (),
) -> tuple[LoadedModel, str, dict[str, Any]]:
    """Samples and trains round by round, or goes on inside the round that was interrupted.

    The last round trains in the stage's own folder, so that it opens like any other stage; the
    rounds before it lie in `round-K/`. Parameters stay on the mesh between sampling and training.

    Args:
        rounds: from `prepare_rounds`.
        template: of the model's tokenizer.
        key: config key of the stage, for errors.
        untold: see `roll_out`.
        others: see `run_stage`.

    Returns:
        as `run_stage`; the facts also count what was sampled in each round.

    Raises:
        UserError: see `roll_out`, `prepare_stage` and `run_stage`.
    """
    settings = stage.rollouts
    folders = round_folders(folder, settings.rounds)
    parts = []
    for r, at in enumerate(folders):
        ahead = range(r, min(r + settings.refresh_every, settings.rounds))
        if r % settings.refresh_every == 0 and not all(
            sampled(folders[a] / SAMPLED) for a in ahead
        ):
            policy, policy_id = _policy(settings, model, model_id, mesh)
            for a in ahead:
                roll_out(
                    folders[a] / SAMPLED,
                    f"{name} round {a + 1}",
                    settings,
                    rounds[a],
                    policy,
                    policy_id,
                    mesh,
                    seed=seed,
                    untold=untold,
                )
            del policy  # its parameters are donated now
        rows = kept_rows(at / SAMPLED)
        if settings.importance_weighting is not None:
            (name_of, source), *_ = _rollout_sources(stage)
            rows = weighed(
                at / SAMPLED,
                rows,
                kept_log_probs(at / SAMPLED),
                load_source(source, f"{key}.data.mixture.{name_of}", seed + r, rows),
                model,
                mesh,
                largest=settings.importance_weighting,
                dtype=settings.dtype,
            )
        data = prepare_stage(
            at,
            stage,
            model.config.lora,
            template,
            mesh,
            seed=seed + r,
            key=key,
            rollouts=rows,
        )
        label = name if settings.rounds == 1 else f"{name} round {r + 1}"
        model, model_id, facts = run_stage(
            at, label, stage, data, model, model_id, compute, mesh, seed=seed + r
        )
        parts.append({**facts, "rollouts": counts(at / SAMPLED)})
    return model, model_id, {**_joined(parts), "name": name, "kind": "rollouts"}


def _rollout_sources(stage: Stage) -> list[tuple[str, Source]]:
    return [(n, s) for n, s in stage.data.mixture.items() if s.files == ROLLOUTS]


def round_folders(folder: Path, rounds: int) -> list[Path]:
    """Where each round of a stage trains."""
    return [folder / f"round-{r}" for r in range(1, rounds)] + [folder]


def _policy(
    settings: Rollouts, model: LoadedModel, model_id: str, mesh: Mesh
) -> tuple[LoadedModel, str]:
    if not settings.policy:
        return model, model_id
    policy = open_checkpoint(settings.policy, mesh)
    return policy, model_digest(policy)


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """One stage's facts out of those of its rounds."""
    dose: dict[str, dict[str, int]] = {}
    loss: dict[str, list[float]] = {"step": [], "training": []}
    steps = 0
    for part in parts:
        for source, amounts in part["dose"].items():
            before = dose.setdefault(source, dict.fromkeys(amounts, 0))
            dose[source] = {k: before[k] + n for k, n in amounts.items()}
        loss["step"] += [steps + s for s in part["loss"]["step"]]
        loss["training"] += part["loss"]["training"]
        steps += part["steps"]
    # Rounds set different conversations aside: only a single one has a before and an after.
    held_out = parts[0]["held_out_loss"] if len(parts) == 1 else None
    rounds = [{**p["rollouts"], "held_out_loss": p["held_out_loss"]} for p in parts]
    return {"steps": steps, "dose": dose, "loss": loss, "held_out_loss": held_out, "rounds": rounds}
