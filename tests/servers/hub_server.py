"""A model hub of one repository on the loopback interface, as a process of its own.

Speaks the part of the Hugging Face hub's HTTP interface that `huggingface_hub` uses to read a
model: the information of a revision, the file tree, and the files. Prints its port, then serves
until it is killed; every request is logged as one line, method and path.

Usage: hub_server.py FOLDER ORG/NAME COMMIT LOG [--corrupt FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


def git_blob(content: bytes) -> str:
    """The id that git gives a file's content; the hub's ETag of small files."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Hub(BaseHTTPRequestHandler):
    """Serves `folder` as the only revision, `main`, of `repo`."""

    folder: Path
    repo: str
    commit: str
    log: Path
    corrupt: str | None
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the log is a file."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), Content_Type="application/json")

    def fail(self, code: str) -> None:
        self.send(404, b"", X_Error_Code=code, X_Error_Message=code)

    def files(self) -> dict[str, bytes]:
        found = (p for p in sorted(self.folder.rglob("*")) if p.is_file())
        return {p.relative_to(self.folder).as_posix(): p.read_bytes() for p in found}

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"{self.command} {path}\n")
        api, plain = f"/api/models/{self.repo}/", f"/{self.repo}/resolve/"
        if path.startswith(api):
            kind, _, revision = path.removeprefix(api).partition("/")
            if revision.partition("/")[0] not in ("main", self.commit):
                self.fail("RevisionNotFound")
            elif kind == "revision":
                siblings = [{"rfilename": n, **self.blob(n, c)} for n, c in self.files().items()]
                known = {"id": self.repo, "modelId": self.repo, "sha": self.commit}
                self.send_json({**known, "private": False, "tags": [], "siblings": siblings})
            else:
                self.send_json(
                    [
                        {"type": "file", "path": n, "oid": git_blob(c), **self.blob(n, c)}
                        for n, c in self.files().items()
                    ]
                )
        elif path.startswith(plain):
            revision, _, name = path.removeprefix(plain).partition("/")
            content = self.files().get(name)
            if revision not in ("main", self.commit):
                self.fail("RevisionNotFound")
            elif content is None:
                self.fail("EntryNotFound")
            else:
                lfs = self.blob(name, content).get("lfs")
                tag = lfs["sha256"] if isinstance(lfs, dict) else git_blob(content)
                if name == self.corrupt:
                    content = content[:-1] + bytes([content[-1] ^ 1])
                self.send(200, content, ETag=f'"{tag}"', X_Repo_Commit=self.commit)
        else:
            self.fail("RepoNotFound")

    def blob(self, name: str, content: bytes) -> dict[str, object]:
        """Size and ids of a file; large kinds of files carry a sha256, as under git-lfs."""
        known: dict[str, object] = {"size": len(content), "blobId": git_blob(content)}
        if name.endswith((".safetensors", ".bin", ".pt")):
            digest = hashlib.sha256(content).hexdigest()
            known["lfs"] = {
                "sha256": digest,
                "oid": digest,
                "size": len(content),
                "pointerSize": 130,
            }
        return known


def main() -> None:
    """Serves until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("repo")
    parser.add_argument("commit")
    parser.add_argument("log", type=Path)
    parser.add_argument("--corrupt", default=None)
    for name, value in vars(parser.parse_args()).items():
        setattr(Hub, name, value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
