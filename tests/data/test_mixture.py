"""Exact proportions, disjoint held-out rows, seeded order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.data import Source
from condmis_jax.data.mixture import Mixture, build_mixture, epoch_order, exact_counts
from condmis_jax.errors import UserError


def build(
    sources: dict[str, Source], rows: int | None = None, held_out: int = 0, seed: int = 0
) -> Mixture:
    return build_mixture(sources, rows, held_out, seed, "stages.one.data.mixture")


def counts(mixture: Mixture, held_out: bool) -> list[int]:
    mine = mixture.source_of[mixture.held_out == held_out]
    return [int((mine == i).sum()) for i in range(len(mixture.names))]


def places(mixture: Mixture, held_out: bool) -> list[str]:
    wanted = zip(mixture.rows, mixture.held_out, strict=True)
    return [row.where for row, held in wanted if held == held_out]


@pytest.fixture
def pools(write_rows: Callable[..., Path]) -> dict[str, str]:
    return {n: str(write_rows(f"{n}.jsonl", k)) for n, k in (("a", 100), ("b", 60), ("c", 40))}


def test_counts_are_whole_exact_and_within_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        shares = rng.dirichlet(np.ones(rng.integers(1, 6)))
        total = int(rng.integers(0, 500))
        got = exact_counts(shares.tolist(), total)
        assert sum(got) == total
        assert all(abs(n - s * total) < 1 for n, s in zip(got, shares, strict=True))
    assert exact_counts([0.1, 0.9], 200) == [20, 180]
    assert exact_counts([0.3, 0.3, 0.4], 7) == [2, 2, 3]
    # Equal remainders: the earlier sources are rounded up.
    assert exact_counts([1, 1, 1], 5) == [2, 2, 1]
    assert exact_counts([0.0, 1.0], 9) == [0, 9]


def test_stated_shares_are_exact_in_both_parts(pools: dict[str, str]) -> None:
    shares = {"a": 0.55, "b": 0.3, "c": 0.15}
    mixture = build({n: Source(pools[n], share=s) for n, s in shares.items()}, 90, 20)
    assert mixture.names == ("a", "b", "c")
    # Quotas 49.5, 27, 13.5: equal remainders go to the earlier source.
    assert counts(mixture, False) == [50, 27, 13]
    assert counts(mixture, True) == [11, 6, 3]
    training, held = places(mixture, False), places(mixture, True)
    assert len(set(training)) == 90 and len(set(held)) == 20
    assert not set(training) & set(held)
    for i, row in enumerate(mixture.rows):
        assert Path(row.where.rpartition(":")[0]).stem == mixture.names[mixture.source_of[i]]


def test_without_rows_the_scarcest_source_decides(pools: dict[str, str]) -> None:
    shares = {"a": 0.25, "b": 0.25, "c": 0.5}
    mixture = build({n: Source(pools[n], share=s) for n, s in shares.items()})
    assert counts(mixture, False) == [20, 20, 40]
    mixture = build({n: Source(pools[n], share=s) for n, s in shares.items()}, held_out=8)
    assert counts(mixture, False) == [18, 18, 36]
    assert counts(mixture, True) == [2, 2, 4]


def test_as_many_rows_as_the_shares_allow(write_rows: Callable[..., Path]) -> None:
    """Shares that are no binary fractions lose no row to rounding."""
    files = {n: str(write_rows(f"{n}.jsonl", k)) for n, k in (("a", 7), ("b", 18))}
    shares = {"a": 0.28, "b": 0.72}
    mixture = build({n: Source(files[n], share=s) for n, s in shares.items()})
    assert counts(mixture, False) == [7, 18]


def test_without_shares_every_row_is_used_once(pools: dict[str, str]) -> None:
    mixture = build({n: Source(f) for n, f in pools.items()}, held_out=10)
    assert counts(mixture, True) == [5, 3, 2]
    assert counts(mixture, False) == [95, 57, 38]
    everything = Counter(row.where for row in mixture.rows)
    assert len(everything) == 200 and set(everything.values()) == {1}
    mixture = build({n: Source(f) for n, f in pools.items()}, rows=20)
    assert counts(mixture, False) == [10, 6, 4]


def test_choice_depends_on_the_seed_alone(pools: dict[str, str]) -> None:
    sources = {"a": Source(pools["a"], share=0.5), "b": Source(pools["b"], share=0.5)}
    one, again, other = (build(sources, 40, 10, seed) for seed in (1, 1, 2))
    for held_out in (False, True):
        assert places(one, held_out) == places(again, held_out)
        assert set(places(one, held_out)) != set(places(other, held_out))
    # A held-out row is not simply one from the front of its file.
    assert max(int(w.rpartition(":")[2]) for w in places(one, True)) > 20


def test_sample_takes_a_random_subset(pools: dict[str, str]) -> None:
    one = build({"a": Source(pools["a"], sample=30)}, seed=1)
    other = build({"a": Source(pools["a"], sample=30)}, seed=2)
    assert len(set(places(one, False))) == 30
    assert set(places(one, False)) != set(places(other, False))
    within = build({"a": Source(pools["a"], first=40, sample=30)}, seed=1)
    assert all(int(w.rpartition(":")[2]) <= 40 for w in places(within, False))


@pytest.mark.parametrize(
    ("sources", "options", "named"),
    [
        ({"a": {"share": 0.5}, "b": {"share": 0.4}}, {}, "add up to 0.9"),
        ({"a": {"share": 0.7}, "b": {"share": 0.7}}, {}, "add up to 1.4"),
        ({"a": {"share": 1.0}, "b": {}}, {}, "every source states its share, or none"),
        ({"a": {"share": 0.5}, "b": {"share": 0.5}}, {"rows": 130}, "mixture.b: "),
        ({"a": {}, "b": {}}, {"rows": 155, "held_out": 10}, "mixture."),
        ({"a": {"sample": 101}}, {}, "mixture.a.sample"),
        ({"c": {"share": 1.0}}, {"held_out": 40}, "no row to train on"),
    ],
)
def test_impossible_mixtures_are_one_line(
    pools: dict[str, str],
    sources: dict[str, dict[str, Any]],
    options: dict[str, int],
    named: str,
) -> None:
    with pytest.raises(UserError) as caught:
        build({n: Source(pools[n], **o) for n, o in sources.items()}, **options)
    message = str(caught.value)
    assert named in message and "\n" not in message
    assert message.startswith("stages.one.data.mixture")


def test_epoch_order_is_a_seeded_permutation() -> None:
    one = epoch_order(101, 5)
    assert sorted(one.tolist()) == list(range(101))
    assert one.tolist() == epoch_order(101, 5).tolist()
    assert one.tolist() != epoch_order(101, 6).tolist()
    assert one.tolist() != list(range(101))
