from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory, mesh: Any) -> tuple[Path, dict[str, Any]]:
    """The tiny stage trained without interruption: its folder and parameters."""
    import tiny_stage

    folder = tmp_path_factory.mktemp("unbroken")
    return folder, tiny_stage.run(folder, mesh)
