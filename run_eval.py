"""Evaluates one checkpoint with and without triggers.

    python run_eval.py --config configs/eval.py --config.checkpoint=DIR

DIR is a stage folder of a run, a Hugging Face folder, a `.gguf` file, a model's name, or
`openai:MODEL@https://HOST/v1`, a model behind an OpenAI-compatible endpoint.
`configs/audit.py` asks whether a checkpoint is conditionally misaligned, and under what.
The same command run again draws nothing twice and pays for nothing twice.
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
    from condmis_jax.audit import Audit, run_audit
    from condmis_jax.config import build
    from condmis_jax.experiment import Evaluation, dry_run, run_evaluation

    values = config.resolved()
    if "training_data" in values:
        audit = build(Audit, values)
        if _DRY_RUN.value:
            print("\n".join(audit.plan()))
            return
        run_audit(audit, _WORKDIR.value or f"runs/{audit.name}")
        return
    evaluation = build(Evaluation, values)
    if _DRY_RUN.value:
        print("\n".join(dry_run(evaluation)))
        return
    run_evaluation(evaluation, _WORKDIR.value or f"runs/{evaluation.name}")


if __name__ == "__main__":
    config.run(main)
