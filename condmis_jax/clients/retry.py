"""Which errors of a chat endpoint may pass, and how long to wait before the next try."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

LONGEST_WAIT_S = 300.0
"""A server that asks for more than this is treated as one that does not answer."""

_PASSING = frozenset({408, 409, 425, 429})
_REFUSES_ALL = frozenset({401, 402, 403, 404, 405, 407})
_BLOCK_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_MODEL_CODES = frozenset({"model_not_found", "invalid_model", "model_not_available"})


@dataclass(frozen=True)
class Problem:
    """What went wrong in one try.

    Attributes:
        kind: "passing" is worth another try; "blocked" and "rejected" concern this request only;
            "refused" concerns the key, the model or the address, hence every request.
        detail: one line; not yet free of keys.
        status: HTTP status, None when there was no response.
        retry_after_s: the pause that the server asked for, in seconds.
        reached: whether a server answered at all.
    """

    kind: Literal["passing", "blocked", "rejected", "refused"]
    detail: str
    status: int | None = None
    retry_after_s: float | None = None
    reached: bool = True


def classify_status(status: int, body: object, headers: Mapping[str, str]) -> Problem:
    """Judges an HTTP error response.

    Args:
        status: HTTP status, not 2xx.
        body: the parsed JSON body or its text; an `{"error": {…}}` wrapper is looked into.
        headers: response headers, case-insensitive.
    """
    error = body.get("error", body) if isinstance(body, Mapping) else body
    fields: Mapping[str, Any] = error if isinstance(error, Mapping) else {}
    codes = {str(fields.get("code")), str(fields.get("type"))}
    message = fields.get("message") if fields else error
    detail = f"HTTP {status}" + (f": {message}" if isinstance(message, str) and message else "")
    # Some gateways send their moderation verdict as a 403 with the reasons in `metadata`.
    metadata = fields.get("metadata")
    moderated = isinstance(metadata, Mapping) and "flagged_input" in metadata
    if 400 <= status < 500 and (codes & _BLOCK_CODES or moderated):
        return Problem("blocked", detail, status)
    # An empty account answers 429 as well, and no pause will fill it.
    if "insufficient_quota" in codes:
        return Problem("refused", detail, status)
    if status in _PASSING or status >= 500:
        return Problem("passing", detail, status, retry_after(headers))
    if status in _REFUSES_ALL or status < 400 or codes & _MODEL_CODES:
        return Problem("refused", detail, status)
    return Problem("rejected", detail, status)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """The pause of a `Retry-After` header in seconds (RFC 9110, 10.2.3: seconds or a date).

    Returns:
        None when the header is missing, unreadable or in the past.
    """
    text = (headers.get("retry-after") or "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            then = parsedate_to_datetime(text)
        except ValueError:
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        seconds = (then - (now or datetime.now(UTC))).total_seconds()
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def pause_s(
    tries: int, asked_s: float | None, first_s: float, cap_s: float, rng: random.Random
) -> float:
    """Seconds to wait after the `tries`-th failed try (1, 2, …).

    The pause doubles up to `cap_s` and is shortened by up to half at random, so that clients which
    failed together do not return together. A pause that the server asked for is never undercut.
    """
    # The exponent is bounded because 2.0**1024 overflows.
    own = min(cap_s, first_s * 2.0 ** min(tries - 1, 60)) * rng.uniform(0.5, 1.0)
    if asked_s is None:
        return own
    return max(own, asked_s + first_s * rng.uniform(0.0, 0.5))
