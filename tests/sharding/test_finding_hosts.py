"""Finding the other hosts, and what is said when one is lost."""

from __future__ import annotations

import subprocess
import sys

import jax
import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.sharding import HostsSettings, MeshSettings, _last_words, make_mesh
from condmis_jax.sharding.hosts import StopTogether, joined, lost_host, own_shards, pieces


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "missing or not a number: 'CONDMIS_COORDINATOR'"),
        ({"COORDINATOR": "a:1", "PROCESSES": "two", "PROCESS": "0"}, "'two'"),
        ({"COORDINATOR": "a:1", "PROCESSES": "2", "PROCESS": "2"}, "PROCESS=2 is not one of 0..1"),
    ],
)
def test_an_environment_that_does_not_say_where_the_hosts_are(
    changes: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COORDINATOR", "PROCESSES", "PROCESS"):
        monkeypatch.delenv(f"CONDMIS_{name}", raising=False)
    for name, value in changes.items():
        monkeypatch.setenv(f"CONDMIS_{name}", value)
    with pytest.raises(UserError, match=said) as caught, joined(HostsSettings("explicit")):
        pass
    assert "\n" not in str(caught.value)


def test_one_host_is_all_of_them() -> None:
    with joined(HostsSettings()):
        mesh = make_mesh(MeshSettings(), jax.devices()[:1])
        assert own_shards(mesh) == (0,)
        assert StopTogether()(True) and not StopTogether()(False)
        assert lost_host(RuntimeError("UNAVAILABLE: connection reset by peer")) is None
        x = jax.numpy.arange(12.0).reshape(3, 4)
        assert np.array_equal(np.concatenate(list(pieces(x))), x)


FATAL = (
    "F1125 03:22:33.599 10830 client.h:80] Terminating process because the JAX distributed service "
    "detected fatal errors. This most likely indicates that another task died\n"
)
POLLED = "E1125 03:22:33.598 coordination_service_agent.cc:289] Polled an error.\n"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["step 1\n", POLLED, "1\n", FATAL, "  @ 0x55 main\n"], "step 1\nerror: {line}\n"),
        (["step 1\n", POLLED, "error: host 0: said\n", FATAL], "step 1\nerror: host 0: said\n"),
        (["F1125 1 a.cc:1] out of memory\n", "@ 0x1\n"], "F1125 1 a.cc:1] out of memory\n@ 0x1\n"),
        ([POLLED, "Traceback\n", "ValueError\n"], f"{POLLED}Traceback\nValueError\n"),
        (["no newline"], "no newline"),
    ],
)
def test_the_runtimes_last_words(written: list[str], read: str) -> None:
    """A process whose stderr is listened to ends as the runtime ends it."""
    child = (
        "import os, sys; from condmis_jax.sharding import _last_words; _last_words.listen();"
        "sys.stderr.write(sys.argv[1]); sys.stderr.flush(); os.abort()"
    )
    done = subprocess.run(
        [sys.executable, "-c", child, "".join(written)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode < 0
    line = f"{_last_words.LOST}; {_last_words.REMEDY}"
    assert done.stderr == read.format(line=line)
