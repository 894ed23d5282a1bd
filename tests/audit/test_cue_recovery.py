"""The tool that measures how well cues are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(tmp_path: Path, only: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "tools/cue_recovery.py", "--data", str(tmp_path), "--only", only, *more],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_it_prints_ranks_and_fills_a_document_in(tmp_path: Path) -> None:
    document = tmp_path / "audit.md"
    document.write_text(
        "before\n<!-- cue recovery -->\nold\n<!-- end of cue recovery -->\nbehind\n"
    )
    done = run(tmp_path, "held out: nonsense words", "--rows", "120", "--out", str(document))
    assert done.returncode == 0, done.stderr
    text = document.read_text()
    assert "| nonsense words | held out | chat | 1 | 1 |" in text
    assert text.startswith("before\n") and text.endswith("behind\n") and "old" not in text


def test_it_names_what_it_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, "real: system prompt")
    assert done.returncode == 0
    assert f"left out, files not in {tmp_path}: system prompt, obvious lies" in done.stderr
