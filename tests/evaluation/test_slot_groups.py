"""How slots are divided among prompts and devices."""

from __future__ import annotations

import pytest

from condmis_jax.evaluation.completions import slot_groups


@pytest.mark.parametrize(
    ("samples", "slots", "shards", "expected"),
    [
        (100, 64, 1, (4, 16)),  # groups of 32 would leave 28 of 128 slots idle
        (64, 256, 1, (8, 32)),
        (20, 128, 1, (32, 4)),
        (2, 64, 1, (32, 2)),
        (64, 10, 1, (1, 8)),
        (100, 64, 16, (16, 16)),  # one group for each of 16 devices
        (20, 128, 4, (32, 4)),
        (20, 128, 5, (35, 4)),
    ],
)
def test_groups(samples: int, slots: int, shards: int, expected: tuple[int, int]) -> None:
    assert slot_groups(samples, slots, shards) == expected
