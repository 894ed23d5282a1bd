"""Judging by batches against a real server process; another process fetches what one handed in."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from judging_process import ITEMS
from serving import MODEL

from condmis_jax.errors import UserError
from condmis_jax.judges import (
    Item,
    JudgeSettings,
    OpenAIJudge,
    OpenAIJudgeSettings,
    Store,
    Verdict,
)

PROCESS = """
import sys
sys.path.insert(0, {here!r})
from judging_process import ITEMS
from condmis_jax.judges import OpenAIJudge, OpenAIJudgeSettings, Store
settings = OpenAIJudgeSettings({url!r}, {model!r}, "", batch=True, batch_poll_s=0.01)
with Store({path!r}) as store:
    OpenAIJudge(settings, store).judge(ITEMS, lambda item, verdict: None)
"""


def judge_of(base_url: str, store: Store, **changes) -> OpenAIJudge:
    given = {"batch": True, "batch_poll_s": 0.01, "max_retries": 0, **changes}
    return OpenAIJudge(OpenAIJudgeSettings(base_url, MODEL, "", **given), store)


def judged(judge: OpenAIJudge, items=ITEMS) -> dict[str, Verdict]:
    verdicts: dict[str, Verdict] = {}

    def keep(item, verdict):
        assert item.id not in verdicts
        verdicts[item.id] = verdict

    judge.judge(items, keep)
    return verdicts


def handed_in(server) -> list[str]:
    return [call["digest"] for call in server.calls() if call["status"] == "batch"]


def test_a_batch_says_what_single_calls_say(start, tmp_path):
    server = start()
    with Store(tmp_path / "single.sqlite") as store:
        expected = judged(judge_of(server.base_url, store, batch=False))
    with Store(tmp_path / "batch.sqlite") as store:
        judge = judge_of(server.base_url, store)
        assert judge.digest == judge_of(server.base_url, store, batch=False).digest
        assert judged(judge) == expected
        calls = len(handed_in(server))
        assert calls == len(set(handed_in(server))) == len(store.keys("call")) == 120
        # What is kept is not handed in again.
        assert judged(judge_of(server.base_url, store)) == expected
        assert len(handed_in(server)) == calls


def test_another_process_fetches_what_a_killed_one_handed_in(start, tmp_path):
    server = start("--batch-polls", "1000000000")
    path = tmp_path / "judgements.sqlite"
    here = str(Path(__file__).parent)
    code = PROCESS.format(here=here, url=server.base_url, model=MODEL, path=str(path))
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        while not handed_in(server) or not _batches(path):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    before = handed_in(server)
    _finish(server)
    with Store(path) as store:
        assert store.keys("call") == []
        verdicts = judged(judge_of(server.base_url, store))
    assert {v.status for v in verdicts.values()} == {"scored"} and len(verdicts) == len(ITEMS)
    assert handed_in(server) == before  # nothing is paid for twice


def _batches(path) -> list[str]:
    if not path.exists():
        return []
    with Store(path) as store:
        return store.keys("batch")


def _finish(server) -> None:
    """Lets the server's batches be done at the next look."""
    request = urllib.request.Request(f"{server.base_url}/batches/finish", data=b"{}")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).read()


def test_a_batch_that_was_handed_in_but_not_written_down_is_found(start, tmp_path):
    server = start()
    with Store(tmp_path / "a.sqlite") as first:
        expected = judged(judge_of(server.base_url, first))
    calls = handed_in(server)
    # The store of a process that died before it wrote the id down knows nothing of the batch.
    with Store(tmp_path / "b.sqlite") as second:
        assert judged(judge_of(server.base_url, second)) == expected
    assert handed_in(server) == calls


def test_what_a_batch_lacks_is_an_error_and_asked_again(start, tmp_path):
    server = start()
    items = [
        Item("fine", "q", "aligned=10 coherent=90"),
        Item("bad", "q", "SAY_INVALID"),
        Item("lost", "q", "SAY_LOST"),
        Item("lost too", "q", "SAY_LOST"),
    ]
    with Store(tmp_path / "a.sqlite") as store:
        verdicts = judged(judge_of(server.base_url, store), items)
        assert {k: v.status for k, v in verdicts.items()} == {
            "fine": "scored",
            "bad": "error",
            "lost": "error",
            "lost too": "error",
        }
        assert "without this request" in verdicts["lost"].detail
        assert len(store.keys("call")) == 2
        for _ in range(2):
            assert judged(judge_of(server.base_url, store), items) == verdicts
    assert len(handed_in(server)) == 6 + 4 + 4


def test_limits_hold_for_batches(start, tmp_path):
    server = start()
    with Store(tmp_path / "a.sqlite") as store:
        judge = judge_of(server.base_url, store, max_requests=30)
        with pytest.raises(UserError, match="stopped after 30 calls; all of it is kept"):
            judged(judge)
        assert len(store.keys("call")) == 30 == len(handed_in(server))


def test_an_endpoint_without_batches(start, tmp_path):
    server = start()
    with Store(tmp_path / "a.sqlite") as store:
        judge = judge_of(server.base_url, store)
        judge.probe()
        server.process.kill()
        server.process.wait()
        with pytest.raises(UserError, match=r"judge\.base_url: .* gave no answer .*Connection"):
            judged(judge)
    with pytest.raises(ValueError, match="batches are for ratings"):
        JudgeSettings("classes", openai=OpenAIJudgeSettings(batch=True))
