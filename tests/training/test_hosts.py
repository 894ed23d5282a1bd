"""A stage on two hosts of four devices: as on one, through a kill, a stop, another number."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_stage
from several_hosts import ends, hosts, wait_for
from test_resume import metrics, saved
from tiny_stage import EVERY, HOSTS_STEPS

pytestmark = pytest.mark.slow


def command(folder: Path, kind: str = "explicit") -> list[str]:
    file = str(folder.with_suffix(".npz"))
    return [sys.executable, tiny_stage.__file__, "hosts", str(folder), kind, file]


def trained(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder.with_suffix(".npz")) as file:
        return dict(file)


def check_close(folder: Path, whole: Path) -> None:
    """The same parameters but for the order of additions, and every step once."""
    wanted, found = trained(whole), trained(folder)
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-6, err_msg=name)
    rows, same = metrics(folder), metrics(whole)
    assert [r["step"] for r in rows] == list(range(1, HOSTS_STEPS + 1))
    assert [r["tokens"] for r in rows] == [r["tokens"] for r in same]
    assert [r["loss"] for r in rows] == pytest.approx([r["loss"] for r in same], abs=1e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage on one host of eight devices, unbroken."""
    folder = tmp_path_factory.mktemp("whole") / "stage"
    with hosts(command(folder, "one"), count=1, devices=8) as processes:
        ((status, _, errors),) = ends(processes)
    assert status == 0, errors
    return folder


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage on two hosts: stopped by SIGTERM to one, resumed, and one of them killed."""
    folder = tmp_path_factory.mktemp("broken") / "stage"
    with hosts(command(folder)) as processes:
        wait_for(lambda: len(metrics(folder)) >= 1, processes)
        processes[1].send_signal(signal.SIGTERM)
        stopped = ends(processes)
    assert [status for status, _, _ in stopped] == [143, 143], stopped
    (done,) = saved(folder)[-1:]
    assert f"SIGTERM, saved at step {done}" in stopped[0][2]
    assert [r["step"] for r in metrics(folder)] == list(range(1, done + 1))
    assert done < HOSTS_STEPS
    # Every host has rows of its own, and together they have all.
    told = [json.loads(line) for _, out, _ in stopped for line in out.splitlines() if "own" in line]
    assert [t["all"] for t in told] == [8, 8]
    assert sorted(told[0]["own"] + told[1]["own"]) == list(range(8))
    assert len(told[0]["own"]) == len(told[1]["own"]) == 4

    with hosts(command(folder)) as processes:
        wait_for(lambda: len(metrics(folder)) > done, processes)
        processes[1].send_signal(signal.SIGKILL)
        (status, _, errors), killed = ends(processes)
    assert killed[0] == -signal.SIGKILL
    assert status not in (0, 143)
    last = errors.splitlines()[-1]
    assert last.startswith("error: ") and "another host of this run has gone" in last
    assert "Traceback" not in errors and "coordination_service" not in errors
    assert saved(folder)[-1] < HOSTS_STEPS
    return folder


def test_the_same_number_of_hosts_finishes(whole: Path, broken: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(broken, tmp_path / "stage"))
    with hosts(command(folder)) as processes:
        for status, _, errors in ends(processes):
            assert status == 0, errors
    check_close(folder, whole)
    assert saved(folder) == [HOSTS_STEPS - HOSTS_STEPS % EVERY, HOSTS_STEPS]


def test_another_number_of_hosts_finishes(whole: Path, broken: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(broken, tmp_path / "stage"))
    with hosts(command(folder, "one"), count=1, devices=8) as processes:
        ((status, _, errors),) = ends(processes)
    assert status == 0, errors
    check_close(folder, whole)
