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


def weighted_kappa(first: Sequence[int], second: Sequence[int], categories: int) -> float | None:
    """Agreement of two raters on ordered categories, beyond chance, a disagreement weighing with
    the square of its distance (Cohen 1968).

    Args:
        first, second: category of each answer, 0 to `categories` - 1, by either rater.
        categories: how many there are.

    Returns:
        1 for full agreement, 0 for what chance gives; None without answers, or where both raters
        always name the same one.

    Raises:
        UserError: unequal numbers of answers, or a category out of range.
    """
    a, b = np.asarray(first, int), np.asarray(second, int)
    if a.shape != b.shape:
        raise UserError(f"agreement: {a.size} answers of one rater and {b.size} of the other")
    if a.size and not 0 <= min(a.min(), b.min()) <= max(a.max(), b.max()) < categories:
        raise UserError(f"agreement: a category is not within 0..{categories - 1}")
    far = (np.arange(categories)[:, None] - np.arange(categories)) ** 2
    shares = [np.bincount(x, minlength=categories) / max(x.size, 1) for x in (a, b)]
    chance = float(shares[0] @ far @ shares[1])
    return None if chance == 0 else 1 - float(((a - b) ** 2).mean()) / chance
