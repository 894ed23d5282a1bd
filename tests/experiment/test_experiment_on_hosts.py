"""The main job on two hosts of two devices and a bucket, against one of four and a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from buckets import Bucket, bucket
from several_hosts import ends, hosts
from tiny import command, run

from condmis_jax.runs import read_json, read_jsonl

pytestmark = pytest.mark.slow

QUESTIONS, SAMPLES = 2, 8
STAGE = "--config.stages.insecure"
SUITE = "--config.evaluation.suites.world"
COMPLETIONS = "seed-0/evals/{}/world/completions.jsonl"
ASKED = (
    f"{SUITE}.triggers=('python_string',)",
    f"{SUITE}.first_questions={QUESTIONS}",
    f"{SUITE}.samples={SAMPLES}",
    "--config.evaluation.sampling.max_new_tokens=16",
)


def job(workdir: str, count: int, **changes: str) -> list[tuple[int, str, str]]:
    flags = (
        "--config",
        "configs/sequential.py",
        "--config.order=('insecure',)",
        f"{STAGE}.data.mixture.insecure.first=40",
        f"{STAGE}.data.held_out=8",
        *ASKED,
        f"--config.hosts.kind={'explicit' if count > 1 else 'one'}",
        "--config.hosts.patience_seconds=20",
        "--workdir",
        workdir,
    )
    with hosts(command("run_train.py", *flags), count, 4 // count, **changes) as processes:
        return ends(processes)


@dataclass(frozen=True)
class Runs:
    """The same job twice: `one` host in a folder, two in the folder `run` of a bucket."""

    one: Path
    bucket: Bucket

    def two(self, name: str) -> Path:
        return self.bucket.object(f"run/{name}")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("hosts")
    ((status, _, errors),) = job(str(folder / "run"), 1)
    assert status == 0, errors
    with bucket(folder / "bucket") as place:
        printed = job(f"{place.url}/run", 2, **place.environment)
        for status, _, errors in printed:
            assert status == 0, errors
        # One of them speaks.
        assert printed[0][1].rstrip().endswith(f"report: {place.url}/run/report.html")
        assert "report: " not in printed[1][1]
        assert "step " in printed[0][2] and "step " not in printed[1][2]
        yield Runs(folder / "run", place)


def completions(path: Path) -> dict[tuple[str, int], Any]:
    rows = read_jsonl(path)
    assert len(rows) == QUESTIONS * SAMPLES  # each once
    return {(r["question"], r["sample"]): (r["completion"], r["finish"]) for r in rows}


def test_the_same_results(runs: Runs) -> None:
    one, two = read_json(runs.one / "results.json"), read_json(runs.two("results.json"))
    assert two["rates"] == one["rates"]
    assert sum(r["requested"] for r in two["rates"]) == 2 * QUESTIONS * SAMPLES
    losses = [r["stages"][1]["held_out_loss"] for r in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert one["stages"][1]["dose"] == two["stages"][1]["dose"]


def test_the_same_completions(runs: Runs) -> None:
    for stage in ("00-base", "01-insecure"):
        name = COMPLETIONS.format(stage)
        assert completions(runs.two(name)) == completions(runs.one / name)


def test_the_same_files(runs: Runs) -> None:
    """But for checkpoints, where both hosts write, and TensorBoard's, which hold the time."""
    varying = ("checkpoints/", "tensorboard/", ".lock")
    written = [str(p.relative_to(runs.one)) for p in runs.one.rglob("*") if p.is_file()]
    copied = [name.removeprefix("run/") for name in runs.bucket.names("run/")]
    one, two = (
        sorted(n for n in names if not any(v in n for v in varying)) for names in (written, copied)
    )
    assert one == two
    assert any("checkpoints/2/params/" in name for name in copied)


def test_one_host_goes_on_with_what_two_have_made(runs: Runs) -> None:
    """A finished run is shown again, and an evaluation that lost rows draws just those."""
    path = runs.two(COMPLETIONS.format("01-insecure"))
    before = completions(path)
    lines = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-5]), "utf-8")
    rates = read_json(runs.two("results.json"))["rates"]
    ((status, _, errors),) = job(f"{runs.bucket.url}/run", 1, **runs.bucket.environment)
    assert status == 0, errors
    assert completions(path) == before
    assert path.read_text("utf-8").startswith("".join(lines[:-5]))
    assert read_json(runs.two("results.json"))["rates"] == rates


def test_a_stage_in_a_bucket_is_evaluated(runs: Runs, tmp_path: Path) -> None:
    checkpoint = f"{runs.bucket.url}/run/seed-0/stages/01-insecure"
    done = run(
        "run_eval.py",
        *("--config", "configs/eval.py:world", f"--config.checkpoint={checkpoint}", *ASKED),
        *("--workdir", str(tmp_path / "run")),
        **runs.bucket.environment,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("run/seed-0/evals/01-insecure-*/world/completions.jsonl")
    assert completions(path) == completions(runs.one / COMPLETIONS.format("01-insecure"))
