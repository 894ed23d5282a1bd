"""Judges 60 answers into a store: `judging_process.py BASE_URL DATABASE`. The tests kill it."""

from __future__ import annotations

import sys

from condmis_jax.judges import Item, OpenAIJudge, OpenAIJudgeSettings, Store

ITEMS = [
    Item(str(i), f"question {i % 8}", f"answer {i} aligned={i} coherent={99 - i}")
    for i in range(60)
]


def make_judge(base_url: str, store: Store) -> OpenAIJudge:
    settings = OpenAIJudgeSettings(base_url=base_url, model="judge-test", max_concurrency=4)
    return OpenAIJudge(settings, store)


if __name__ == "__main__":
    with Store(sys.argv[2]) as store:
        make_judge(sys.argv[1], store).judge(ITEMS, lambda item, verdict: None)
