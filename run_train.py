"""Trains an experiment's stages and evaluates the base model and every stage.

    python run_train.py --config configs/sequential.py
    python run_train.py --config configs/sequential.py:paper --config.model=smollm2-135m-q4

`--config FILE[:argument]` names the experiment, `--config.KEY=VALUE` changes any key of it.
The same command run again resumes.
"""

from absl import flags

from condmis_jax.config import flags as config

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder or gs://BUCKET/FOLDER; default: runs/NAME.")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "Print how much would be asked and what the judges cost; run nothing."
)
flags.declare_key_flag("config")


def main() -> None:
    # Behind --help: importing jax takes longer than answering.
    from condmis_jax.config import build
    from condmis_jax.experiment import Experiment, dry_run, run_experiment

    experiment = build(Experiment, config.resolved())
    if _DRY_RUN.value:
        print("\n".join(dry_run(experiment)))
        return
    run_experiment(experiment, _WORKDIR.value or f"runs/{experiment.name}")


if __name__ == "__main__":
    config.run(main)
