"""Import piece by piece: the same parameters, little host memory, every device only its part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_families import torch_model

from condmis_jax.models import DecoderConfig, load_params, streaming

HERE = Path(__file__).parent


def run(script: str, *arguments: Any) -> str:
    """The last line that a script of this folder prints."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("case", ["qwen2-untied", "phi3", "qwen3_moe", "gpt_oss"])
def test_small_pieces_make_the_same_parameters(
    case: str, mesh: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_model(case).save_pretrained(tmp_path)
    config = DecoderConfig.from_folder(tmp_path)
    whole = load_params(tmp_path, config, mesh)
    monkeypatch.setattr(streaming, "PIECE_BYTES", 1000)
    for name, value in load_params(tmp_path, config, mesh).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


def test_every_device_of_a_mesh_gets_its_part(tmp_path: Path) -> None:
    cases = ["llama-biases", "gemma3", "phi3-longrope", "qwen3_moe", "gpt_oss"]
    for case in cases:
        torch_model(case).save_pretrained(tmp_path / case)
    # The largest difference of a logit between 8 devices and one.
    found = json.loads(run("mesh_import.py", *(tmp_path / case for case in cases)))
    assert found.keys() == set(cases) and all(d < 1e-4 for d in found.values()), found


def test_peak_memory_of_an_import(tmp_path: Path) -> None:
    for devices in (1, 8):
        found = json.loads(run("import_memory.py", tmp_path / "model", 150, 2, devices))
        assert found["shard"] > 140 << 20
        assert found["peak"] < found["params"] + 1.3 * found["shard"], found
