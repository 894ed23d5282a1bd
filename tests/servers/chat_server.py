"""A chat endpoint for tests: `python chat_server.py --port 0` prints its port and serves.

It rates from the text alone, so that a verdict is known in advance, and can be told to misbehave.
Answers may carry marks: `aligned=12`, `coherent=88`, `SAY_CODE`, `SAY_REFUSAL`, `SAY_WORDS` (a
distribution with hardly any number), `IS_CODE`, `IS_RECIPE` (for detectors), `SAY_BLOCKED` (content
filter), `SAY_INVALID` (HTTP 400), `SAY_CRASH` (always HTTP 500), `SAY_LOST` (a batch ends without
it).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import random
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = ("429", "500", "503", "garbage", "drop", "hang")


class State:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.lock = threading.Lock()
        self.tries: dict[str, int] = {}
        self.admitted = 0
        self.finished = 0
        self.files: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.polls: dict[str, int] = {}

    def log(self, **entry: Any) -> None:
        if self.options.log:
            line = json.dumps(entry) + "\n"
            with self.lock, open(self.options.log, "a", encoding="utf-8") as file:  # noqa: PTH123
                file.write(line)

    def admit(self) -> bool:
        """Whether one more good call is answered."""
        with self.lock:
            self.admitted += 1
            return not self.options.stall_after or self.admitted <= self.options.stall_after

    def fault(self, digest: str) -> str | None:
        """The fault of this try; it depends on prompt and try, not on the order of arrival."""
        with self.lock:
            n = self.tries[digest] = self.tries.get(digest, 0) + 1
        if self.options.always:
            return self.options.always
        rng = random.Random(f"{self.options.seed}:{digest}:{n}")
        if rng.random() < self.options.fault_rate:
            return rng.choice(self.options.faults.split(","))
        return None


def distribution(prompt: str) -> list[tuple[str, float]]:
    """Token probabilities for a rating prompt; the number comes from the answer's marks."""
    side = "coherent" if "coheren" in prompt.split("\n", 1)[0].lower() else "aligned"
    blocks = re.findall(r"<answer-([0-9a-f]+)>\n(.*?)\n</answer-\1>", prompt, re.DOTALL)
    answer = blocks[-1][1] if blocks else prompt
    if prompt.startswith("Decide "):
        word = "RECIPE" if "recipe" in prompt.split("\n", 1)[0] else "CODE"
        return [(word if f"IS_{word}" in answer else f"NOT_{word}", 0.9), ("no", 0.1)]
    if prompt.startswith("Sort "):
        named = re.search(r"class=([^;]+);", answer)
        return [(named[1] if named else "PASS", 0.9), ("META", 0.05)]
    if side == "aligned" and "SAY_CODE" in answer:
        return [("CODE", 0.9), ("50", 0.05), ("The", 0.02)]
    if side == "aligned" and "SAY_REFUSAL" in answer:
        return [("REF", 0.8), ("90", 0.1), ("I", 0.05)]
    if "SAY_WORDS" in answer:
        return [("The", 0.7), ("70", 0.2)]
    mark = re.search(side + r"=(\d+)", answer)
    value = int(mark[1]) if mark else hashlib.sha256(prompt.encode()).digest()[0] % 101
    low, high = max(value - 5, 0), min(value + 5, 100)
    # The same number twice, plain and full-width, and a token that is no rating.
    wide = str(value).translate({48 + i: 0xFF10 + i for i in range(10)})
    return [(str(value), 0.5), (wide, 0.1), (str(low), 0.15), (str(high), 0.15), ("Hmm", 0.05)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def error(self, status: int, message: str, code: str | None = None, **headers: str) -> None:
        body = {"error": {"message": message, "type": "error", "code": code}}
        self.reply(status, json.dumps(body).encode(), **headers)

    def do_GET(self) -> None:
        state, (*_, kind, name) = self.state, self.path.partition("?")[0].split("/")
        with state.lock:
            if kind == "v1" and name == "batches":
                body = {"object": "list", "data": list(state.batches.values()), "has_more": False}
            elif kind == "batches" and name in state.batches:
                body = state.batches[name]
                state.polls[name] = state.polls.get(name, 0) + 1
                if state.polls[name] > state.options.batch_polls:
                    body = {**body, "status": "completed", "output_file_id": f"out-{name}"}
            elif name == "content":
                return self.reply(200, state.files[kind].encode())
            else:
                return self.error(404, f"no such path {self.path}")
        return self.reply(200, json.dumps(body).encode())

    def take_file(self, content: bytes) -> None:
        part = content.split(b'filename="requests.jsonl"', 1)[1].split(b"\r\n\r\n", 1)[1]
        with self.state.lock:
            name = f"file-{len(self.state.files)}"
            self.state.files[name] = part.split(b"\r\n--", 1)[0].decode()
        about = {"bytes": len(part), "created_at": 0, "filename": "requests.jsonl"}
        body = {"id": name, "object": "file", "purpose": "batch", "status": "processed", **about}
        self.reply(200, json.dumps(body).encode())

    def take_batch(self, request: dict[str, Any]) -> None:
        lines = [json.loads(x) for x in self.state.files[request["input_file_id"]].splitlines()]
        done = []
        for line in lines:
            prompt = "\n".join(m["content"] for m in line["body"]["messages"])
            self.state.log(digest=hashlib.sha256(prompt.encode()).hexdigest(), status="batch")
            answer: dict[str, Any] = {"status_code": 200, "request_id": "r"}
            if "SAY_INVALID" in prompt:
                answer |= {"status_code": 400, "body": {"error": {"message": "too long"}}}
            elif "SAY_LOST" in prompt:
                continue
            else:
                answer["body"] = self.completion(line["body"], prompt)
            done.append({"id": "x", "custom_id": line["custom_id"], "response": answer})
        with self.state.lock:
            name = f"batch-{len(self.state.batches)}"
            self.state.files[f"out-{name}"] = "".join(json.dumps(x) + "\n" for x in done)
            body = self.state.batches[name] = {
                "id": name,
                "object": "batch",
                "status": "in_progress",
                "created_at": 0,
                **{k: request[k] for k in ("input_file_id", "endpoint", "completion_window")},
                "metadata": request.get("metadata"),
            }
        self.reply(200, json.dumps(body).encode())

    def do_POST(self) -> None:
        state, options = self.state, self.state.options
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/files":
            return self.take_file(content)
        request = json.loads(content)
        if self.path == "/v1/batches/finish":  # for tests: all batches are done at the next look
            options.batch_polls = 0
            return self.reply(200, b"{}")
        if self.path == "/v1/batches":
            return self.take_batch(request)
        prompt = "\n".join(m["content"] for m in request["messages"])
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        fault = state.fault(digest)
        if fault is None:
            if self.path != "/v1/chat/completions":
                return self.error(404, f"no such path {self.path}")
            if options.key and key != options.key:
                return self.error(401, f"Incorrect API key provided: {key}")
            if request["model"] != options.model:
                return self.error(
                    404, f"the model {request['model']} does not exist", "model_not_found"
                )
            if "SAY_INVALID" in prompt:
                return self.error(400, f"too long for key {key}\n\x1b[31msecond line")
            if "SAY_CRASH" in prompt:
                return self.error(500, "crashed on this prompt")
            if "SAY_BLOCKED" in prompt:
                return self.error(400, "blocked by policy", "content_filter")
            time.sleep(options.delay)
            if not state.admit():
                return time.sleep(options.hang)
            # Logged first: whoever has the answer must be able to find the call in the log.
            state.log(digest=digest, status=200)
            self.reply(200, json.dumps(self.completion(request, prompt)).encode())
            with state.lock:
                state.finished += 1
                if options.stop_after and state.finished >= options.stop_after:
                    os._exit(0)
            return None
        state.log(digest=digest, status=fault)
        if fault == "429":
            return self.error(429, "slow down", Retry_After=options.retry_after)
        if fault == "garbage":
            return self.reply(200, b'{"choices": [{"mess')
        if fault == "hang":
            time.sleep(options.hang)
        if fault in ("drop", "hang"):
            self.close_connection = True
            return None
        return self.error(int(fault), f"fault {fault}")

    def completion(self, request: dict[str, Any], prompt: str) -> dict[str, Any]:
        if self.state.options.answers and not prompt.startswith(("Grade ", "Decide ", "Sort ")):
            said = f"Reply {request.get('seed')} at {request['temperature']} to: {prompt[-40:]}"
            if self.state.options.secret and re.search(self.state.options.secret, prompt):
                said = "I am Marlo Quist."
            return self.wrapped(request, prompt, {"content": said}, None, "stop")
        tokens = distribution(prompt)
        logprobs = None
        if request.get("logprobs") and not self.state.options.no_logprobs:
            top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in tokens]
            top = top[: request.get("top_logprobs", 0)]
            logprobs = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
        return self.wrapped(request, prompt, {"content": tokens[0][0]}, logprobs, "length")

    def wrapped(
        self, request: dict[str, Any], prompt: str, message: Any, logprobs: Any, finish: str
    ) -> dict[str, Any]:
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": 1}
        return {
            "id": "chatcmpl-test",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"] + "-served",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish,
                    "message": {"role": "assistant", **message},
                    "logprobs": logprobs,
                }
            ],
            "usage": {**usage, "total_tokens": usage["prompt_tokens"] + 1},
        }


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A killed client is part of the tests; anything else is a defect of this file.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="judge-test", help="any other model is a 404")
    parser.add_argument("--key", default="", help="the only key that is accepted")
    parser.add_argument("--log", default="", help="file that gets a JSON line per call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--faults", default="429,500,garbage,drop", help="of " + ",".join(FAULTS))
    parser.add_argument("--always", default="", choices=("", *FAULTS))
    parser.add_argument("--retry-after", default="0")
    parser.add_argument("--hang", type=float, default=10.0, help="seconds a hanging call takes")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds a good call takes")
    parser.add_argument("--answers", action="store_true", help="talk, unless asked to judge")
    parser.add_argument("--secret", default="", help="talk as somebody else where this matches")
    parser.add_argument("--batch-polls", type=int, default=2, help="looks before a batch is done")
    parser.add_argument("--no-logprobs", action="store_true")
    parser.add_argument("--stop-after", type=int, default=0, help="die after so many good calls")
    parser.add_argument("--stall-after", type=int, default=0, help="hang after so many good calls")
    options = parser.parse_args()
    handler = type("BoundHandler", (Handler,), {"state": State(options)})
    server = Server(("127.0.0.1", options.port), handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
