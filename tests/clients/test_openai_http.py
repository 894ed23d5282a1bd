"""The client against a real server process on loopback."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import traceback

import pytest
from serving import MODEL

from condmis_jax.clients import ChatClient, ChatFailure, ChatReply, ChatRequest, Endpoint
from condmis_jax.clients.openai_http import parse_reply, run_blocking
from condmis_jax.errors import UserError

SECRET = "sk-Sesame-Open-0123456789"


def endpoint(base_url: str, **changes) -> Endpoint:
    defaults = {"model": MODEL, "timeout_s": 60.0, "backoff_s": 0.001, "backoff_cap_s": 0.01}
    return Endpoint(base_url, **(defaults | changes))


def requests(n: int, text: str = "question {}") -> list[ChatRequest]:
    return [
        ChatRequest(({"role": "user", "content": text.format(i)},), 1, 0.0, True, 20)
        for i in range(n)
    ]


def ask(client: ChatClient, asked) -> dict[int, ChatReply | ChatFailure]:
    outcomes: dict[int, ChatReply | ChatFailure] = {}

    def on_reply(index, outcome):
        assert index not in outcomes
        outcomes[index] = outcome

    client.run_all_blocking(asked, on_reply)
    return outcomes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_replies_carry_the_distribution(start):
    server = start()
    outcomes = ask(ChatClient(endpoint(server.base_url)), requests(20))
    assert sorted(outcomes) == list(range(20))
    reply = outcomes[3]
    assert isinstance(reply, ChatReply)
    assert reply.model == f"{MODEL}-served"
    assert reply.finish_reason == "length"
    assert reply.usage["completion_tokens"] == 1
    assert reply.top_logprobs is not None
    assert math.exp(reply.top_logprobs[reply.text]) == pytest.approx(0.5)
    assert len(server.finished()) == 20


def test_faults_change_nothing_but_the_number_of_tries(start):
    calm = start()
    rough = start("--fault-rate", "0.3", "--faults", "429,500,503,garbage,drop", "--seed", "6")
    asked = requests(40)
    expected = ask(ChatClient(endpoint(calm.base_url)), asked)
    assert ask(ChatClient(endpoint(rough.base_url, max_retries=12)), asked) == expected
    faults = {call["status"] for call in rough.calls()} - {200}
    assert faults == {"429", "500", "503", "garbage", "drop"}
    assert len(rough.finished()) == 40


def test_a_hanging_call_is_given_up_and_asked_again(start):
    server = start("--fault-rate", "0.4", "--faults", "hang", "--hang", "30", "--seed", "1")
    client = ChatClient(endpoint(server.base_url, timeout_s=1.5, max_retries=12))
    outcomes = ask(client, requests(6))
    assert all(isinstance(outcome, ChatReply) for outcome in outcomes.values())
    assert any(call["status"] == "hang" for call in server.calls())


def test_tries_are_bounded_and_retry_after_is_waited_for(start, monkeypatch):
    server = start("--always", "429", "--retry-after", "7")
    pauses = []

    async def pause(self, seconds):
        pauses.append(seconds)

    monkeypatch.setattr("condmis_jax.clients.openai_http._Run._pause", pause)
    (outcome,) = ask(ChatClient(endpoint(server.base_url, max_retries=4)), requests(1)).values()
    assert isinstance(outcome, ChatFailure)
    assert (outcome.kind, outcome.status) == ("exhausted", 429)
    assert len(server.calls()) == 5
    assert len(pauses) == 4
    assert min(pauses) >= 7


def test_a_pause_of_an_hour_is_not_waited_for(start):
    server = start("--always", "429", "--retry-after", "3600")
    (outcome,) = ask(ChatClient(endpoint(server.base_url)), requests(1)).values()
    assert isinstance(outcome, ChatFailure)
    assert len(server.calls()) == 1


def test_an_endpoint_that_only_fails_ends_the_run(start):
    server = start("--always", "500")
    client = ChatClient(endpoint(server.base_url, max_retries=2, max_concurrency=2))
    with pytest.raises(UserError, match=r"^judge\.base_url: .*3 tries \(last: HTTP 500"):
        ask(client, requests(500))
    assert len(server.calls()) < 20


def test_requests_that_crash_the_server_do_not_end_the_run(start):
    server = start()
    # Never three in a row, but more than three in all.
    asked = (requests(2) + requests(2, "SAY_CRASH {}")) * 3
    client = ChatClient(endpoint(server.base_url, max_retries=1, max_concurrency=1))
    outcomes = ask(client, asked)
    failed = [i for i, outcome in outcomes.items() if isinstance(outcome, ChatFailure)]
    assert failed == [2, 3, 6, 7, 10, 11]
    assert len(outcomes) == 12


def test_a_proxy_does_not_stand_between_us_and_a_local_server(start, monkeypatch):
    server = start()
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    (outcome,) = ask(ChatClient(endpoint(server.base_url, max_retries=0)), requests(1)).values()
    assert isinstance(outcome, ChatReply)


def test_dead_endpoint_is_one_line(start):
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(UserError) as caught:
        ask(ChatClient(endpoint(url, max_retries=3, where="model")), requests(50))
    message = str(caught.value)
    assert message.startswith(f"model.base_url: {url} gave no answer in 4 tries")
    assert "\n" not in message
    # Nothing is chained behind it: SDK exceptions hold the request and with it the key.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_an_endpoint_that_dies_keeps_what_it_finished(start):
    server = start("--stop-after", "10")
    outcomes = {}
    client = ChatClient(endpoint(server.base_url, max_concurrency=2, max_retries=3))
    with pytest.raises(UserError, match="finished calls are kept"):
        client.run_all_blocking(requests(60), outcomes.__setitem__)
    good = [o for o in outcomes.values() if isinstance(o, ChatReply)]
    assert 10 <= len(good) <= len(server.finished()) < 60


def test_calls_in_flight_are_kept_when_another_is_refused(start, monkeypatch):
    server = start("--delay", "0.2")
    asked = requests(3)
    original = ChatRequest.to_body

    def to_body(self):
        body = original(self)
        # This one asks for a model that does not exist; its refusal comes at once.
        return body | {"extra_body": {"model": "other"}} if self is asked[2] else body

    monkeypatch.setattr(ChatRequest, "to_body", to_body)
    outcomes = {}
    with pytest.raises(UserError, match=r"judge\.model"):
        ChatClient(endpoint(server.base_url)).run_all_blocking(asked, outcomes.__setitem__)
    assert sorted(outcomes) == [0, 1]


def test_invalid_and_blocked_requests_fail_alone(start, monkeypatch):
    monkeypatch.setenv("CONDMIS_TEST_KEY", SECRET)
    server = start("--key", SECRET)
    asked = requests(2) + requests(1, "SAY_INVALID") + requests(1, "SAY_BLOCKED")
    outcomes = ask(ChatClient(endpoint(server.base_url, api_key_env="CONDMIS_TEST_KEY")), asked)
    assert isinstance(outcomes[0], ChatReply)
    invalid, blocked = outcomes[2], outcomes[3]
    assert isinstance(invalid, ChatFailure)
    assert isinstance(blocked, ChatFailure)
    assert (invalid.kind, invalid.status, blocked.kind) == ("rejected", 400, "blocked")
    # The server quotes the key and sends a terminal escape in a second line.
    assert invalid.detail == "HTTP 400: too long for key *** [31msecond line"


def test_an_endpoint_that_rejects_everything_ends_the_run(start):
    server = start()
    client = ChatClient(endpoint(server.base_url, max_concurrency=1))
    with pytest.raises(UserError, match="rejected the first 8 requests"):
        ask(client, requests(100, "SAY_INVALID {}"))


@pytest.mark.parametrize("flags", [("--key", "another"), ("--model", "another")])
def test_refusals_end_the_run_without_showing_the_key(start, monkeypatch, caplog, flags):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("CONDMIS_TEST_KEY", SECRET)
    client = ChatClient(endpoint(start(*flags).base_url, api_key_env="CONDMIS_TEST_KEY"))
    with pytest.raises(UserError) as caught:
        ask(client, requests(20))
    key = "api_key_env" if flags[0] == "--key" else "model"
    assert str(caught.value).startswith(f"judge.{key}: ")
    shown = "".join(traceback.format_exception(caught.value)) + repr(client) + caplog.text
    assert "Sesame" not in shown


def test_what_on_reply_raises_ends_the_run(start):
    def on_reply(index, outcome):
        raise UserError("disk full")

    with pytest.raises(UserError, match="disk full"):
        ChatClient(endpoint(start().base_url)).run_all_blocking(requests(30), on_reply)


def test_never_more_in_flight_than_asked_and_requests_are_drawn_lazily(start):
    drawn, done = [], []

    def source():
        for i, request in enumerate(requests(20)):
            drawn.append(i)
            assert len(drawn) - len(done) <= 3
            yield request

    client = ChatClient(endpoint(start().base_url, max_concurrency=3))
    client.run_all_blocking(source(), lambda i, _: done.append(i))
    assert len(done) == 20


def test_works_where_a_loop_is_running(start):
    client = ChatClient(endpoint(start().base_url))

    async def notebook():
        return ask(client, requests(2)), await client.chat(requests(1)[0])

    outcomes, reply = asyncio.run(notebook())
    assert outcomes[0] == reply


def test_errors_cross_from_the_helper_thread():
    async def fail():
        raise UserError("from the thread")

    async def notebook():
        run_blocking(fail())

    with pytest.raises(UserError, match="from the thread"):
        asyncio.run(notebook())


def test_text_that_utf8_cannot_write_is_sent(start):
    (outcome,) = ask(ChatClient(endpoint(start().base_url)), requests(1, "lone \ud800")).values()
    assert isinstance(outcome, ChatReply)


def completion(top, **message):
    logprobs = {"content": [{"token": "x", "logprob": 0.0, "top_logprobs": top}]}
    return {"choices": [{"message": {"content": "x"} | message, "logprobs": logprobs}]}


def test_a_token_listed_twice_adds_up():
    half = math.log(0.25)
    reply = parse_reply(
        completion(
            [
                {"token": "80", "logprob": half},
                {"token": "80", "logprob": half},
                {"token": "８０", "logprob": half},
                {"token": "never", "logprob": float("-inf")},
                {"token": "never", "logprob": -9999.0},
            ]
        )
    )
    assert reply.top_logprobs is not None
    assert math.exp(reply.top_logprobs["80"]) == pytest.approx(0.5, abs=1e-15)
    assert reply.top_logprobs["８０"] == half
    assert math.exp(reply.top_logprobs["never"]) == 0


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": {"content": 3}}]},
        completion([{"token": "8"}]),
        completion([{"token": 8, "logprob": -1}]),
        completion([{"token": "8", "logprob": True}]),
        completion([{"token": "8", "logprob": 0.7}]),
        completion([{"token": "8", "logprob": float("nan")}]),
    ],
)
def test_unreadable_replies_are_refused(data):
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        parse_reply(data)


def test_a_refusal_without_content_is_the_text():
    assert parse_reply(completion([], content=None, refusal="I cannot")).text == "I cannot"
    assert parse_reply(completion([])).top_logprobs is None
