"""Several hosts of a run, each a process of this machine with its own CPU devices."""

from __future__ import annotations

import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tiny import ROOT, environment, xla_flags

TIMEOUT = 240.0
Process = subprocess.Popen[str]


def free_port() -> int:
    """A port below those that the kernel gives to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def hosts(
    command: Sequence[str], count: int = 2, devices: int = 4, **changes: str
) -> Iterator[list[Process]]:
    """The same command as `count` processes of `devices` devices; none of them outlives the block.

    With one, it is alone and needs no coordinator. `changes` are of the environment.
    """
    coordinator = f"127.0.0.1:{free_port()}"
    changes["XLA_FLAGS"] = xla_flags(devices)
    processes: list[Process] = []
    try:
        for i in range(count):
            where = {
                "CONDMIS_COORDINATOR": coordinator,
                "CONDMIS_PROCESSES": str(count),
                "CONDMIS_PROCESS": str(i),
            }
            processes.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=environment(**changes, **(where if count > 1 else {})),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def ends(processes: Sequence[Process]) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each; fails when they have not ended in time."""
    found = []
    for process in processes:
        out, errors = process.communicate(timeout=TIMEOUT)
        found.append((process.returncode, out, errors))
    return found


def wait_for(reached: Callable[[], bool], processes: Sequence[Process]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not reached():
        for process in processes:
            assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
