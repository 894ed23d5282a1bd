"""What a result says about how it came about."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from condmis_jax.runs import digest, provenance


def test_versions_are_those_installed():
    found = provenance()
    assert found["python"] == platform.python_version()
    for package in ("jax", "flax", "orbax-checkpoint", "transformers"):
        assert found["versions"][package] == metadata.version(package)
    json.dumps(found)


def test_the_command_can_be_pasted(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_train.py", "--config.caption=two words"])
    assert provenance()["command"] == "python run_train.py '--config.caption=two words'"


def test_the_commit_is_that_of_the_checkout():
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True
    )
    git = provenance()["git"]
    assert git["commit"] == head.stdout.strip()
    assert isinstance(git["dirty"], bool)


def test_without_git_there_is_no_commit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance()["git"] is None


def test_a_digest_depends_on_values_and_not_on_the_order_of_keys():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    values = [{"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, [1, 2], [2, 1], [], None]
    assert len({digest(v) for v in values}) == len(values)
