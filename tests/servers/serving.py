"""Starts `chat_server.py` as a process of its own; for fixtures of the test rooms."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

MODEL = "judge-test"


@dataclass
class ChatServer:
    """A running server and its log."""

    port: int
    log: Path
    process: subprocess.Popen[str]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def calls(self) -> list[dict[str, Any]]:
        """All logged calls, finished and faulty; a last line still being written is left out."""
        text = self.log.read_text(encoding="utf-8") if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def finished(self) -> list[str]:
        """Prompt digests of the calls that were answered."""
        return [call["digest"] for call in self.calls() if call["status"] == 200]


@contextmanager
def serve(log: Path, *flags: str) -> Iterator[ChatServer]:
    """Runs a server with these flags until the block ends."""
    script = Path(__file__).with_name("chat_server.py")
    process = subprocess.Popen(
        [sys.executable, str(script), "--log", str(log), *flags],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.strip():
            raise RuntimeError(f"the chat server did not start (exit {process.wait()})")
        yield ChatServer(int(line), log, process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


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
