"""Buckets on loopback: the part of Google Cloud Storage's API that gcsfs and TensorStore use.

bucket_server.py FOLDER      prints its port; an object is a file FOLDER/BUCKET/QUOTED-NAME
"""

from __future__ import annotations

import json
import re
import sys
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

LOCK = threading.Lock()
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
UPLOADS: dict[str, tuple[str, str, bytearray]] = {}


def path_of(bucket: str, name: str) -> Path:
    return FOLDER / bucket / quote(name, safe="")


def about(bucket: str, name: str) -> dict[str, Any]:
    found = path_of(bucket, name).stat()
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "size": str(found.st_size),
        "generation": str(found.st_mtime_ns),
        "metageneration": "1",
        "updated": "2026-01-01T00:00:00.000Z",
        "timeCreated": "2026-01-01T00:00:00.000Z",
    }


def names(bucket: str) -> list[str]:
    folder = FOLDER / bucket
    return sorted(unquote(p.name) for p in folder.iterdir()) if folder.is_dir() else []


def store(bucket: str, name: str, content: bytes) -> dict[str, Any]:
    path = path_of(bucket, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return about(bucket, name)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_json(self, value: Any, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def missing(self) -> None:
        self.answer_json({"error": {"code": 404, "message": "Not Found"}}, 404)

    def route(self) -> tuple[str, str, str, dict[str, str]]:
        """What is asked: upload, batch, object, bucket or list; bucket, object, query."""
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        match = re.fullmatch(r"(/upload|/download)?/storage/v1/b/([^/]+)(/o(?:/(.*))?)?", url.path)
        if match is None:
            return "other", "", "", query
        kind = {"/upload": "upload"}.get(match[1] or "", "")
        if not kind:
            kind = "bucket" if not match[3] else "object" if match[4] else "list"
        return kind, match[2], unquote(match[4] or ""), query

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        kind, bucket, name, query = self.route()
        with LOCK:
            if kind == "bucket":
                return self.answer_json({"name": bucket, "kind": "storage#bucket"})
            if kind == "list":
                return self.answer_json(self.listed(bucket, query))
            path = path_of(bucket, name)
            if kind != "object" or not path.exists():
                return self.missing()
            facts, content = about(bucket, name), path.read_bytes()
        if query.get("alt") != "media":
            return self.answer_json(facts)
        headers = {"x_goog_generation": facts["generation"], "Content_Type": "application/x"}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return self.answer(200, content, **headers)
        size = len(content)
        if not wanted[1]:
            first, last = max(0, size - int(wanted[2])), size - 1
        else:
            first, last = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1)
        if first >= size:
            return self.answer(416)
        headers["Content_Range"] = f"bytes {first}-{last}/{size}"
        return self.answer(206, content[first : last + 1], **headers)

    def listed(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset", "")
        items, prefixes = [], set()
        for name in names(bucket):
            if not name.startswith(prefix) or name < start or (end and name >= end):
                continue
            rest = name[len(prefix) :]
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                items.append(about(bucket, name))
        most = int(query.get("maxResults", len(items) + len(prefixes)))
        return {"kind": "storage#objects", "items": items[:most], "prefixes": sorted(prefixes)}

    def do_POST(self) -> None:
        kind, bucket, name, query = self.route()
        body = self.body()
        with LOCK:
            if "upload_id" in query:
                return self.part(query["upload_id"], body)
            if kind == "upload" and query["uploadType"] == "media":
                path = path_of(bucket, query["name"])
                if query.get("ifGenerationMatch") == "0" and path.exists():
                    return self.answer_json({"error": {"code": 412}}, 412)
                return self.answer_json(store(bucket, query["name"], body))
            if kind == "upload" and query["uploadType"] == "multipart":
                head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
                facts, content = message_from_bytes(head + body).get_payload()
                named = json.loads(facts.get_payload(decode=True))["name"]
                return self.answer_json(store(bucket, named, content.get_payload(decode=True)))
            if kind == "upload":
                key = str(len(UPLOADS))
                UPLOADS[key] = bucket, json.loads(body)["name"], bytearray()
                place = (
                    f"http://{self.headers['Host']}/upload/storage/v1/b/{bucket}/o?upload_id={key}"
                )
                return self.answer(200, Location=place)
            if kind == "object" and (
                match := re.fullmatch(r"(.*)/(?:rewriteTo|copyTo)/b/([^/]+)/o/(.*)", name)
            ):
                source = path_of(bucket, match[1])
                if not source.exists():
                    return self.missing()
                copy = store(match[2], match[3], source.read_bytes())
                return self.answer_json({"done": True, "resource": copy, **copy})
            if urlsplit(self.path).path.startswith("/batch"):
                return self.batch(body)
        return self.missing()

    def batch(self, body: bytes) -> None:
        """Deletions, all at once."""
        parts = []
        for line in re.findall(rb"DELETE (\S+) HTTP/1.1", body):
            match = re.search(r"/b/([^/]+)/o/([^?]+)", line.decode())
            assert match
            path = path_of(match[1], unquote(match[2]))
            status = "204 No Content" if path.exists() else "404 Not Found"
            path.unlink(missing_ok=True)
            parts.append(
                "--batch\r\nContent-Type: application/http\r\n"
                f"Content-ID: <response-{len(parts) + 1}>\r\n\r\nHTTP/1.1 {status}\r\n"
                "Content-Length: 0\r\n\r\n\r\n"
            )
        text = "".join(parts) + "--batch--\r\n"
        self.answer(200, text.encode(), Content_Type="multipart/mixed; boundary=batch")

    def part(self, upload: str, body: bytes) -> None:
        """A part of a resumable upload; the last one says how many bytes there are in all."""
        bucket, name, held = UPLOADS[upload]
        held += body
        if self.headers.get("Content-Range", "").endswith("/*"):
            return self.answer(308, Range=f"bytes=0-{len(held) - 1}")
        return self.answer_json(store(bucket, name, bytes(held)))

    def do_PUT(self) -> None:
        *_, query = self.route()
        body = self.body()
        with LOCK:
            self.part(query["upload_id"], body)

    def do_DELETE(self) -> None:
        _, bucket, name, _ = self.route()
        with LOCK:
            if not path_of(bucket, name).exists():
                return self.missing()
            path_of(bucket, name).unlink()
        return self.answer(204)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()
