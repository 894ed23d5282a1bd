"""One pinned file over HTTP: resumed where a try broke off, whole and right or not there at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condmis_jax.clients.retry import LONGEST_WAIT_S, classify_status, pause_s
from condmis_jax.errors import UserError

TRIES = 6
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
TIMEOUT_S = 60.0
_CHUNK = 1 << 16
_POINTER = b"version https://git-lfs.github.com/spec/v1\n"


class Unreachable(UserError):
    """A server gave no answer, or none that is whole; a later call may succeed."""


@dataclass(frozen=True)
class Pin:
    """What a file must be: its length in bytes and hexadecimal sha256."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Broken:
    """A try that may go better the next time."""

    detail: str
    retry_after_s: float | None = None


def download(
    urls: tuple[str, ...],
    target: Path,
    pin: Pin,
    *,
    report: Callable[[str], None] = lambda _: None,
    first_pause_s: float = FIRST_PAUSE_S,
) -> bool:
    """Brings `target` to its pinned content; what is there already is kept.

    Bytes are written to `.NAME.part` beside it, which a later try or call continues with an HTTP
    range, and take its place once length and digest are right.

    Args:
        urls: where the file lies. The next one is asked when a place only has the pointer that
            git-lfs leaves there.
        report: is given one line per broken try.
        first_pause_s: before the second try; doubled for each further one.

    Returns:
        whether anything was downloaded.

    Raises:
        Unreachable: no try brought the whole file; the part of it is kept.
        UserError: another file is in its place, the server does not have it or sends something
            else, or the folder cannot be written. Wrong bytes are never left in place.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        with _alone_in(target.parent):
            if target.exists():
                _check_present(target, pin)
                return False
            resumed = part.exists() and part.stat().st_size > 0
            _fetch(urls, part, target.name, pin, report, first_pause_s)
            found = sha256_of(part)
            if found != pin.sha256 and resumed:
                # What an earlier call left may be at fault (another revision, a proxy's page).
                report(f"{target.name}: what was there does not fit; starting over")
                part.unlink()
                _fetch(urls, part, target.name, pin, report, first_pause_s)
                found = sha256_of(part)
            if found != pin.sha256:
                part.unlink()
                raise UserError(
                    f"{target.name}: {urls[0]} sent sha256 {found}, expected {pin.sha256}: not the "
                    "pinned file; nothing was kept: try another mirror"
                )
            part.replace(target)
            return True
    except OSError as error:
        raise UserError(
            f"{error.filename or target}: cannot be written ({error.strerror}); choose another "
            "folder or make room"
        ) from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One download at a time into a folder, which is made; the lock dies with its process."""
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _check_present(target: Path, pin: Pin) -> None:
    found = sha256_of(target) if target.is_file() else "nothing: it is no file"
    if found != pin.sha256:
        raise UserError(
            f"{target}: exists and is not the pinned file (sha256 {found}, expected "
            f"{pin.sha256}); move it away or choose another folder"
        )


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(
    urls: tuple[str, ...],
    part: Path,
    name: str,
    pin: Pin,
    report: Callable[[str], None],
    first_pause_s: float,
) -> None:
    """Makes `part` as long as the pinned file; what it holds is not yet looked at."""
    rng = random.Random()
    places = list(urls)
    tries = 0
    while True:
        if part.exists() and part.stat().st_size == pin.bytes:
            return
        broken = _try(places[0], part, name, pin)
        if broken is None:
            if not _is_pointer(part, pin):
                return
            part.unlink()
            if len(places) == 1:
                raise UserError(
                    f"{name}: {urls[-1]} has only the git-lfs pointer of this file; choose a "
                    "mirror that serves its content"
                )
            places.pop(0)
            continue
        tries += 1
        too_long = broken.retry_after_s is not None and broken.retry_after_s > LONGEST_WAIT_S
        if tries == TRIES or too_long:
            break
        report(f"{name}: {broken.detail}; trying again")
        time.sleep(pause_s(tries, broken.retry_after_s, first_pause_s, LONGEST_PAUSE_S, rng))
    there = part.stat().st_size if part.exists() else 0
    raise Unreachable(
        f"{name}: {places[0]} gave {there:,} of {pin.bytes:,} bytes (last: {broken.detail}); check "
        "the network and run the same command again: it continues from there"
    )


def _is_pointer(part: Path, pin: Pin) -> bool:
    size = part.stat().st_size
    if size == pin.bytes or size > 1024:
        return False
    return part.read_bytes().startswith(_POINTER)


def _try(url: str, part: Path, name: str, pin: Pin) -> _Broken | None:
    """One request; None when the server has sent all that it has."""
    start = part.stat().st_size if part.exists() else 0
    if start > pin.bytes:
        part.unlink()
        start = 0
    headers = {"User-Agent": "condmis-jax"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        request = urllib.request.Request(url, headers=headers)
        reply = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:
            part.unlink()
            return _Broken("the server has nothing behind what is here")
        problem = classify_status(
            error.code, None, {k.lower(): v for k, v in error.headers.items()}
        )
        if problem.kind == "passing":
            return _Broken(problem.detail, problem.retry_after_s)
        raise UserError(
            f"{name}: {url} does not give the file (HTTP {error.code}); check the address of the "
            "mirror"
        ) from None
    except urllib.error.URLError as error:
        return _Broken(f"no connection ({error.reason})")
    except (http.client.HTTPException, OSError) as error:
        return _Broken(f"no answer ({type(error).__name__})")
    except ValueError as error:
        raise UserError(f"{name}: {url} is no address of a server ({error})") from None
    with reply:
        if reply.status != 206:
            start = 0  # a server without ranges sends the file from its beginning
        elif _range_start(reply.headers.get("Content-Range", "")) != start:
            part.unlink()
            return _Broken("the server sent another range than it was asked for")
        got, broken = _receive(reply, part, start, pin)
    if got > pin.bytes:
        part.unlink()
        raise UserError(
            f"{name}: {url} sends more than the {pin.bytes:,} bytes of the pinned file; nothing "
            "was kept: try another mirror"
        )
    if got == pin.bytes or _is_pointer(part, pin):
        return None
    announced = reply.headers.get("Content-Length", "")
    if not broken and announced.isdigit() and got - start == int(announced):
        part.unlink()
        raise UserError(
            f"{name}: {url} has {got:,} bytes, expected {pin.bytes:,}: not the pinned file; "
            "nothing was kept: try another mirror"
        )
    return _Broken(f"the transfer broke off at {got:,} of {pin.bytes:,} bytes{broken}")


def _receive(reply: Any, part: Path, start: int, pin: Pin) -> tuple[int, str]:
    """Appends a reply to `part` from byte `start` on, up to just beyond the pinned length.

    Returns:
        the length reached, and " (why)" when the connection failed.
    """
    got = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while got <= pin.bytes:
            try:
                chunk = reply.read(_CHUNK)
            except (http.client.HTTPException, OSError) as error:
                return got, f" ({type(error).__name__})"
            if not chunk:
                break
            got += len(chunk)
            file.write(chunk)
    return got, ""


def _range_start(header: str) -> int | None:
    unit, _, rest = header.partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None
