"""Limits of rates that hold at every moment of a study at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import betaln, xlog1py, xlogy

from condmis_jax.errors import UserError
from condmis_jax.statistics.interval import check_level

PRIOR = 0.5
_HALVINGS = 50


def sequence_limits(
    successes: Sequence | np.ndarray, trials: Sequence | np.ndarray, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """A confidence sequence for a rate: with probability `level` no n exists at which it misses.

    So counts may be looked at after every answer, stopped when they please, and drawn from where
    earlier looks pointed. The limits are the p at which the mixture of likelihoods over
    Beta(1/2, 1/2) is 1 / (1 - level) times the likelihood of p: that ratio is a martingale under
    p, and Ville's inequality bounds its maximum (Robbins, Annals of Mathematical Statistics 1970;
    Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics 2021). Exact for independent answers of
    one rate, a random question each.

    Args:
        successes, trials: counts [...]; without trials the limits are 0 and 1.
        level: of each rate; divide 1 - level by their number for all of several to hold.

    Returns:
        lower and upper limits [...].

    Raises:
        UserError: the level is none, or more successes than trials.
    """
    check_level(level)
    s, n = np.asarray(successes, float), np.asarray(trials, float)
    if s.shape != n.shape or not ((s >= 0) & (s <= n)).all():
        raise UserError(
            "confidence sequence: successes must lie between 0 and trials, pair by pair"
        )
    f = n - s
    mixture = betaln(s + PRIOR, f + PRIOR) - betaln(PRIOR, PRIOR)
    bound = mixture + np.log1p(-level)
    rate = np.where(n > 0, s / np.maximum(n, 1), 0.5)

    def root(outside: np.ndarray) -> np.ndarray:
        inside = rate
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            held = xlogy(s, middle) + xlog1py(f, -middle) > bound
            inside, outside = np.where(held, middle, inside), np.where(held, outside, middle)
        return outside

    low, high = root(np.zeros_like(rate)), root(np.ones_like(rate))
    return np.where(s > 0, low, 0.0), np.where(f > 0, high, 1.0)
