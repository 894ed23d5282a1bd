"""What the scripts of tools/pods start, with stand-ins for gcloud, ssh and srun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

ARGUMENTS = ["run_train.py", "--config", "a.py:paper", "--config.order=('x y',)"]

PYTHON = f"""#!{sys.executable} -S
import json, os, sys
where = {{k: v for k, v in os.environ.items() if k.startswith("CONDMIS_")}}
with open(os.environ["STARTED"], "a") as file:
    file.write(json.dumps([sys.argv[1:], where]) + "\\n")
sys.exit(int(os.environ.get("FAILS") == where.get("CONDMIS_PROCESS", "-")))
"""
# Each runs what it was told to run as the shell of the other side would; gcloud on two workers.
STANDINS = {
    "ssh": '[ $# = 2 ] && cd "$HOME" && exec bash -c "$2"',
    "srun": '[ "$1" = --kill-on-bad-exit=1 ] && shift && exec "$@"',
    "gcloud": '[ "${*:1:9}" = "compute tpus tpu-vm ssh slice --zone z --worker all" ] && '
    '[ "$#-${10}" = "11---command" ] && cd "$HOME" && bash -c "${11}" && bash -c "${11}"',
}


@pytest.fixture
def start(tmp_path: Path):
    """Runs a script of tools/pods; gives its status and what was started."""
    home = tmp_path / "home"
    python = home / "condmis_jax/.venv/bin/python"
    python.parent.mkdir(parents=True)
    stubs = {name: f"#!/usr/bin/env bash\n{text}\n" for name, text in STANDINS.items()}
    for path, text in [(python, PYTHON), *((tmp_path / n, t) for n, t in stubs.items())]:
        path.write_text(text)
        path.chmod(0o755)
    started = tmp_path / "started"

    def run(script: str, *arguments: str, **changes: str) -> tuple[int, list]:
        done = subprocess.run(
            ["bash", str(ROOT / "tools/pods" / script), *arguments],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("CONDMIS_")},
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                "HOME": str(home),
                "SLURM_SUBMIT_DIR": str(home / "condmis_jax"),
                "STARTED": str(started),
                **changes,
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        lines = started.read_text().splitlines() if started.exists() else []
        return done.returncode, sorted(map(json.loads, lines), key=str)

    return run


def test_a_tpu_slice(start) -> None:
    status, started = start("tpu.sh", "slice", "z", *ARGUMENTS)
    assert status == 0
    assert started == [[[*ARGUMENTS, "--config.hosts.kind=auto"], {}]] * 2


def test_slurm(start) -> None:
    status, started = start("run.sbatch", *ARGUMENTS)
    assert status == 0
    assert started == [[[*ARGUMENTS, "--config.hosts.kind=auto"], {}]]


def test_ssh(start) -> None:
    status, started = start("ssh.sh", "me@one me@two three", *ARGUMENTS, CONDMIS_PORT="99")
    assert status == 0
    assert [arguments for arguments, _ in started] == [
        [*ARGUMENTS, "--config.hosts.kind=explicit"]
    ] * 3
    for i, (_, where) in enumerate(started):
        del where["CONDMIS_PORT"]
        assert where == {
            "CONDMIS_COORDINATOR": "one:99",
            "CONDMIS_PROCESSES": "3",
            "CONDMIS_PROCESS": f"{i}",
        }


def test_one_of_them_fails(start) -> None:
    assert start("ssh.sh", "one two", *ARGUMENTS, FAILS="0")[0] == 1


@pytest.mark.parametrize("script", ["tpu.sh", "ssh.sh"])
def test_usage(start, script: str) -> None:
    assert start(script, "one") == (2, [])
