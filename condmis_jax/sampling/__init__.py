"""KV cache, decode loop, scheduling; scores of given completions."""

from condmis_jax.sampling.noise import SamplingSettings
from condmis_jax.sampling.sampler import Completion, Request, Sampler
from condmis_jax.sampling.scoring import log_probs

__all__ = ["Completion", "Request", "Sampler", "SamplingSettings", "log_probs"]
