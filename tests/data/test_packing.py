"""Packing plans and the arrays made from them, against naive implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from condmis_jax.data import Tokenised, pack_arrays, step_iterator
from condmis_jax.data.packing import Microbatch, Step, best_row_tokens, plan_step, plan_steps


def made_up(n: int, longest: int, seed: int = 0) -> list[Tokenised]:
    """Conversations of 1 to `longest` tokens, no token being 0; about half of them carry loss."""
    rng = np.random.default_rng(seed)
    data = []
    for _ in range(n):
        length = int(rng.integers(1, longest + 1))
        tokens = rng.integers(1, 1000, length).astype(np.int32)
        data.append(Tokenised(tokens, rng.random(length) < rng.choice([0, 0.3, 0.9])))
    return data


def members_of(step: Step) -> list[int]:
    return [m for b in step for row in b.rows for m in row]


def plan(data: list[Tokenised], members: list[int], **options: Any) -> Step:
    settings = {"row_tokens": 32, "microbatch_tokens": 128, "shards": 1} | options
    return plan_step([len(d.tokens) for d in data], members, **settings)


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("microbatch_tokens", [8, 64, 200, 4096])
def test_a_step_holds_each_conversation_once_and_no_row_overflows(
    shards: int, microbatch_tokens: int
) -> None:
    for seed in range(20):
        data = made_up(30, 100, seed)
        members = np.random.default_rng(seed).permutation(30)[:23].tolist()
        step = plan(data, members, shards=shards, microbatch_tokens=microbatch_tokens)
        assert sorted(members_of(step)) == sorted(members)
        for batch in step:
            R, T = batch.shape
            assert T in (32, 64, 128)
            assert all(sum(len(data[m].tokens) for m in row) <= T for row in batch.rows)
            assert R % shards == 0 and (R // shards).bit_count() == 1
            # One row a device is the least; otherwise the limit holds.
            assert R // shards == 1 or microbatch_tokens >= R * T
            if T > 32:  # a longer row exists for the sake of a longer conversation
                assert all(
                    not r or any(len(data[m].tokens) > T // 2 for m in r) for r in batch.rows
                )


def test_padding_stays_small() -> None:
    data = made_up(200, 30)
    step = plan(data, list(range(200)), microbatch_tokens=4096)
    used = sum(len(d.tokens) for d in data)
    assert used / sum(R * T for R, T in (b.shape for b in step)) > 0.85


def test_steps_of_an_epoch() -> None:
    order = np.random.default_rng(0).permutation(23)
    for batch_size, sizes in [(5, [5, 5, 5, 5, 3]), (23, [23]), (30, [23]), (1, [1] * 23)]:
        steps = plan_steps(order, batch_size, drop_last=False)
        assert [len(s) for s in steps] == sizes
        assert np.concatenate(steps).tolist() == order.tolist()
        dropped = plan_steps(order, batch_size, drop_last=True)
        assert [len(s) for s in dropped] == [batch_size] * (23 // batch_size)
        assert [s.tolist() for s in dropped] == [s.tolist() for s in steps[: len(dropped)]]


PLACES = ("tokens", "positions", "segments", "conversations")


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_arrays_against_a_naive_implementation(shards: int) -> None:
    for seed in range(10):
        data = made_up(25, 60, seed)
        for batch in plan(data, list(range(25)), shards=shards):
            a = pack_arrays(batch, data, 0.25, shards)
            R, T = batch.shape
            M = R // shards * T
            assert {n: (v.shape, v.dtype.name) for n, v in a.items()} == {
                **{n: ((R, T), "int32") for n in PLACES},
                **{n: ((shards, M), "int32") for n in ("index", "target")},
                "weight": ((shards, M), "float32"),
                "used": ((), "int32"),
            }
            wanted: list[dict[int, int]] = [{} for _ in range(shards)]
            for r, row in enumerate(batch.rows):
                at = 0
                for s, m in enumerate(row, 1):
                    n = len(data[m].tokens)
                    assert a["tokens"][r, at : at + n].tolist() == data[m].tokens.tolist()
                    assert a["positions"][r, at : at + n].tolist() == list(range(n))
                    assert a["segments"][r, at : at + n].tolist() == [s] * n
                    assert a["conversations"][r, at : at + n].tolist() == [m] * n
                    for i in range(1, n):
                        if data[m].loss[i]:
                            place = (r % (R // shards)) * T + at + i - 1
                            wanted[r // (R // shards)][place] = int(data[m].tokens[i])
                    at += n
                assert not a["segments"][r, at:].any() and not a["tokens"][r, at:].any()
                assert (a["conversations"][r, at:] == -1).all()
            for g in range(shards):
                n = len(wanted[g])
                assert sorted(a["index"][g].tolist()) == list(range(M))
                got = zip(a["index"][g, :n].tolist(), a["target"][g, :n].tolist(), strict=True)
                assert dict(got) == wanted[g]
                assert a["weight"][g].tolist() == [0.25] * n + [0.0] * (M - n)
            assert a["used"] == max(len(w) for w in wanted)


def test_a_plan_is_the_same_every_time_and_ignores_the_order_of_members() -> None:
    data = made_up(40, 60)
    members = np.random.default_rng(1).permutation(40).tolist()
    assert plan(data, members) == plan(data, members)
    assert plan(data, members) == plan(data, sorted(members))


def test_steps_carry_their_counts_and_weights_add_up_to_one() -> None:
    data = made_up(30, 60)
    steps = [plan(data, list(range(i, i + 10))) for i in (0, 10, 20)]
    for step, got in zip(steps, step_iterator(steps, data, 1), strict=True):
        members = members_of(step)
        assert len(got.microbatches) == len(step) > 1
        assert got.tokens == sum(len(data[m].tokens) for m in members)
        assert got.loss_tokens == sum(int(data[m].loss[1:].sum()) for m in members)
        total = sum(float(a["weight"].sum()) for a in got.microbatches)
        assert total == pytest.approx(1, abs=1e-6)


def test_a_step_without_any_loss_token_has_weight_zero() -> None:
    data = [Tokenised(np.arange(1, 9, dtype=np.int32), np.zeros(8, bool)) for _ in range(3)]
    (got,) = step_iterator([plan(data, [0, 1, 2])], data, 1)
    assert got.loss_tokens == 0
    assert not any(a["weight"].any() or a["used"] for a in got.microbatches)


def test_the_iterator_continues_from_its_state() -> None:
    data = made_up(40, 60)
    steps = [plan(data, list(range(i, i + 5))) for i in range(0, 40, 5)]
    whole = step_iterator(steps, data, 1)
    for _ in range(3):
        next(whole)
    state = whole.get_state()
    rest = list(whole)
    resumed = step_iterator(steps, data, 1)
    resumed.set_state(state)
    again = list(resumed)
    assert [b.step for b in again] == [b.step for b in rest] == [3, 4, 5, 6, 7]
    for x, y in zip(rest, again, strict=True):
        for a, b in zip(x.microbatches, y.microbatches, strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in a)


def test_hosts_make_their_own_rows_and_together_all_of_them() -> None:
    rng = np.random.default_rng(3)
    data = [
        Tokenised(np.arange(1, n + 1, dtype=np.int32) + 100 * i, rng.random(n) < 0.5)
        for i, n in enumerate([5, 9, 3, 12, 7, 2])
    ]
    batch = Microbatch(((0, 1), (2,), (3,), (), (4,), (5,), (), ()), 16)
    whole = pack_arrays(batch, data, 0.1, 4)
    hosts = [pack_arrays(batch, data, 0.1, 4, own) for own in ((0, 2), (1,), (3,))]
    for name in PLACES:
        rows = np.concatenate([h[name] for h in hosts])
        assert np.array_equal(rows, whole[name][[0, 1, 4, 5, 2, 3, 6, 7]])
    for name in ("index", "target", "weight"):
        assert np.array_equal(np.concatenate([h[name] for h in hosts]), whole[name][[0, 2, 1, 3]])
    # All hosts run the same program: the busiest shard's number of places, whoever has it.
    assert {int(h["used"]) for h in hosts} == {int(whole["used"])}
    assert whole["used"] == max((w != 0).sum() for w in whole["weight"])


def test_the_cheapest_row_wastes_little_and_makes_few_microbatches() -> None:
    room = {"microbatch_tokens": 4096, "shards": 1}
    lengths = [70, 75] * 8
    steps = [list(range(16))]
    best = best_row_tokens(lengths, steps, **room)
    assert [m.shape for m in plan_step(lengths, steps[0], row_tokens=best, **room)] == [(16, 80)]
    # Rows of 80 would hold the short ones, and the long ones need rows of their own length.
    lengths = [70, 85] * 8
    best = best_row_tokens(lengths, steps, **room)
    assert [m.shape for m in plan_step(lengths, steps[0], row_tokens=best, **room)] == [(8, 160)]
