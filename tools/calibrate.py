"""Asks the judges of a config about the calibration set, and says how far they can be believed.

    python tools/calibrate.py --config configs/eval.py --config.evaluation.judges.rater.kind=local

prints a table for each judge: accuracy, sensitivity, specificity and the area under the ROC curve
with 95 % intervals, over all answers, by trigger and by origin. Its result, a file in `--workdir`,
makes a report show corrected rates beside the raw ones:
`--config.evaluation.judges.rater.calibration=FILE`. Finished calls are kept: the same command
again pays for nothing twice.
"""

from pathlib import Path

from absl import flags

from condmis_jax.config import flags as config

_WORKDIR = flags.DEFINE_string("workdir", "runs/calibration", "Folder of calls and results.")
flags.declare_key_flag("config")


def main() -> None:
    # Behind --help: importing jax takes longer than answering.
    from condmis_jax.config import build
    from condmis_jax.errors import UserError
    from condmis_jax.evaluation import EvaluationSettings
    from condmis_jax.evaluation.calibrating import calibrations
    from condmis_jax.judges.calibration import agreement_of, calibration_items, table, to_document
    from condmis_jax.runs import write_json
    from condmis_jax.sharding import runtime

    values = config.resolved()
    if "evaluation" not in values:
        raise UserError("--config: this file has no evaluation; take configs/eval.py")
    settings = build(EvaluationSettings, values["evaluation"], "config.evaluation")
    runtime.setup()
    kappas = {
        name: "n/a" if value is None else f"{value:.2f}"
        for name, value in agreement_of(calibration_items()).items()
    }
    print(f"{len(calibration_items())} answers; the two labelling passes agree, kappa:")
    print(", ".join(f"{name} {value}" for name, value in kappas.items()))
    for name, found in calibrations(settings, Path(_WORKDIR.value)).items():
        path = Path(_WORKDIR.value) / f"{name}.json"
        write_json(path, to_document(found))
        statuses = ", ".join(f"{count} {status}" for status, count in found.statuses.items())
        print("", *table(found), "", f"statuses: {statuses}", path, sep="\n", flush=True)


if __name__ == "__main__":
    config.run(main)
