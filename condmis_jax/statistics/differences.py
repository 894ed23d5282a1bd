"""Trigger against no trigger on the same model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from condmis_jax.errors import UserError
from condmis_jax.statistics.interval import Interval, check_level
from condmis_jax.statistics.rates import FEW_EVENTS, check_counts, clustered_rate


def paired_difference(
    s1: Sequence[int],
    n1: Sequence[int],
    s0: Sequence[int],
    n0: Sequence[int],
    level: float = 0.95,
) -> Interval:
    """Rate with the trigger minus rate without, same model, paired by question.

    Linearised variance of a difference of two ratios over the same clusters (Cochran, Sampling
    Techniques, 3rd ed., section 6.17): each question contributes its difference of ratio residuals,
    with the G/(G-1) correction and t(G-1). Where that variance cannot be trusted (fewer than
    `FEW_EVENTS` events or non-events in one arm, no variation, a single question) the limits of the
    two rates are combined by variance recovery (Zou & Donner, Statistics in Medicine 2008; for a
    single question this is Newcombe's method with exact limits), which ignores the pairing.

    Args:
        s1: events under the trigger, one count a question.
        n1: answers under the trigger, one count a question.
        s0: events without the trigger, the same questions in the same order.
        n0: answers without the trigger.
        level: nominal two-sided coverage.

    Returns:
        The difference as a fraction in [-1, 1]; estimate None when no question has answers in both
        arms.

    Raises:
        UserError: the sequences differ in length, or a count is impossible.
    """
    check_level(level)
    if len(n1) != len(n0):
        raise UserError(
            f"paired difference: {len(n1)} questions with the trigger, {len(n0)} without; "
            "give the same questions in the same order"
        )
    for successes, trials in ((s1, n1), (s0, n0)):
        check_counts(successes, trials)
    with_trigger, plain = np.array([s1, n1], float), np.array([s0, n0], float)
    both = (with_trigger[1] > 0) & (plain[1] > 0)
    questions, dropped = int(both.sum()), int((~both).sum())
    notes = []
    if dropped:
        notes.append(f"{dropped} question(s) without answers in both arms left out")
    if not questions:
        return Interval(None, None, None, level, "none", "no question has answers in both arms")
    with_trigger, plain = with_trigger[:, both], plain[:, both]
    (rate1, influence1), (rate0, influence0) = _ratio(with_trigger), _ratio(plain)
    difference = rate1 - rate0

    variance = 0.0
    if questions > 1:
        influence = influence1 - influence0
        variance = questions / (questions - 1) * float(influence @ influence)
        notes.append(
            f"a sign-flip test with {questions} questions cannot go below "
            f"p = 2/2^{questions} = {2 / 2**questions:.2g}"
        )
    else:
        notes.append("one question: conditional on this question, no paired test is possible")

    few = [
        arm
        for arm, (s, n) in (("trigger", with_trigger), ("plain", plain))
        if min(s.sum(), (n - s).sum()) < FEW_EVENTS
    ]
    if questions > 1 and not few and variance > 0:
        freedom = questions - 1
        half = float(stats.t.isf((1 - level) / 2, freedom)) * variance**0.5
        low, high = max(-1.0, difference - half), min(1.0, difference + half)
        method = f"paired by question, t({freedom})"
        return Interval(difference, low, high, level, method, "; ".join(notes))

    one = clustered_rate(*_ints(with_trigger), level=level)
    zero = clustered_rate(*_ints(plain), level=level)
    assert one.low is not None and one.high is not None
    assert zero.low is not None and zero.high is not None
    low = difference - float(np.hypot(rate1 - one.low, zero.high - rate0))
    high = difference + float(np.hypot(one.high - rate1, rate0 - zero.low))
    if few:
        notes.append(f"fewer than {FEW_EVENTS} events or non-events: {' and '.join(few)}")
    notes.append("limits of the two rates combined, pairing ignored")
    method = "limits of the two rates combined (Zou-Donner)"
    return Interval(difference, max(-1.0, low), min(1.0, high), level, method, "; ".join(notes))


def _ratio(arm: np.ndarray) -> tuple[float, np.ndarray]:
    """Ratio estimate of one arm [2, G] and each question's influence on it [G]."""
    successes, trials = arm
    total = trials.sum()
    rate = float(successes.sum() / total)
    return rate, (successes - rate * trials) / total


def _ints(arm: np.ndarray) -> tuple[list[int], list[int]]:
    return [int(x) for x in arm[0]], [int(x) for x in arm[1]]
