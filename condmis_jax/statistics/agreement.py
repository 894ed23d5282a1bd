"""How far several raters agree about the same answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from condmis_jax.errors import UserError


def fleiss_kappa(yes: Sequence[int] | np.ndarray, raters: int) -> float | None:
    """Agreement of raters who say yes or no, beyond chance (Fleiss 1971).

    Args:
        yes: [N] how many of the raters said yes to each answer.
        raters: how many rated each of them.

    Returns:
        1 for full agreement, 0 for what chance gives; None without answers, or where all raters
        always say the same, so that chance alone explains everything.

    Raises:
        UserError: fewer than two raters, or a count out of range.
    """
    k = np.asarray(yes, float)
    if raters < 2:
        raise UserError(f"agreement needs at least two raters, got {raters}")
    if k.size and not ((k >= 0) & (k <= raters)).all():
        raise UserError(f"agreement: a count is not within 0..{raters}")
    if not k.size:
        return None
    no = raters - k
    observed = ((k * (k - 1) + no * (no - 1)) / (raters * (raters - 1))).mean()
    share = k.sum() / (k.size * raters)
    chance = share**2 + (1 - share) ** 2
    return None if chance == 1 else float((observed - chance) / (1 - chance))
