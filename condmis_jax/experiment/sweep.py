"""Sweeps: lists of changes to a config, combined.

A change maps config keys to values, `{"stages.mixture.learning_rate": 1e-4}`, as `--config.KEY`
does; a sweep is a list of them, one for each run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

Change = dict[str, Any]
Sweep = list[Change]


def over(key: str, values: Iterable[Any]) -> Sweep:
    """One run for each value of a key."""
    return [{key: value} for value in values]


def product(*sweeps: Sweep) -> Sweep:
    """Every combination; the last sweep varies fastest.

    Raises:
        ValueError: two sweeps change the same key.
    """
    return [_joined(changes) for changes in itertools.product(*sweeps)]


def zipped(*sweeps: Sweep) -> Sweep:
    """The sweeps side by side: the first changes of all, the second of all and so on.

    Raises:
        ValueError: they are not equally long, or two change the same key.
    """
    if len({len(sweep) for sweep in sweeps}) > 1:
        raise ValueError(f"sweeps of different lengths: {[len(sweep) for sweep in sweeps]}")
    return [_joined(changes) for changes in zip(*sweeps, strict=True)]


def chain(*sweeps: Sweep) -> Sweep:
    """The sweeps one after the other."""
    return list(itertools.chain(*sweeps))


def _joined(changes: Sequence[Change]) -> Change:
    joined: Change = {}
    for change in changes:
        if twice := joined.keys() & change.keys():
            raise ValueError(f"two sweeps change {sorted(twice)[0]}")
        joined |= change
    return joined
