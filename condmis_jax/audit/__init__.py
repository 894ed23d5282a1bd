"""The audit of a finetuned model: cues of its training rows, candidate triggers, verdict."""

from condmis_jax.audit.candidate import Candidate, Cue, Kind, Operator
from condmis_jax.audit.run import run_audit
from condmis_jax.audit.settings import Audit, ConfirmSettings

__all__ = ["Audit", "Candidate", "ConfirmSettings", "Cue", "Kind", "Operator", "run_audit"]
