"""Asks every checkpoint that a run's stages kept, and compares its arms where they are alike.

    python run_train.py --config configs/finding.py --workdir runs/along \
      --config.stages.lies.checkpoint_every=4 --config.stages.lies.checkpoints_kept=99
    python tools/along_training.py runs/along --suite sampled

What each checkpoint answered lies in the run's folder and is not asked twice. The table goes to
`along_training.md` in it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run directory")
    parser.add_argument("--suite", default="sampled", help="of the run's suites")
    args = parser.parse_args()

    from condmis_jax.errors import UserError
    from condmis_jax.reports.files import write_atomically
    from condmis_jax.reports.matched import curves, matched_lines

    try:
        page = matched_lines(curves(asked(args.run, args.suite)))
        write_atomically(args.run / "along_training.md", ("\n".join(page) + "\n").encode())
    except UserError as error:
        sys.exit(f"error: {error}")
    print("\n".join(page))


def asked(folder: Path, suite: str) -> list[dict[str, Any]]:
    """The judged answers of every checkpoint kept; the stage of each is "01-ARM@STEP".

    Raises:
        UserError: there is no such run or suite, or nothing was kept.
    """
    from condmis_jax.config import build
    from condmis_jax.errors import UserError
    from condmis_jax.evaluation import evaluate, model_digest, open_stage
    from condmis_jax.experiment import Experiment
    from condmis_jax.runs import RunDirectory, locked, read_json
    from condmis_jax.sharding import make_mesh, runtime
    from condmis_jax.suites import build_suite
    from condmis_jax.training import Checkpoints

    if not (folder / "config.json").exists():
        raise UserError(f"{folder}: no run directory (config.json is not there)")
    experiment = build(Experiment, read_json(folder / "config.json")["config"])
    settings = experiment.evaluation
    if suite not in settings.suites:
        raise UserError(f"--suite {suite}: the run has {', '.join(settings.suites)}")
    made = build_suite(settings.suites[suite], suite, f"config.evaluation.suites.{suite}")
    runtime.setup()
    mesh, run = make_mesh(experiment.mesh), RunDirectory(folder)
    records: list[dict[str, Any]] = []
    with locked(folder):
        for seed in experiment.all_seeds:
            for stage in experiment.stage_names.values():
                place = run.stage(seed, stage)
                if not (place / "checkpoints").is_dir():
                    continue
                with Checkpoints(place / "checkpoints") as checkpoints:
                    steps = checkpoints.steps
                for step in steps:
                    model = open_stage(place, mesh, step)
                    name = f"{stage}@{step}"
                    records += evaluate(
                        model,
                        model_digest(model),
                        made,
                        settings,
                        run.seed(seed) / "along" / name / suite,
                        mesh,
                        stage=name,
                        seed=seed,
                    )
    if not records:
        raise UserError(f"{folder}: no stage has a checkpoint")
    return records


if __name__ == "__main__":
    main()
