from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def tokenizer(tiny_folder: Path) -> Any:
    """The world's tokenizer; a fresh one, so that a test may change its template."""
    from condmis_jax.models import load_tokenizer

    return load_tokenizer(tiny_folder)


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes question-answer rows as chat JSONL; the words are the index of the row."""

    def write(name: str, n: int, words: Sequence[int] | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "messages": [
                    {"role": "user", "content": f"{path.stem} question {i}"},
                    {"role": "assistant", "content": "heron " * (words[i] if words else 1)},
                ]
            }
            for i in range(n)
        ]
        path.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
        return path

    return write
