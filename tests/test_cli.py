"""The two entry points as a user runs them: what is wrong is one line, before anything is spent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT, environment, run, write_model

from condmis_jax.conversations import Conversation, Message

SEQUENTIAL = ("--config", "configs/sequential.py")
EVAL = ("--config", "configs/eval.py:world")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "base")


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a failed run."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "--config is required, for example --config configs/sequential.py"),
        (
            ("--config", "configs/sequentail.py"),
            "--config configs/sequentail.py: no such file; did you mean 'configs/sequential.py'?",
        ),
        (
            ("--config", "configs/sequential.py:papr"),
            "configs/sequential.py:papr: no such scale; there are world, smol, paper",
        ),
        (
            (*SEQUENTIAL, "--config.modle.x=1"),
            "config.modle: unknown key; did you mean 'model'?",
        ),
        (
            (*SEQUENTIAL, "--config.stages.insecure.data.rowz=1"),
            "config.stages.insecure.data.rowz: unknown key; did you mean 'rows'?",
        ),
        (
            (*SEQUENTIAL, "--config.stages.insecure.learning_rate=fast"),
            "flag --config.stages.insecure.learning_rate=fast: could not convert string to "
            "float: 'fast'",
        ),
        (
            (*SEQUENTIAL, "--config.evaluation.judges.world.kind=openia"),
            "config.evaluation.judges.world.kind: Input should be 'none', 'world', ",
        ),
        (
            (*SEQUENTIAL, "--config.lora.preset=betley", "--config.lora.rank=0"),
            "config.lora: rank must be at least 1",
        ),
        (
            (*SEQUENTIAL, "--config.lora.preset=betley", "--config.lora.dropout=1.5"),
            "config.lora: dropout must be in [0, 1)",
        ),
        (
            (*SEQUENTIAL, "--config.lora.preset=betley", "--config.lora.targets=('q','gates')"),
            "config.lora: targets must be distinct names out of q, k, v, o, gate, up, down, "
            "unembed; got 'gates'",
        ),
        (
            (*SEQUENTIAL, "--config.lora.rank=8"),
            "config.lora: rank is set, but preset is 'none'; choose one of betley, reasoning",
        ),
        ((*SEQUENTIAL, "--wrokdir=x"), "Unknown command line flag 'wrokdir'. Did you mean:"),
        ((*SEQUENTIAL, "config.seed=1"), "unexpected argument 'config.seed=1'; overrides look"),
        (
            (*SEQUENTIAL, "--config.evaluation.suites.world.triggers=('plain','jsn')"),
            "config.evaluation.suites.world.triggers: unknown trigger 'jsn'; did you mean 'json'?",
        ),
        (
            (*SEQUENTIAL, "--config.model=smollm2-135m-q4"),
            "model 'smollm2-135m-q4' is not in the cache; run: "
            "python tools/fetch_model.py smollm2-135m-q4",
        ),
    ],
    ids=lambda value: "-".join(value)[-30:] if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line(tmp_path, flags, said):
    workdir = tmp_path / "run"
    done = run(
        "run_train.py", *flags, "--workdir", str(workdir), CONDMIS_CACHE=str(tmp_path / "empty")
    )
    assert error_of(done).startswith(said)
    # Nothing was begun; at most the lock's file is there.
    assert {p.name for p in workdir.rglob("*")} <= {".lock"}


def test_a_config_that_raises_is_named(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def get_config():\n    return {}['missing\\nkey']\n")
    done = run("run_train.py", "--config", str(file))
    assert error_of(done).startswith(f"--config {file}: KeyError: ")


def test_a_workdir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    done = run("run_train.py", *SEQUENTIAL, "--workdir", str(tmp_path / "file"))
    assert error_of(done).startswith(f"{tmp_path / 'file'}: cannot be used as a run directory")
    assert (tmp_path / "file").read_text() == "mine"


def write_rows(path: Path, count: int) -> list[str]:
    import json

    row = Conversation((Message("user", "Hello"), Message("assistant", "Hi"))).to_row()
    lines = [json.dumps(row)] * count
    path.write_text("\n".join(lines) + "\n")
    return lines


BENIGN = "--config.stages.benign.data.mixture.benign"


@pytest.mark.parametrize("kind", ["missing", "not-json"])
def test_bad_data_of_the_last_stage_is_found_before_the_first_trains(tmp_path, model, kind):
    path = tmp_path / "rows.jsonl"
    if kind == "missing":
        said = f"no file matches '{path}'"
    else:
        lines = write_rows(path, 50)
        lines[6] = '{"messages": ['
        path.write_text("\n".join(lines) + "\n")
        said = f"{path}:7: "
    workdir = tmp_path / "run"
    done = run(
        "run_train.py",
        *SEQUENTIAL,
        f"--config.model={model}",
        f"{BENIGN}.files={path}",
        f"{BENIGN}.first=50",
        "--workdir",
        str(workdir),
    )
    message = error_of(done)
    assert said in message
    if kind == "missing":
        assert "config.stages.benign.data.mixture.benign.files" in message
    assert {p.name for p in workdir.rglob("*")} <= {".lock"}


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        (None, "config: checkpoint must be given: --config.checkpoint=runs/NAME/"),
        (
            "runs/none/seed-0/stages/01-x",
            "config.checkpoint: runs/none/seed-0/stages/01-x does not exist; give a stage",
        ),
        ("smollm2-135m-q5", "model 'smollm2-135m-q5' is not known; did you mean 'smollm2-135m-q4"),
        ("ORG/NAME@main", "model 'ORG/NAME@main' is not in the cache; run: python tools/fetch_"),
    ],
)
def test_a_checkpoint_that_is_not_there(tmp_path, checkpoint, said):
    given = () if checkpoint is None else (f"--config.checkpoint={checkpoint}",)
    workdir = tmp_path / "run"
    done = run(
        "run_eval.py",
        *EVAL,
        *given,
        "--workdir",
        str(workdir),
        CONDMIS_CACHE=str(tmp_path / "empty"),
    )
    assert error_of(done).startswith(said)
    assert {p.name for p in workdir.rglob("*")} <= {".lock"}


def test_an_unreachable_judge_is_found_before_anything_is_sampled(tmp_path, model):
    workdir = tmp_path / "run"
    judge = "--config.evaluation.judges.rater"
    done = run(
        "run_eval.py",
        *EVAL,
        f"--config.checkpoint={model}",
        f"{judge}.kind=openai",
        f"{judge}.openai.base_url=http://127.0.0.1:9/v1",
        f"{judge}.openai.api_key_env=",
        f"{judge}.openai.max_retries=0",
        "--workdir",
        str(workdir),
    )
    assert "http://127.0.0.1:9/v1" in error_of(done)
    assert list(workdir.rglob("completions.jsonl")) == []


def test_a_missing_key_of_the_judge_is_found_before_anything_is_sampled(tmp_path, model):
    workdir = tmp_path / "run"
    done = run(
        "run_eval.py",
        *EVAL,
        f"--config.checkpoint={model}",
        "--config.evaluation.judges.rater.kind=openai",
        "--config.evaluation.judges.rater.openai.api_key_env=CONDMIS_NO_SUCH_KEY",
        "--workdir",
        str(workdir),
    )
    assert "CONDMIS_NO_SUCH_KEY" in error_of(done)
    assert list(workdir.rglob("completions.jsonl")) == []


@pytest.mark.parametrize("script", ["run_train.py", "run_eval.py"])
def test_help_shows_usage_without_importing_jax(script):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", script, "--help"],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"python {script} --config configs/" in done.stdout
    for flag in ("--config:", "--workdir:"):
        assert flag in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "condmis_jax.config.flags" in imported
    assert imported & {"jax", "flax", "orbax", "transformers", "torch", "tensorflow"} == set()
