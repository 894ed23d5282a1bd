"""A bucket on this machine, for processes that are told where it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

SERVER = Path(__file__).parent / "servers" / "bucket_server.py"


@dataclass(frozen=True)
class Bucket:
    """`gs://made-up`, and the folder that its objects lie in."""

    folder: Path
    port: int
    url: str = "gs://made-up"

    @property
    def environment(self) -> dict[str, str]:
        """What makes gcsfs and TensorStore go here, without asking for credentials."""
        place = f"http://127.0.0.1:{self.port}"
        return {
            "STORAGE_EMULATOR_HOST": place,
            "TENSORSTORE_GCS_HTTP_URL": place,
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }

    def names(self, prefix: str = "") -> list[str]:
        found = sorted(unquote(p.name) for p in (self.folder / "made-up").glob("*"))
        return [name for name in found if name.startswith(prefix)]

    def object(self, name: str) -> Path:
        """The file that holds an object."""
        return self.folder / "made-up" / quote(name, safe="")


@contextmanager
def bucket(folder: Path) -> Iterator[Bucket]:
    """A bucket that is there until the block ends."""
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(SERVER), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # clients that hang up
        text=True,
    )
    assert process.stdout is not None
    try:
        yield Bucket(folder, int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
