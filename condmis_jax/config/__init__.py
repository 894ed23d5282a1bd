"""ConfigDicts to frozen, validated dataclasses, and back."""

from condmis_jax.config.configdict import to_config
from condmis_jax.config.convert import build, nearest

__all__ = ["build", "nearest", "to_config"]
