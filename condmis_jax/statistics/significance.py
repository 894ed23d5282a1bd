"""Tests of no effect, and what many of them at once are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from condmis_jax.errors import UserError

ENUMERATED = 16
"""Up to this many units all sign patterns are counted; above, that many are drawn:"""
DRAWS = 19_999


@dataclass(frozen=True)
class SignFlip:
    """A sign-flip test.

    Attributes:
        p: two-sided p-value; None without units.
        smallest: the p-value that no data with this many units can go below.
        units: what was flipped, such as questions with answers in both arms.
    """

    p: float | None
    smallest: float | None
    units: int

    def to_dict(self) -> dict[str, Any]:
        """The three fields as a JSON-ready dict."""
        return asdict(self)


def sign_flip(differences: Sequence[float] | np.ndarray, seed: int = 0) -> SignFlip:
    """Tests that paired differences are as often and as much above zero as below (Fisher, The
    Design of Experiments, 1935, section 21).

    The statistic is the absolute sum. Up to `ENUMERATED` units the p-value is exact, above it is
    that of `DRAWS` seeded random patterns and the data's own.

    Args:
        differences: one a unit: a question's rate with the trigger minus without, or a seed's.
        seed: of the random patterns.
    """
    d = np.asarray(differences, dtype=float)
    units = len(d)
    if not units:
        return SignFlip(None, None, 0)
    # Sums that are equal on paper differ in their last bits.
    observed = abs(d.sum()) * (1 - 1e-9) - 1e-15
    if units <= ENUMERATED:
        patterns = (np.arange(2**units)[:, None] >> np.arange(units)) & 1
        p = float(np.mean(np.abs((1 - 2 * patterns) @ d) >= observed))
        return SignFlip(p, 2 / 2**units, units)
    rng = np.random.default_rng(seed)
    extreme = 0
    for size in np.diff(np.linspace(0, DRAWS, 11).astype(int)):
        signs = rng.integers(0, 2, (int(size), units), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ d) >= observed).sum())
    return SignFlip((extreme + 1) / (DRAWS + 1), max(1 / (DRAWS + 1), 2 / 2**units), units)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for the family that they form (Holm, Scandinavian Journal of Statistics
    1979): rejecting those below α leaves the probability of any false rejection below α.

    Args:
        p: one a comparison; None, a comparison that could not be made, stays None and takes no
            part.
    """
    known = _known(p)
    adjusted: dict[int, float] = {}
    above = 0.0
    for rank, at in enumerate(sorted(known, key=known.__getitem__)):
        above = max(above, min(1.0, (len(known) - rank) * known[at]))
        adjusted[at] = above
    return [adjusted.get(at) for at in range(len(p))]


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for the false discovery rate (Benjamini & Hochberg, Journal of the Royal
    Statistical Society B 1995), by scipy.

    Args:
        p: see `holm`.
    """
    known = _known(p)
    if not known:
        return [None] * len(p)
    found = stats.false_discovery_control(list(known.values()), method="bh")
    adjusted = dict(zip(known, found, strict=True))
    return [float(adjusted[at]) if at in adjusted else None for at in range(len(p))]


def _known(p: Sequence[float | None]) -> dict[int, float]:
    known = {at: value for at, value in enumerate(p) if value is not None}
    for at, value in known.items():
        if not 0 <= value <= 1:
            raise UserError(f"p-value {at} of the family is {value!r}: must lie between 0 and 1")
    return known
