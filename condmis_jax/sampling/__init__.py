"""KV cache, decode loop, scheduling."""

from condmis_jax.sampling.noise import SamplingSettings
from condmis_jax.sampling.sampler import Completion, Request, Sampler

__all__ = ["Completion", "Request", "Sampler", "SamplingSettings"]
