"""Mesh, logical-to-mesh rules, several hosts, process-wide JAX settings."""

from condmis_jax.sharding.hosts import HostsSettings
from condmis_jax.sharding.mesh import (
    BATCH,
    RULES,
    MeshSettings,
    batch_sharding,
    batch_shards,
    constrain,
    constrain_to,
    make_mesh,
    replicated,
    vocabulary_axes,
    weight_sharding,
)

__all__ = [
    "BATCH",
    "RULES",
    "HostsSettings",
    "MeshSettings",
    "batch_sharding",
    "batch_shards",
    "constrain",
    "constrain_to",
    "make_mesh",
    "replicated",
    "vocabulary_axes",
    "weight_sharding",
]
