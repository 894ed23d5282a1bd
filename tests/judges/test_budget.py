"""Limits of calls and costs, against a real server process on loopback."""

from __future__ import annotations

import pytest
from serving import MODEL

from condmis_jax.errors import UserError
from condmis_jax.judges import (
    Budgets,
    Item,
    JudgeSettings,
    OpenAIJudge,
    OpenAIJudgeSettings,
    Store,
    make_judge,
)

ITEMS = [Item(str(i), "question", f"answer {i} aligned=10 coherent=90") for i in range(20)]
PRICES = {"usd_per_million_input": 1000.0, "usd_per_million_output": 2000.0}


def settings(base_url: str, **changes) -> JudgeSettings:
    kind = changes.pop("kind", "openai")
    openai = OpenAIJudgeSettings(base_url=base_url, model=MODEL, max_concurrency=4, **changes)
    return JudgeSettings(kind, openai=openai)


def judged(judge, items=ITEMS) -> dict:
    verdicts = {}
    judge.judge(items, lambda item, verdict: verdicts.update({item.id: verdict}))
    return verdicts


@pytest.mark.parametrize(("kind", "calls"), [("openai", 40), ("classes", 20)])
def test_so_many_calls_and_no_more(kind, calls, start, tmp_path):
    server = start()
    chosen = settings(server.base_url, kind=kind, max_requests=15)
    budgets: Budgets = {}
    with Store(tmp_path / "a.sqlite") as store:
        judge = make_judge(chosen, store, "judges.rater", budgets)
        said = r"^judges\.rater\.openai\.max_requests: stopped after 15 calls; all of it is kept"
        with pytest.raises(UserError, match=said):
            judged(judge)
        # Beside the trial call; every call that was begun was finished and kept.
        assert len(server.finished()) == 1 + 15 == 1 + len(store.keys("call"))
        # The next suite of the same command has nothing left; what is kept needs no call.
        with pytest.raises(UserError, match="stopped after 15 calls"):
            judged(make_judge(chosen, store, "judges.rater", budgets))
        assert len(server.finished()) == 16
        # The next command goes on where this one stopped.
        while calls - len(store.keys("call")) > 15:
            with pytest.raises(UserError, match="stopped after 15 calls"):
                judged(make_judge(chosen, store))
        assert len(judged(make_judge(chosen, store))) == len(ITEMS)
        assert len(server.finished()) == 1 + calls


def test_so_much_money_and_no_more(start, tmp_path):
    server = start()
    chosen = settings(server.base_url, max_usd=6.0, **PRICES)
    budgets: Budgets = {}
    with Store(tmp_path / "a.sqlite") as store:
        judge = make_judge(chosen, store, "judges.rater", budgets)
        with pytest.raises(UserError, match=r"^judges\.rater\.openai\.max_usd: stopped after \d+ "):
            judged(judge)
        budget = budgets["judges.rater.openai"]
        used = [store.get(key) for key in store.keys("call")]
        cost = sum(
            (u["usage"]["prompt_tokens"] * 1000 + u["usage"]["completion_tokens"] * 2000) / 1e6
            for u in used
            if u is not None
        )
        assert budget.usd == pytest.approx(cost)
        assert 0 < cost <= 6.0
        assert budget.requests == len(used) == len(server.finished()) - 1 < 40


def test_a_call_that_could_exceed_the_limit_is_not_made(start, tmp_path):
    server = start()
    with Store(tmp_path / "a.sqlite") as store:
        judge = make_judge(settings(server.base_url, max_usd=0.01, **PRICES), store)
        with pytest.raises(UserError, match="stopped after 0 calls, 0 USD"):
            judged(judge)
        assert len(server.finished()) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_usd": 1.0}, "max_usd needs usd_per_million_input and usd_per_million_output"),
        ({"max_requests": -1}, "max_requests must be at least 0"),
        ({"usd_per_million_input": float("inf")}, "usd_per_million_input must be at least 0"),
    ],
)
def test_limits_are_validated(change, said):
    with pytest.raises(ValueError, match=said):
        OpenAIJudgeSettings(**change)


def test_limits_and_prices_change_no_verdict(tmp_path):
    with Store(tmp_path / "a.sqlite") as store:
        limited = OpenAIJudgeSettings(max_requests=1, max_usd=1.0, **PRICES)
        digests = {OpenAIJudge(s, store).digest for s in (limited, OpenAIJudgeSettings())}
        assert len(digests) == 1
