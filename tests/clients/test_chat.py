from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from condmis_jax.clients import ChatRequest, Endpoint
from condmis_jax.errors import UserError

SECRET = "sk-Sesame-Open-0123456789"


def remote(**changes) -> Endpoint:
    return Endpoint("https://api.example.org/v1", "m", "CONDMIS_TEST_KEY", **changes)


def test_import_does_not_import_openai():
    code = "import sys, condmis_jax.clients, condmis_jax.judges; print('openai' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_key_comes_from_the_environment_and_shows_nowhere(monkeypatch):
    monkeypatch.setenv("CONDMIS_TEST_KEY", f"  {SECRET}\n")
    endpoint = remote()
    assert endpoint.read_key() == SECRET
    assert SECRET not in repr(endpoint) + json.dumps(dataclasses.asdict(endpoint))


def test_missing_key(monkeypatch):
    monkeypatch.delenv("CONDMIS_TEST_KEY", raising=False)
    with pytest.raises(UserError, match=r"^judge\.api_key_env: .*CONDMIS_TEST_KEY is not set"):
        remote().read_key()
    assert remote(where="model").where == "model"
    for url in ("http://127.0.0.1:1/v1", "http://localhost:1/v1", "http://[::1]:1/v1"):
        assert dataclasses.replace(remote(), base_url=url).read_key()
    assert dataclasses.replace(remote(), api_key_env="").read_key()


@pytest.mark.parametrize("key", [f"{SECRET}\nx", f"{SECRET} x", f"{SECRET}é", f"{SECRET}\x00"])
def test_a_key_that_cannot_be_sent_is_not_quoted(monkeypatch, key):
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {"CONDMIS_TEST_KEY": key})
    else:
        monkeypatch.setenv("CONDMIS_TEST_KEY", key)
    with pytest.raises(UserError) as caught:
        remote().read_key()
    assert "Sesame" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "ftp://x/v1"},
        {"base_url": "api.example.org/v1"},
        {"base_url": "https:///v1"},
        {"base_url": "https://x:port/v1"},
        {"base_url": "https://x/v1?key=Sesame"},
        {"base_url": "https://user:Sesame@x/v1"},
        {"model": ""},
        {"api_key_env": "sk-Sesame"},
        {"max_concurrency": 0},
        {"max_concurrency": 1.5},
        {"max_retries": -1},
        {"timeout_s": 0.0},
        {"timeout_s": float("nan")},
        {"backoff_s": 60.0},
    ],
)
def test_bad_settings_are_refused_without_quoting_secrets(change):
    with pytest.raises(ValueError, match=r".") as caught:
        dataclasses.replace(remote(), **change)
    assert next(iter(change)) in str(caught.value)
    assert "Sesame" not in str(caught.value)


def test_identity_names_what_can_change_an_answer():
    def identity(url: str) -> str:
        return Endpoint(url, "m").identity

    assert identity("https://API.example.org/v1/") == identity("https://api.example.org:443/v1")
    urls = ["http://h:1/v1", "http://h:2/v1", "http://g:1/v1", "http://h:1/v2"]
    assert len({identity(url) for url in urls}) == 4


def test_request_body():
    request = ChatRequest(({"role": "user", "content": "x"},), 1, 0.0, True, 20, seed=3)
    assert request.to_body() == {
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 1,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 20,
        "seed": 3,
    }
    assert "logprobs" not in dataclasses.replace(request, logprobs=False).to_body()
