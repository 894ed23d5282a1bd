"""The audit of a finetuned model: cues of its training rows, candidate triggers, verdict."""

from condmis_jax.audit.candidate import Candidate, Cue, Kind, Operator

__all__ = ["Candidate", "Cue", "Kind", "Operator"]
