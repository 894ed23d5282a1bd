"""Mesh, logical-to-mesh rules, process-wide JAX settings."""

from condmis_jax.sharding.mesh import (
    BATCH,
    RULES,
    MeshSettings,
    batch_sharding,
    batch_shards,
    make_mesh,
    replicated,
    weight_sharding,
)

__all__ = [
    "BATCH",
    "RULES",
    "MeshSettings",
    "batch_sharding",
    "batch_shards",
    "make_mesh",
    "replicated",
    "weight_sharding",
]
