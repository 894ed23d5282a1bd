"""What a chat endpoint is asked and answers; plain data, no network."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

from condmis_jax.errors import UserError

LOOPBACK_KEY = "no-key"


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible chat endpoint. It holds the *name* of a key's variable, never a key.

    Attributes:
        base_url: usually ends in `/v1`; carries no user name, password, query or fragment.
        model: the model's name as the endpoint knows it.
        api_key_env: the environment variable that holds the key; "" for an endpoint without keys.
        max_concurrency: the most requests in flight at once.
        timeout_s: seconds that one try may take from first byte sent to last byte read.
        max_retries: tries after the first, for errors that may pass.
        backoff_s: seconds before the first retry; doubled for each further one.
        backoff_cap_s: the longest of these pauses, in seconds.
        where: the config section that errors point to.
    """

    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    max_concurrency: int = 16
    timeout_s: float = 60.0
    max_retries: int = 6
    backoff_s: float = 0.5
    backoff_cap_s: float = 30.0
    where: str = "judge"

    def __post_init__(self) -> None:
        parts = _split(self.base_url)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url must be an http(s) URL with a host, got {_safe(parts)}")
        if parts.username is not None or parts.password is not None:
            raise ValueError("base_url must not carry a user name or password: use api_key_env")
        if parts.query or parts.fragment:
            raise ValueError("base_url must not carry a query or fragment")
        if not self.model:
            raise ValueError("model must not be empty")
        if self.api_key_env and not _is_variable_name(self.api_key_env):
            # The value is not quoted: someone may have pasted the key itself.
            raise ValueError(
                "api_key_env must be the name of an environment variable (letters, digits, _), "
                "not a key"
            )
        for name, low in (("max_concurrency", 1), ("max_retries", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(f"{name} must be a whole number of at least {low}, got {value!r}")
        # `not >` refuses NaN as well.
        if not 0 < self.timeout_s < float("inf"):
            raise ValueError(
                f"timeout_s must be a positive number of seconds, got {self.timeout_s}"
            )
        if not 0 <= self.backoff_s <= self.backoff_cap_s < float("inf"):
            raise ValueError(
                f"expected 0 <= backoff_s <= backoff_cap_s, got {self.backoff_s} and "
                f"{self.backoff_cap_s}"
            )

    @property
    def is_loopback(self) -> bool:
        """Whether requests stay on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def identity(self) -> str:
        """The address without what cannot change an answer: `host:port/path`, in lower-case host.

        The port counts: two local servers may serve different weights under one model name.
        """
        parts = urlsplit(self.base_url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        return f"{parts.hostname}:{port}{parts.path.rstrip('/')}"

    def read_key(self) -> str:
        """The key from the environment.

        Raises:
            UserError: the variable is missing (and the endpoint is not on this machine), or its
                value cannot be sent. The message never contains the value.
        """
        key = os.environ.get(self.api_key_env, "").strip() if self.api_key_env else ""
        if not key:
            if self.is_loopback or not self.api_key_env:
                return LOOPBACK_KEY
            raise UserError(
                f"{self.where}.api_key_env: environment variable {self.api_key_env} is not set; "
                f"export it with the key for {self.base_url}"
            )
        # The HTTP library would quote an illegal header, key included, in its own error.
        if not (key.isascii() and key.isprintable()) or any(c.isspace() for c in key):
            raise UserError(
                f"{self.where}.api_key_env: environment variable {self.api_key_env} holds "
                "characters that a key cannot have (a space, a line break or a non-ASCII letter); "
                "export it again"
            )
        return key


@dataclass(frozen=True)
class ChatRequest:
    """One chat completion to ask for.

    Attributes:
        messages: `{"role", "content"}` mappings in order.
        max_tokens: the most tokens to generate.
        temperature: sampling temperature; 0 is greedy.
        logprobs: whether log-probabilities of the generated tokens are wanted.
        top_logprobs: how many alternatives of each token (0..20); only with `logprobs`.
        seed: sampling seed, None to send none.
        top_p: nucleus, None to send none.
    """

    messages: tuple[Mapping[str, str], ...]
    max_tokens: int
    temperature: float = 1.0
    logprobs: bool = False
    top_logprobs: int = 0
    seed: int | None = None
    top_p: float | None = None

    def to_body(self) -> dict[str, Any]:
        """The request's JSON fields, without the model."""
        body: dict[str, Any] = {
            "messages": [
                {name: _sendable(text) for name, text in m.items()} for m in self.messages
            ],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        if self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        if self.seed is not None:
            body["seed"] = self.seed
        if self.top_p is not None:
            body["top_p"] = self.top_p
        return body


@dataclass(frozen=True)
class ChatReply:
    """A finished call.

    Attributes:
        text: the answer; "" when the endpoint sent none.
        top_logprobs: token -> natural log-probability at the first generated position. A token
            that the endpoint listed twice is here once, with the probabilities added; tokens that
            spell the same number differently stay apart. None when the endpoint sent none.
        finish_reason: the endpoint's word: "stop", "length", "content_filter", ….
        model: the model that the endpoint says it used.
        usage: the endpoint's token counts.
    """

    text: str
    top_logprobs: Mapping[str, float] | None = None
    finish_reason: str = ""
    model: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChatFailure:
    """A call that gave no answer although the endpoint as a whole works.

    Attributes:
        kind: "blocked" by the endpoint's content filter, "rejected" as an invalid request (both
            would happen again), or "exhausted": every try met an error that may pass.
        detail: one line for a reader, free of keys.
        status: the last HTTP status, None when there was none.
    """

    kind: Literal["blocked", "rejected", "exhausted"]
    detail: str
    status: int | None = None


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - the property raises for a bad port
    except (ValueError, AttributeError):
        return None
    return parts


def _safe(parts: SplitResult | None) -> str:
    if parts is None:
        return "something else"
    return repr(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl())


def _sendable(text: str) -> str:
    # A lone surrogate, which a JSON escape can bring in, has no UTF-8 form: it becomes "?".
    return text.encode("utf-8", "replace").decode("utf-8")


def _is_variable_name(name: str) -> bool:
    return name.isascii() and name.isidentifier()
