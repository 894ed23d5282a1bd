"""Process-wide JAX settings that every entry point makes once."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def cache_folder() -> Path:
    """Where downloads and compiled programs are kept: $CONDMIS_CACHE or ~/.cache/condmis_jax."""
    return Path(os.environ.get("CONDMIS_CACHE") or Path.home() / ".cache" / "condmis_jax")


def setup() -> None:
    """Turns on the persistent compilation cache, so that a second run of anything starts quickly.

    A cache folder that JAX was already given (`JAX_COMPILATION_CACHE_DIR`) is kept.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
