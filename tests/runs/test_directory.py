"""Locks and claims of run directories."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from condmis_jax.errors import UserError
from condmis_jax.runs import RunDirectory, claim, locked, read_json, stage_name

HOLD = """
import sys
from pathlib import Path
from condmis_jax.runs import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()


def test_a_second_process_is_told_who_works_there(holder, tmp_path):
    with pytest.raises(UserError) as caught, locked(tmp_path / "run"):
        pass
    assert f"process {holder.pid} is working in this run directory" in str(caught.value)
    assert "\n" not in str(caught.value)
    with locked(tmp_path / "another"):
        pass


def test_a_killed_holder_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / ".lock").read_text() == str(os.getpid())


def test_a_lock_ends_with_its_block(tmp_path):
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    with locked(tmp_path):
        pass


def test_a_file_is_no_run_directory(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(UserError, match="cannot be used as a run directory"),
        locked(tmp_path / "file"),
    ):
        pass


RECIPE = {"seed": 0, "stage": {"lr": 0.1, "betas": (0.9, 0.95), "mix": {"a": {"first": 3}}}}


def changed(**changes):
    return {**RECIPE, "stage": {**RECIPE["stage"], **changes}}


def test_the_same_recipe_goes_on(tmp_path):
    path = tmp_path / "deep" / "stage.json"
    claim(path, RECIPE)
    content = path.read_bytes()
    claim(path, RECIPE)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("recipe", "difference"),
    [
        (changed(lr=0.2), "stage.lr (0.1, now 0.2)"),
        (changed(betas=(0.9, 0.99)), "stage.betas[1] (0.95, now 0.99)"),
        (changed(mix={"a": {"first": 4}}), "stage.mix.a.first (3, now 4)"),
        (changed(new=1), "stage.new (None, now 1)"),
        (changed(mix={}), "stage.mix.a ({'first': 3}, now None)"),
        ({**changed(lr=0.2), "seed": 1}, "seed (0, now 1)"),
    ],
)
def test_another_recipe_is_refused_by_its_first_difference(tmp_path, recipe, difference):
    path = tmp_path / "stage.json"
    claim(path, RECIPE)
    with pytest.raises(UserError) as caught:
        claim(path, recipe)
    assert f"begun with another {difference};" in str(caught.value)
    assert read_json(path)["stage"]["lr"] == 0.1


def test_paths(tmp_path):
    run = RunDirectory(tmp_path)
    name = stage_name(1, "insecure")
    assert run.stage(3, name) == tmp_path / "seed-3" / "stages" / "01-insecure"
    assert run.evaluation(3, name, "world") == tmp_path / "seed-3/evals/01-insecure/world"
