from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))

from serving import ChatServer, serve  # noqa: E402


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ChatServer]]:
    """Starts chat servers with the given flags; all of them end with the test."""
    with ExitStack() as stack:
        started = 0

        def start_one(*flags: str) -> ChatServer:
            nonlocal started
            started += 1
            return stack.enter_context(serve(tmp_path / f"server-{started}.jsonl", *flags))

        yield start_one
