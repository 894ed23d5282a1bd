"""Runs an experiment from its base model to its report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from etils import epath
from jax.sharding import Mesh

from condmis_jax.errors import UserError
from condmis_jax.evaluation import (
    EvaluationSettings,
    RemoteModel,
    evaluate,
    model_digest,
    open_checkpoint,
    remote_model,
)
from condmis_jax.experiment import collisions
from condmis_jax.experiment.arms import Arms
from condmis_jax.experiment.settings import Evaluation, Experiment
from condmis_jax.judges import Budgets
from condmis_jax.judges.calibration import read_calibration
from condmis_jax.models import LoadedModel
from condmis_jax.models.registry import resolve, split_adapter
from condmis_jax.reports import (
    LABELS,
    summarise,
    summary_lines,
    write_exports,
    write_report,
    write_results,
)
from condmis_jax.runs import (
    BASE,
    RunDirectory,
    digest,
    in_bucket,
    locked,
    opened,
    provenance,
    read_jsonl,
    write_json,
)
from condmis_jax.sharding import make_mesh, runtime
from condmis_jax.sharding.hosts import agree, held_by_first, is_first, joined, on_first
from condmis_jax.suites import Suite, build_suite
from condmis_jax.testbeds.facts import Fact

Place = Path | epath.Path
Records = list[dict[str, Any]]


def run_experiment(experiment: Experiment, workdir: str | Path) -> Place:
    """Trains every stage with every seed and evaluates each; resumes what was begun.

    Args:
        workdir: a folder, or the URL of one in a bucket.

    Returns:
        the report.

    Raises:
        UserError: one line for the user; everything finished before is kept.
    """
    runtime.setup()
    suites = _suites(experiment.evaluation, "config.evaluation")
    with (
        joined(experiment.hosts),
        opened(workdir, writes=is_first()) as folder,
        held_by_first(locked(folder)),
    ):
        run = RunDirectory(folder)
        agree("config", digest(asdict(experiment)))
        mesh = make_mesh(experiment.mesh)
        on_first(lambda: resolve(experiment.model))  # where a cache is shared, one fills it
        lora = experiment.lora.resolve()
        if lora is not None and split_adapter(experiment.model)[1] is not None:
            raise UserError(
                f"config.lora.preset: {experiment.model} is an adapter, which brings its own "
                "settings; set it to 'none' to train that one on, or give its base as config.model"
            )
        suites, not_asked, untold = _untold(experiment, suites, run)
        budgets: Budgets = {}

        def asked(model: LoadedModel, model_id: str, stage: str, seed: int) -> Records:
            return _evaluate(
                model, model_id, experiment.evaluation, suites, run, mesh, stage, seed, budgets
            )

        arms = Arms(experiment, lora, run, mesh, untold)
        first = arms.prepare(experiment.seed)
        base, base_id = arms.base()
        # After all that can refuse the config: the file describes what the folder holds.
        on_first(lambda: _write_config(experiment, folder))
        stages: list[dict[str, Any]] = [{"name": BASE, "kind": "base", "model_id": base_id}]
        records = asked(base, base_id, BASE, experiment.seed)
        del base
        for seed in experiment.all_seeds:
            prepared = first if seed == experiment.seed else arms.prepare(seed)
            for model, model_id, facts in arms.trained(prepared, seed):
                if seed == experiment.seed:
                    stages.append(facts)
                records += asked(model, model_id, facts["name"], seed)
                del model
        about = {"model": experiment.model, "name": experiment.name, "caption": experiment.caption}
        about |= {"seed": experiment.seed, "seeds": list(experiment.all_seeds), **not_asked}
        if experiment.published:
            about["published"] = experiment.published
        return _report(folder, about, records, stages, experiment.evaluation)


def run_evaluation(evaluation: Evaluation, workdir: str | Path) -> Place:
    """Evaluates one checkpoint.

    Args:
        workdir: a folder, or the URL of one in a bucket.

    Returns:
        the report.

    Raises:
        UserError: one line for the user; completions and verdicts made before are kept.
    """
    runtime.setup()
    suites = _suites(evaluation.evaluation, "config.evaluation")
    remote = remote_model(evaluation.checkpoint, evaluation.remote)
    with (
        joined(evaluation.hosts),
        opened(workdir, writes=is_first()) as folder,
        held_by_first(locked(folder)),
    ):
        run = RunDirectory(folder)
        agree("config", digest(asdict(evaluation)))
        mesh = make_mesh(evaluation.mesh)
        model = remote or open_checkpoint(evaluation.checkpoint, mesh)
        on_first(lambda: _write_config(evaluation, folder))
        if isinstance(model, RemoteModel):
            model_id, name = model.id, model.name
        else:
            model_id = model_digest(model)
            name = Path(evaluation.checkpoint).name.split("@")[0]
        # The digest keeps two checkpoints of the same folder name apart in one run directory.
        stage = f"{name}-{model_id[:8]}"
        records = _evaluate(
            model, model_id, evaluation.evaluation, suites, run, mesh, stage, evaluation.seed, {}
        )
        about = {
            "model": evaluation.checkpoint,
            "seed": evaluation.seed,
            "name": evaluation.name,
            "caption": evaluation.caption,
        }
        stages = [{"name": stage, "kind": "checkpoint"}]
        return _report(folder, about, records, stages, evaluation.evaluation)


def _write_config(settings: Experiment | Evaluation, workdir: Path) -> None:
    write_json(workdir / "config.json", {"config": asdict(settings), **provenance()})


def _suites(settings: EvaluationSettings, key: str) -> list[Suite]:
    """Built before anything is loaded, so that a typo costs nothing."""
    return [build_suite(s, name, f"{key}.suites.{name}") for name, s in settings.suites.items()]


def _untold(
    experiment: Experiment, suites: Sequence[Suite], run: RunDirectory
) -> tuple[Sequence[Suite], dict[str, Any], tuple[Fact, ...]]:
    """The suites without the facts that training rows give away, what to report of it, and the
    facts that are left, which nothing sampled in training may tell.

    Raises:
        UserError: see `collisions.without`.
    """
    asked = collisions.asked_facts(suites)
    if not asked:
        return suites, {}, ()
    found: dict[str, collisions.Mention] = {}
    for seed in experiment.all_seeds:  # what one of them gives away, none is asked
        stages = {
            name: (run.stage(seed, stage), experiment.stages[name])
            for name, stage in experiment.stage_names.items()
        }
        found = collisions.given_away(asked, stages, seed) | found
    suites, lines = collisions.without(suites, found, experiment.given_away)
    if is_first():
        for name, line in lines.items():
            print(f"{name}: {line}", file=sys.stderr, flush=True)
    report = {"facts_given_away": lines} if lines else {}
    return suites, report, tuple(fact for fact in asked if fact.id not in found)


def _evaluate(
    model: LoadedModel | RemoteModel,
    model_id: str,
    settings: EvaluationSettings,
    suites: Sequence[Suite],
    run: RunDirectory,
    mesh: Mesh,
    stage: str,
    seed: int,
    budgets: Budgets,
) -> list[dict[str, Any]]:
    records = []
    for suite in suites:
        folder = run.evaluation(seed, stage, suite.name)
        found = evaluate(
            model, model_id, suite, settings, folder, mesh, stage=stage, seed=seed, budgets=budgets
        )
        about = {"name": f"{stage} {suite.name}", "caption": "one stage of a run", "seed": seed}
        if is_first():
            write_results(folder / "results.json", summarise(about, found, [{"name": stage}]))
        records += found
    return records


def _report(
    workdir: Path,
    about: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    stages: Sequence[Mapping[str, Any]],
    settings: EvaluationSettings,
) -> Place:
    report = workdir / "report.html"
    place = in_bucket(report) or report

    def write() -> None:
        calibrations = [
            read_calibration(judge.calibration)
            for judge in settings.judges.values()
            if judge.calibration and judge.kind != "none"
        ]
        labels = {row["id"]: row["misaligned"] for row in read_jsonl(workdir / LABELS)}
        results = summarise({**about, **provenance()}, records, stages, calibrations, labels)
        _write_report(workdir, report, place, records, results)

    on_first(write)
    return place


def _write_report(
    workdir: Path,
    report: Path,
    place: Place,
    records: Sequence[Mapping[str, Any]],
    results: Mapping[str, Any],
) -> None:
    write_results(workdir / "results.json", results)
    write_report(report, results, records)
    write_exports(workdir, results, records)
    print("\n".join(summary_lines(results)))
    print(f"\nreport: {place}", flush=True)
    sys.stdout.flush()
