"""ConfigDicts to frozen, validated dataclasses."""

from condmis_jax.config.convert import build, nearest

__all__ = ["build", "nearest"]
