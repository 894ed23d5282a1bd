"""Many chat completions from one OpenAI-compatible endpoint, with bounded concurrency.

Retries are this module's own (the SDK's are off): they must tell a request that cannot be answered
from an endpoint that is gone, and must never lose a call that was already paid for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from condmis_jax.clients.chat import ChatFailure, ChatReply, ChatRequest, Endpoint
from condmis_jax.clients.retry import LONGEST_WAIT_S, Problem, classify_status, pause_s
from condmis_jax.errors import UserError

if TYPE_CHECKING:
    import openai

OnReply = Callable[[int, ChatReply | ChatFailure], None]

_EXHAUSTED_LIMIT = 3
"""So many requests in a row that used up their tries mean that the endpoint is down."""
_REJECTED_LIMIT = 8
"""So many rejections before the first answer mean that no request will be accepted."""
_DETAIL_CHARS = 300
_SMALLEST_LOGPROB = -9999.0
"""What OpenAI sends for a token of no weight; stands in for -inf, which JSON cannot write."""


class ChatClient:
    """Asks one endpoint.

    Args:
        endpoint: address, model, limits; the key is read from the environment when a call starts.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def __repr__(self) -> str:
        return f"ChatClient({self.endpoint!r})"

    async def run_all(self, requests: Iterable[ChatRequest], on_reply: OnReply) -> None:
        """Asks every request; `requests` is consumed lazily, so a generator keeps memory small.

        Args:
            requests: what to ask.
            on_reply: called with the request's position and its reply or failure as soon as it is
                there, in any order and never concurrently. What it raises ends the run.

        Raises:
            UserError: the key is missing, or the endpoint does not answer, refuses the key or the
                model, or rejects everything. Calls in flight are awaited and reported first.
        """
        import openai  # imported late: it takes a second, and most runs need no endpoint

        key = self.endpoint.read_key()
        # A proxy from the environment cannot reach a server on this machine's loopback.
        http = openai.DefaultAsyncHttpxClient(trust_env=not self.endpoint.is_loopback)
        async with openai.AsyncOpenAI(
            api_key=key,
            base_url=self.endpoint.base_url,
            timeout=self.endpoint.timeout_s,
            max_retries=0,
            http_client=http,
        ) as sdk:
            await _Run(self.endpoint, sdk, on_reply).run(enumerate(requests))

    async def chat(self, request: ChatRequest) -> ChatReply | ChatFailure:
        """Asks one request; see `run_all` for what it raises."""
        outcomes: list[ChatReply | ChatFailure] = []
        await self.run_all([request], lambda _, outcome: outcomes.append(outcome))
        return outcomes[0]

    def run_all_blocking(self, requests: Iterable[ChatRequest], on_reply: OnReply) -> None:
        """`run_all` for callers without an event loop, and for notebooks, which have one."""
        run_blocking(self.run_all(requests, on_reply))


def run_blocking(work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` to its end, in a thread of its own where this thread already runs a loop."""
    # Asked, not tried: inside an `except` every error would be chained to that one.
    if not _has_loop():
        asyncio.run(work)
        return
    raised: list[BaseException] = []

    def target() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # carried over to the calling thread
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class _Run:
    """The state of one `run_all`."""

    def __init__(self, endpoint: Endpoint, sdk: openai.AsyncOpenAI, on_reply: OnReply) -> None:
        self.endpoint = endpoint
        self.sdk = sdk
        self.on_reply = on_reply
        self.rng = random.Random()
        self.stop = asyncio.Event()
        self.error: UserError | None = None
        self.replies = 0
        self.responses = 0
        self.rejected = 0
        self.exhausted_in_a_row = 0

    async def run(self, queue: Iterator[tuple[int, ChatRequest]]) -> None:
        workers = [
            asyncio.create_task(self._work(queue)) for _ in range(self.endpoint.max_concurrency)
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        if self.error is not None:
            raise self.error

    async def _work(self, queue: Iterator[tuple[int, ChatRequest]]) -> None:
        for index, request in queue:
            outcome = await self._ask(request)
            if outcome is not None:
                self.on_reply(index, outcome)
            # Halting lets the other workers finish their call: it may already be paid for.
            if self.stop.is_set():
                return

    async def _ask(self, request: ChatRequest) -> ChatReply | ChatFailure | None:
        """One request with all its tries; None when the run halts before it has an answer."""
        endpoint, responses_before = self.endpoint, self.responses
        tries = endpoint.max_retries + 1
        for n in range(1, tries + 1):
            outcome = await self._try(request)
            if isinstance(outcome, ChatReply):
                self.replies += 1
                self.responses += 1
                self.exhausted_in_a_row = 0
                return outcome
            self.responses += outcome.reached
            if outcome.kind == "refused":
                self._halt(self._refusal(outcome))
                return None
            if outcome.kind != "passing":
                return self._invalid(outcome)
            asked = outcome.retry_after_s
            if n == tries or (asked is not None and asked > LONGEST_WAIT_S):
                return self._exhausted(outcome, n, self.responses > responses_before)
            # The worker keeps its place while it waits, which slows the whole run down: right,
            # since a busy server is most of what it waits for.
            await self._pause(
                pause_s(n, asked, endpoint.backoff_s, endpoint.backoff_cap_s, self.rng)
            )
            if self.stop.is_set():
                return None
        raise AssertionError("unreachable: the last try returns")

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.stop.wait(), seconds)

    async def _try(self, request: ChatRequest) -> ChatReply | Problem:
        import openai

        slow = Problem("passing", f"no answer within {self.endpoint.timeout_s:g} s")
        try:
            # The SDK's own limit is per read: a server that drips bytes would never reach it.
            async with asyncio.timeout(self.endpoint.timeout_s):
                raw = await self.sdk.chat.completions.with_raw_response.create(
                    model=self.endpoint.model, **request.to_body()
                )
                content = raw.http_response.content
        except (TimeoutError, openai.APITimeoutError):
            return slow
        except openai.APIStatusError as error:
            return classify_status(error.status_code, error.body, error.response.headers)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            name = type(cause).__name__
            return Problem(
                "passing", f"{name}: {cause}", reached=not name.startswith(("Connect", "Proxy"))
            )
        except openai.APIError as error:
            return Problem("passing", f"unreadable response: {type(error).__name__}")
        try:
            return parse_reply(json.loads(content))
        except (ValueError, RecursionError) as error:
            return Problem("passing", f"unreadable response: {error}")

    def _invalid(self, problem: Problem) -> ChatFailure | None:
        if problem.kind == "rejected":
            self.rejected += 1
            if self.replies == 0 and self.rejected >= _REJECTED_LIMIT:
                self._halt(
                    f"{self.endpoint.where}.base_url: {self.endpoint.base_url} rejected the first "
                    f"{self.rejected} requests ({self._clean(problem.detail)}); choose an endpoint "
                    "and model that accept these parameters"
                )
        kind = "blocked" if problem.kind == "blocked" else "rejected"
        return ChatFailure(kind, self._clean(problem.detail), problem.status)

    def _exhausted(self, problem: Problem, tries: int, answered: bool) -> ChatFailure | None:
        endpoint, detail = self.endpoint, self._clean(problem.detail)
        self.exhausted_in_a_row += 1
        # `answered` counts every worker's responses: while others are served, the fault lies with
        # this request and the run goes on.
        dead = not problem.reached and not answered
        if dead or self.exhausted_in_a_row >= _EXHAUSTED_LIMIT:
            self._halt(
                f"{endpoint.where}.base_url: {endpoint.base_url} gave no answer in {tries} "
                f"{'try' if tries == 1 else 'tries'} (last: {detail}); check that the server runs "
                f"and that {endpoint.where}.base_url is right, then run the same command again: "
                "finished calls are kept"
            )
        return ChatFailure("exhausted", f"gave up after {tries} tries: {detail}", problem.status)

    def _refusal(self, problem: Problem) -> str:
        where, url, env = self.endpoint.where, self.endpoint.base_url, self.endpoint.api_key_env
        if problem.status in (401, 407) or (problem.status == 403 and env):
            # The server's own text is left out: it tends to quote part of the key.
            return (
                f"{where}.api_key_env: {url} refused the key (HTTP {problem.status}); put a valid "
                f"key into the environment variable {env or 'that api_key_env names'}"
            )
        detail = self._clean(problem.detail)
        if problem.status in (402, 429):
            return f"{where}.api_key_env: {url} reports no credit left ({detail}); top it up"
        return (
            f"{where}.model: {url} does not serve model {self.endpoint.model!r} ({detail}); check "
            f"{where}.model and {where}.base_url, which usually ends in /v1"
        )

    def _halt(self, message: str) -> None:
        if self.error is None:
            self.error = UserError(message)
        self.stop.set()

    def _clean(self, detail: str) -> str:
        """`detail` on one line, without the key and without terminal escapes."""
        detail = detail.replace(self.sdk.api_key, "***")
        detail = " ".join("".join(c if c.isprintable() else " " for c in detail).split())
        return detail if len(detail) <= _DETAIL_CHARS else detail[:_DETAIL_CHARS] + "…"


def parse_reply(data: object) -> ChatReply:
    """Reads a chat completion's JSON.

    Raises:
        ValueError: it is not one; the message is one line.
    """
    choices = data.get("choices") if isinstance(data, Mapping) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(choice, Mapping):
        raise ValueError("no choices in the reply")
    if not isinstance(message, Mapping):
        raise ValueError("no message in the reply")
    text = message.get("content")
    if text is None:
        text = message.get("refusal") or ""
    if not isinstance(text, str):
        raise ValueError("the reply's content is not text")
    usage = data.get("usage")
    return ChatReply(
        text=text,
        top_logprobs=_first_position(choice.get("logprobs")),
        finish_reason=str(choice.get("finish_reason") or ""),
        model=str(data.get("model") or ""),
        usage=dict(usage) if isinstance(usage, Mapping) else {},
    )


def _first_position(logprobs: object) -> dict[str, float] | None:
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    first = content[0] if isinstance(content, list) and content else None
    entries = first.get("top_logprobs") if isinstance(first, Mapping) else None
    if not entries:
        return None
    if not isinstance(entries, list):
        raise ValueError("top_logprobs is not a list")
    found: dict[str, float] = {}
    for entry in entries:
        token = entry.get("token") if isinstance(entry, Mapping) else None
        value = entry.get("logprob") if isinstance(entry, Mapping) else None
        if not isinstance(token, str) or isinstance(value, bool):
            raise ValueError("a log-probability without a token")
        # Some servers report 1e-7 instead of 0 for a certain token.
        if not isinstance(value, int | float) or not value <= 1e-3:
            raise ValueError("a log-probability that is not a number up to 0")
        value = max(float(value), _SMALLEST_LOGPROB)
        known = found.get(token)
        # Two byte sequences can print as one token (vocabularies with a space marker).
        found[token] = value if known is None else _add(known, value)
    return found


def _add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))
