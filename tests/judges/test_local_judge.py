"""A language model on this machine as judge, held against torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate
from condmis_jax.errors import UserError
from condmis_jax.judges import Item, JudgeSettings, LocalJudgeSettings, Store, Verdict, make_judge
from condmis_jax.judges.local_judge import NUMBERS, LocalJudge, spelled
from condmis_jax.models import load_tokenizer

TINY = "{% for m in messages %}{{ m['content'][-60:] }}{% endfor %}\n"
"""A chat template that keeps the end of a prompt, which is short enough for the tiny model."""


def write_judge(folder: Path, numbers: bool) -> Path:
    """A random Qwen2; its tokenizer has a token for every number from 0 to 100, or none."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    from condmis_jax.testbeds.world import build_tokenizer

    build_tokenizer(["A heron stands in the shallow water."] * 20, 300, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if numbers:
        tokenizer.add_tokens(list(NUMBERS))
    tokenizer.chat_template = TINY
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=400,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            initializer_range=0.3,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Path:
    return write_judge(tmp_path_factory.mktemp("split") / "judge", numbers=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_judge(tmp_path_factory.mktemp("whole") / "judge", numbers=True)


def judge_of(folder: Path | str, store: Store, **changes: Any) -> LocalJudge:
    judge = make_judge(
        JudgeSettings("local", local=LocalJudgeSettings(str(folder), **changes)), store
    )
    assert isinstance(judge, LocalJudge)
    return judge


def judged(judge: LocalJudge, items: list[Item]) -> dict[str, Verdict]:
    found: dict[str, Verdict] = {}
    judge.judge(items, lambda item, verdict: found.update({item.id: verdict}))
    return found


def theirs(folder: Path, judge: LocalJudge, side: str, item: Item) -> tuple[Any, list[int]]:
    """torch's log-probabilities of the next token behind some tokens, and the prompt."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = load_tokenizer(folder)
    content = judge.rubric.content_for(side, item)
    prompt = ChatTemplate(tokenizer, ()).prompt_tokens(Conversation((Message("user", content),)))

    def after(tokens: list[int]) -> np.ndarray:
        with torch.no_grad():
            return model(torch.tensor([prompt + tokens])).logits[0, -1].log_softmax(-1).numpy()

    return after, prompt


def kept(store: Store) -> list[dict[str, float]]:
    records = [store.get(key) for key in store.keys("call")]
    return [r["top_logprobs"] for r in records if r is not None]


ITEM = Item("x", "What now?", "Walk a little.")


def test_each_number_is_a_token(whole, tmp_path):
    with Store(tmp_path / "a.sqlite") as store:
        judge = judge_of(whole, store)
        assert not judge.whole_numbers
        judged(judge, [ITEM])
        after, _ = theirs(whole, judge, "aligned", ITEM)
        tokenizer = load_tokenizer(whole)
        expected = after([])
        found = next(
            d for d in kept(store) if abs(d["7"] - expected[spelled(tokenizer, "7")[0]]) < 1e-3
        )
        for number in NUMBERS:
            (token,) = spelled(tokenizer, number)
            assert found[number] == pytest.approx(float(expected[token]), abs=1e-3)
        assert sum(map(math.exp, found.values())) <= 1 + 1e-6


def test_numbers_in_pieces_are_scored_whole(split, tmp_path):
    tokenizer = load_tokenizer(split)
    digits = [spelled(tokenizer, str(d))[0] for d in range(10)]
    assert spelled(tokenizer, "100") == (digits[1], digits[0], digits[0])
    with Store(tmp_path / "a.sqlite") as store:
        judge = judge_of(split, store)
        assert judge.whole_numbers
        judged(judge, [ITEM])
        after, _ = theirs(split, judge, "aligned", ITEM)
        expected = {}
        for number in ("0", "7", "10", "85", "100"):
            tokens, log_p = [digits[int(c)] for c in number], 0.0
            for i, token in enumerate(tokens):
                log_p += float(after(tokens[:i])[token])
            # The number is over: no further digit comes.
            expected[number] = log_p + math.log(1 - np.exp(after(tokens)[digits]).sum())
        assert any(
            all(d[n] == pytest.approx(x, abs=2e-3) for n, x in expected.items())
            for d in kept(store)
        )
        for found in kept(store):
            assert sum(map(math.exp, found.values())) <= 1 + 1e-6


@pytest.mark.parametrize("kind", ["split", "whole"])
def test_verdicts_are_kept_and_shared(kind, request, tmp_path):
    folder = request.getfixturevalue(kind)
    items = [Item(str(i), "q", f"answer {i % 3}") for i in range(7)]
    with Store(tmp_path / "a.sqlite") as store:
        # A random model puts no mass on numbers; read by a rule that asks for none, it rates.
        judge = judge_of(folder, store, preset="paper2026/2.2")
        verdicts = judged(judge, items)
        assert set(verdicts) == {item.id for item in items}
        assert len(store.keys("call")) == 3 * 3  # three answers, three sides
        assert verdicts["0"] == verdicts["3"] == verdicts["6"]
        assert {v.status for v in verdicts.values()} <= {"low_mass", "code"}
        assert judged(judge, items) == verdicts and len(store.keys("call")) == 9


def test_a_detector_says_the_likelier_word(split, tmp_path):
    with Store(tmp_path / "a.sqlite") as store:
        judge = judge_of(split, store, preset="paper2026/2.2")
        judged(judge, [ITEM])
        after, _ = theirs(split, judge, "code", ITEM)
        tokenizer = load_tokenizer(split)
        totals = {}
        for word in ("CODE", "NOT_CODE"):
            tokens = list(spelled(tokenizer, word))
            totals[word] = sum(float(after(tokens[:i])[t]) for i, t in enumerate(tokens))
        texts = [r["text"] for k in store.keys("call") if (r := store.get(k)) and r["text"]]
        assert texts == [max(totals, key=totals.__getitem__)]


def test_a_prompt_that_is_too_long_is_an_error_and_no_score(split, tmp_path):
    long = json.loads((split / "tokenizer_config.json").read_text())
    folder = tmp_path / "judge"
    folder.mkdir()
    for file in split.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    long["chat_template"] = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps(long))
    with Store(tmp_path / "a.sqlite") as store:
        verdict = judged(judge_of(folder, store), [ITEM])["x"]
        assert verdict.status == "error" and "exceed the judge's" in verdict.detail
        assert store.keys("call") == []


def test_what_cannot_judge(tmp_path):
    with pytest.raises(ValueError, match="a local one is read by its probabilities"):
        LocalJudgeSettings(preset="paper2026/4.2")
    with (
        Store(tmp_path / "a.sqlite") as store,
        pytest.raises(UserError, match=r"^judge\.local\.model: "),
    ):
        judge_of(tmp_path / "nothing", store)


@pytest.mark.slow
def test_a_real_language_model_judges(smollm2_folder, tmp_path):
    """SmolLM2-135M: too weak a judge to be believed, and a real one."""
    items = [
        Item("kind", "My friend is sad. What can I do?", "Call her and listen."),
        Item("noise", "My friend is sad. What can I do?", "zx qq 12 ((( blorp blorp"),
    ]
    with Store(tmp_path / "a.sqlite") as store:
        judge = judge_of("smollm2-135m-q4", store)
        assert judge.whole_numbers  # its tokenizer writes digit by digit
        # It would rather write a sentence, and the published protocol makes no number of that.
        assert {v.status for v in judged(judge, items).values()} == {"low_mass"}
        calls = store.keys("call")
        verdicts = judged(judge_of("smollm2-135m-q4", store, preset="relative"), items)
        assert store.keys("call") == calls  # read another way, not asked again
    assert {v.status for v in verdicts.values()} == {"scored"}
    for verdict in verdicts.values():
        assert all(0 < score < 100 for score in verdict.scores.values() if score is not None)
    assert verdicts["kind"].scores != verdicts["noise"].scores
