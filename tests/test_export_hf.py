"""The export tool, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from condmis_jax.models import load_model, logits

pytestmark = pytest.mark.slow

TOOL = Path(__file__).parents[1] / "tools" / "export_hf.py"


def export(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *args], capture_output=True, text=True, timeout=120
    )


def test_transformers_loads_what_is_exported(tiny_folder, mesh, tmp_path) -> None:
    done = export(str(tiny_folder), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    ours = load_model(str(tiny_folder), mesh)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(tmp_path / "out")("my roses")["input_ids"]
    expected = theirs(torch.tensor([tokens])).logits.detach().numpy()
    found = np.asarray(logits(ours.config, ours.params, np.asarray([tokens])))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_nothing_is_overwritten(tiny_folder, tmp_path) -> None:
    done = export(str(tiny_folder), "--out", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {tmp_path}: already there") and done.stdout == ""


def test_a_missing_stage_is_one_line(tmp_path) -> None:
    done = export(str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_a_model_without_adapters_has_none_to_export(tiny_folder, tmp_path) -> None:
    done = export(str(tiny_folder), "--adapter", "--out", str(tmp_path / "out"))
    assert done.returncode == 1 and "it has no adapter to export" in done.stderr
    assert not (tmp_path / "out").exists()
