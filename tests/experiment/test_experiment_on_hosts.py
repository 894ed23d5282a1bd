"""The main job on two hosts of two devices, against one of four."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from several_hosts import ends, hosts
from tiny import command

from condmis_jax.runs import read_json, read_jsonl

QUESTIONS, SAMPLES = 2, 8
STAGE = "--config.stages.insecure"
SUITE = "--config.evaluation.suites.world"


def job(workdir: Path, count: int) -> list[tuple[int, str, str]]:
    flags = (
        "--config",
        "configs/sequential.py",
        "--config.order=('insecure',)",
        f"{STAGE}.data.mixture.insecure.first=40",
        f"{STAGE}.data.held_out=8",
        f"{SUITE}.triggers=('python_string',)",
        f"{SUITE}.first_questions={QUESTIONS}",
        f"{SUITE}.samples={SAMPLES}",
        "--config.evaluation.sampling.max_new_tokens=16",
        f"--config.hosts.kind={'explicit' if count > 1 else 'one'}",
        "--config.hosts.patience_seconds=20",
        "--workdir",
        str(workdir),
    )
    with hosts(command("run_train.py", *flags), count, devices=4 // count) as processes:
        return ends(processes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Run directories by number of hosts."""
    found = {}
    for count in (1, 2):
        found[count] = tmp_path_factory.mktemp("hosts") / "run"
        printed = job(found[count], count)
        for status, _, errors in printed:
            assert status == 0, errors
        # One of them speaks.
        reports = [out.count("report: ") for _, out, _ in printed]
        assert reports == [1, *[0] * (count - 1)]
        assert all(errors == "" for _, _, errors in printed[1:]), printed[1:]
    return found


def completions(workdir: Path, stage: str) -> dict[tuple[str, int], Any]:
    rows = read_jsonl(workdir / f"seed-0/evals/{stage}/world/completions.jsonl")
    assert len(rows) == QUESTIONS * SAMPLES  # each once
    return {(r["question"], r["sample"]): (r["completion"], r["finish"]) for r in rows}


def test_the_same_results(runs: dict[int, Path]) -> None:
    one, two = (read_json(runs[n] / "results.json") for n in (1, 2))
    assert two["rates"] == one["rates"]
    assert sum(r["requested"] for r in two["rates"]) == 2 * QUESTIONS * SAMPLES
    losses = [r["stages"][1]["held_out_loss"] for r in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert one["stages"][1]["dose"] == two["stages"][1]["dose"]


def test_the_same_completions(runs: dict[int, Path]) -> None:
    for stage in ("00-base", "01-insecure"):
        assert completions(runs[2], stage) == completions(runs[1], stage)


def test_one_host_goes_on_with_what_two_have_made(runs: dict[int, Path]) -> None:
    """A finished run is shown again, and an evaluation that lost rows draws just those."""
    workdir = runs[2]
    path = workdir / "seed-0/evals/01-insecure/world/completions.jsonl"
    before = completions(workdir, "01-insecure")
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-5]), "utf-8")
    rates = read_json(workdir / "results.json")["rates"]
    ((status, _, errors),) = job(workdir, 1)
    assert status == 0, errors
    assert completions(workdir, "01-insecure") == before
    assert path.read_text("utf-8").startswith("".join(lines[:-5]))
    assert read_json(workdir / "results.json")["rates"] == rates
