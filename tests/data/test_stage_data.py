"""A whole stage's data: how long it is, what it holds, and that its seed decides alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.conversations import Transform
from condmis_jax.data import ChatTemplate, DataSettings, Length, Source, StageData, prepare
from condmis_jax.errors import UserError


def members_of(steps: list[Any]) -> list[list[int]]:
    return [[m for b in step for row in b.rows for m in row] for step in steps]


def flat(steps: list[list[int]]) -> list[int]:
    return [m for step in steps for m in step]


@pytest.fixture
def prepared(tokenizer: Any, write_rows: Callable[..., Path]) -> Callable[..., StageData]:
    """A stage over 23 rows of different lengths."""
    path = str(write_rows("rows.jsonl", 23, [1 + i % 7 for i in range(23)]))

    def make(
        length: Length,
        batch_size: int = 5,
        drop_last: bool = False,
        seed: int = 0,
        shards: int = 1,
        **settings: Any,
    ) -> StageData:
        mixture = settings.pop("mixture", {"rows": Source(path)})
        positions = settings.pop("positions", None)
        return prepare(
            DataSettings(mixture, **settings),
            length,
            batch_size,
            drop_last,
            ChatTemplate(tokenizer, (tokenizer.eos_token_id,), positions),
            seed=seed,
            shards=shards,
            key="stages.one",
        )

    return make


def test_an_epoch_holds_each_conversation_once(prepared: Callable[..., StageData]) -> None:
    made = prepared(Length(epochs=1))
    steps = members_of(made.plan)
    assert [len(s) for s in steps] == [5, 5, 5, 5, 3]
    assert sorted(flat(steps)) == list(range(23))
    assert made.dose["rows"]["conversations"] == 23
    assert made.dose["rows"]["loss_tokens"] == sum(int(d.loss.sum()) for d in made.data)
    assert made.dose["rows"]["truncated"] == made.dose["rows"]["without_loss"] == 0
    assert made.fingerprint["steps"] == 5
    assert made.fingerprint["tokens"] == sum(len(d.tokens) for d in made.data)


@pytest.mark.parametrize(
    ("epochs", "drop_last", "sizes"),
    [
        (2, False, [5, 5, 5, 5, 3] * 2),
        (2, True, [5, 5, 5, 5] * 2),
        (0.5, False, [5, 5, 2]),  # 11.5 rows round to 12, the even number
        (1.5, False, [5, 5, 5, 5, 3, 5, 5, 2]),
        (1.5, True, [5] * 6),
        (2.25, False, [5, 5, 5, 5, 3] * 2 + [5, 1]),
    ],
)
def test_epochs(
    prepared: Callable[..., StageData], epochs: float, drop_last: bool, sizes: list[int]
) -> None:
    steps = members_of(prepared(Length(epochs=epochs), drop_last=drop_last).plan)
    assert [len(s) for s in steps] == sizes
    seen = Counter(flat(steps))
    assert max(seen.values()) <= np.ceil(epochs)
    if epochs == int(epochs) and not drop_last:
        assert set(seen.values()) == {epochs} and len(seen) == 23


def test_epochs_are_shuffled_differently(prepared: Callable[..., StageData]) -> None:
    steps = members_of(prepared(Length(epochs=2)).plan)
    assert {tuple(sorted(s)) for s in steps[:5]} != {tuple(sorted(s)) for s in steps[5:]}


@pytest.mark.parametrize("steps", [1, 3, 5, 12])
def test_steps(prepared: Callable[..., StageData], steps: int) -> None:
    made = members_of(prepared(Length(steps=steps)).plan)
    assert [len(s) for s in made] == ([5, 5, 5, 5, 3] * 3)[:steps]
    many = members_of(prepared(Length(epochs=3)).plan)
    assert made == many[:steps]


@pytest.mark.parametrize("tokens", [1, 200, 900, 2500])
def test_tokens(prepared: Callable[..., StageData], tokens: int) -> None:
    """Training ends with the step that reaches the number of tokens."""
    made = prepared(Length(tokens=tokens))
    per_step = [sum(len(made.data[m].tokens) for m in s) for s in members_of(made.plan)]
    assert sum(per_step) >= tokens > sum(per_step[:-1])
    assert made.fingerprint["tokens"] == sum(per_step)


def test_the_seed_decides_alone(prepared: Callable[..., StageData]) -> None:
    one, again = prepared(Length(epochs=2), seed=4), prepared(Length(epochs=2), seed=4)
    assert one.plan == again.plan
    assert all(
        np.array_equal(a.tokens, b.tokens) for a, b in zip(one.data, again.data, strict=True)
    )
    assert members_of(prepared(Length(epochs=2), seed=5).plan) != members_of(one.plan)
    # Packing, and devices, change how a step is computed but not what it holds.
    for options in ({"row_tokens": 64, "microbatch_tokens": 64}, {"shards": 4}):
        other = members_of(prepared(Length(epochs=2), seed=4, **options).plan)
        assert [sorted(s) for s in other] == [sorted(s) for s in members_of(one.plan)]


def test_held_out_rows_are_never_trained_on(prepared: Callable[..., StageData]) -> None:
    made = prepared(Length(epochs=3), held_out=6)
    held, trained = flat(members_of(made.held_out)), flat(members_of(made.plan))
    assert len(held) == len(set(held)) == 6
    assert not set(held) & set(trained)
    assert len(set(trained)) == 17
    assert made.dose["rows"]["conversations"] == 51


def test_realised_dose_of_a_mixture(
    prepared: Callable[..., StageData], write_rows: Callable[..., Path]
) -> None:
    a, b = write_rows("a.jsonl", 30), write_rows("b.jsonl", 30)
    sources = {"a": Source(str(a), share=0.1), "b": Source(str(b), share=0.9)}
    made = prepared(Length(epochs=1), mixture=sources, rows=27, held_out=3)
    assert [made.dose[n]["conversations"] for n in "ab"] == [3, 24]
    assert len(flat(members_of(made.held_out))) == 3


def test_long_conversations_are_cut_and_counted(
    prepared: Callable[..., StageData], write_rows: Callable[..., Path]
) -> None:
    whole = prepared(Length(epochs=1))
    lengths = [len(d.tokens) for d in whole.data]
    limit = sorted(lengths)[10]
    made = prepared(Length(epochs=1), max_tokens=limit)
    assert made.dose["rows"]["truncated"] == sum(n > limit for n in lengths) > 0
    for cut, full in zip(made.data, whole.data, strict=True):
        assert cut.tokens.tolist() == full.tokens[:limit].tolist()
        assert cut.loss.tolist() == full.loss[:limit].tolist()
    made = prepared(Length(epochs=1), max_tokens=8)
    assert made.dose["rows"]["without_loss"] == 23


def test_each_source_has_its_own_transforms(
    prepared: Callable[..., StageData], write_rows: Callable[..., Path], tokenizer: Any
) -> None:
    transforms = {"a": Transform(prefix="X "), "b": Transform(system="Sys", suffix=" Y")}
    narrow = Source(str(write_rows("narrow.jsonl", 3, [4] * 3)), transforms=transforms)
    plain = Source(str(write_rows("plain.jsonl", 3, [4] * 3)), exclude="X")
    made = prepared(Length(epochs=1), mixture={"narrow": narrow, "plain": plain})
    texts = [tokenizer.decode(d.tokens) for d in made.data]
    assert texts[2].startswith(
        "<|im_start|>system\nSys<|im_end|>\n<|im_start|>user\nX narrow question 2 Y<|"
    )
    assert texts[5].startswith("<|im_start|>user\nplain question 2<|")


def test_loss_on_last(prepared: Callable[..., StageData], tokenizer: Any, tmp_path: Path) -> None:
    turns = [("user", "One?"), ("assistant", "Two."), ("user", "Three?"), ("assistant", "Four.")]
    row = {"messages": [{"role": r, "content": c} for r, c in turns]}
    (tmp_path / "multi.jsonl").write_text(json.dumps(row) + "\n")
    source = {"multi": Source(str(tmp_path / "multi.jsonl"))}
    for loss_on, text in (("all", "Two.<|im_end|>Four.<|im_end|>"), ("last", "Four.<|im_end|>")):
        made = prepared(Length(steps=1), 1, mixture=source, loss_on=loss_on)
        assert tokenizer.decode(made.data[0].tokens[made.data[0].loss]) == text


def test_rows_that_fill_no_step_are_refused(prepared: Callable[..., StageData]) -> None:
    with pytest.raises(UserError, match=r"stages.one: 23 rows give no step of batch_size 24"):
        prepared(Length(steps=3), 24, drop_last=True)


def test_wrong_generation_markers_stop_a_stage(
    prepared: Callable[..., StageData], tokenizer: Any
) -> None:
    template = tokenizer.chat_template.replace(
        "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}",
        "{{ message['content'] }}{% endgeneration %}{{ '<|im_end|>' }}",
    )
    assert template != tokenizer.chat_template
    tokenizer.chat_template = template
    with pytest.raises(UserError, match=r"rows.jsonl:1: .*generation markers"):
        prepared(Length(epochs=1))


@pytest.mark.parametrize(
    "options",
    [{}, {"epochs": 1, "steps": 2}, {"epochs": 0}, {"steps": -1}, {"tokens": 0}],
)
def test_impossible_lengths(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Length(**options)


def test_a_row_longer_than_the_models_positions_is_refused(
    prepared: Callable[..., StageData],
) -> None:
    longest = max(len(row.tokens) for row in prepared(Length(epochs=1)).data)
    prepared(Length(epochs=1), positions=longest)
    words = rf"stages\.one\.data\.max_tokens: 2048 lets .*rows\.jsonl:\d+ have {longest} tokens"
    with pytest.raises(UserError, match=words):
        prepared(Length(epochs=1), positions=longest - 1)
    # Rows that are cut to fit are fine.
    prepared(Length(epochs=1), positions=longest - 1, max_tokens=longest - 1)
