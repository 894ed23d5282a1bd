"""Files of a folder over HTTP on the loopback interface, with faults, as a process of its own.

Prints its port, then serves until it is killed; every request is logged as one JSON line.

Usage: file_server.py FOLDER LOG [--fault NAME] [--times N]
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

FAULTS = (
    "",
    "drop",  # the connection ends half-way through what is left
    "truncate",  # the file is shorter than it should be, and says so
    "corrupt",  # one bit of the last byte is wrong
    "long",  # a byte more than it should be
    "no-ranges",  # ranges are ignored, and the connection drops
    "other-range",  # a range that was not asked for
    "busy",  # HTTP 503
)


class Files(BaseHTTPRequestHandler):
    """Serves `folder`; the first `times` requests meet the fault (a negative number: all)."""

    folder: Path
    log: Path
    fault: str
    times: int
    lock = threading.Lock()
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the log is a file."""

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        path = unquote(urlsplit(self.path).path)
        with Files.lock:
            fault = self.fault if Files.times != 0 else ""
            Files.times -= 1
            with self.log.open("a", encoding="utf-8") as log:
                log.write(json.dumps({"path": path, "range": wanted, "fault": fault}) + "\n")
        file = self.folder / path.lstrip("/")
        if fault == "busy":
            return self.answer(503, b"")
        if not file.is_file():
            return self.answer(404, b"no such file")
        content = file.read_bytes()
        if fault == "truncate":
            content = content[: len(content) // 2]
        elif fault == "corrupt":
            content = content[:-1] + bytes([content[-1] ^ 1])
        elif fault == "long":
            content += b"x"
        start, status = 0, 200
        if wanted and fault != "no-ranges":
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                return self.answer(416, b"")
        if fault == "other-range":
            start += 1
        rest = content[start:]
        span = f"bytes {start}-{len(content) - 1}/{len(content)}" if status == 206 else None
        cut = len(rest) // 2 if fault in ("drop", "no-ranges") else len(rest)
        return self.answer(status, rest, span, cut)

    def answer(self, status: int, body: bytes, span: str | None = None, cut: int = -1) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        self.wfile.write(body if cut < 0 else body[:cut])
        self.wfile.flush()
        if 0 <= cut < len(body):
            self.close_connection = True


def main() -> None:
    """Serves until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--fault", default="", choices=FAULTS)
    parser.add_argument("--times", type=int, default=-1, help="requests that meet the fault")
    for name, value in vars(parser.parse_args()).items():
        setattr(Files, name, value)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
