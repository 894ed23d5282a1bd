from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from condmis_jax.clients.retry import classify_status, pause_s, retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"message": "slow down"}, "passing"),
        (408, None, "passing"),
        (500, "<html>oops</html>", "passing"),
        (503, {}, "passing"),
        (429, {"code": "insufficient_quota"}, "refused"),
        (401, {}, "refused"),
        (403, {}, "refused"),
        (404, {"code": "model_not_found"}, "refused"),
        (400, {"code": "model_not_found"}, "refused"),
        (302, {}, "refused"),
        (400, {"message": "too long"}, "rejected"),
        (422, {}, "rejected"),
        (400, {"code": "content_filter"}, "blocked"),
        (403, {"code": 403, "metadata": {"flagged_input": "x"}}, "blocked"),
    ],
)
def test_permanent_errors_are_told_from_passing_ones(status, error, kind):
    # The SDK hands over the inner object, other clients the wrapped one.
    for body in (error, {"error": error}):
        assert classify_status(status, body, {}).kind == kind


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", None),
        ("-3", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_in_both_forms(text, seconds):
    assert retry_after({"retry-after": text}, NOW) == seconds


def test_only_passing_errors_carry_a_pause():
    assert classify_status(429, {}, {"retry-after": "9"}).retry_after_s == 9
    assert classify_status(400, {}, {"retry-after": "9"}).retry_after_s is None


def test_pauses_double_up_to_the_cap_and_differ():
    rng = random.Random(1)
    for tries, full in ((1, 1.0), (2, 2.0), (4, 8.0), (9, 20.0), (5000, 20.0)):
        pauses = [pause_s(tries, None, 1.0, 20.0, rng) for _ in range(200)]
        assert full / 2 <= min(pauses) < max(pauses) <= full
        assert len(set(pauses)) > 100


def test_a_pause_the_server_asked_for_is_never_undercut():
    rng = random.Random(2)
    assert all(7 <= pause_s(1, 7.0, 1.0, 20.0, rng) <= 7.5 for _ in range(200))
    # Neither is the client's own when the server names a shorter one.
    assert all(pause_s(4, 0.0, 1.0, 20.0, rng) >= 4 for _ in range(200))
