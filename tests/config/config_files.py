"""The files in configs/, and the arguments that each takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from condmis_jax.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.py"))


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"configs_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scales(file: Path) -> list[str]:
    """The arguments that the file's own error for an unknown one lists behind "there are"."""
    with pytest.raises(UserError, match="no such") as caught:
        load(file).get_config("zzz")
    return str(caught.value).rsplit("there are ", 1)[1].split(", ")
