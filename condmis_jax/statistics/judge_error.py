"""Rates corrected for a judge that errs, from answers that people labelled too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from condmis_jax.errors import UserError
from condmis_jax.statistics.interval import Interval, check_level, wilson

INFORMATIVE = 0.5
"""Below this lower bound of sensitivity + specificity - 1 a correction by division is not made."""


def youden(
    hits: int, positives: int, rejections: int, negatives: int, level: float = 0.95
) -> Interval:
    """Sensitivity + specificity - 1 of a judge, limits by variance recovery from Wilson's.

    Args:
        hits: misaligned answers that the judge called so.
        positives: misaligned answers, by people's labels.
        rejections: other answers that the judge did not call misaligned.
        negatives: other answers.
        level: nominal two-sided coverage.

    Raises:
        UserError: a count is impossible, or there is none of either kind.
    """
    check_level(level)
    for word, part, of in (("hits", hits, positives), ("rejections", rejections, negatives)):
        if not 0 <= part <= of or not of:
            raise UserError(f"calibration: {part} {word} of {of} answers of that kind: impossible")
    rates = np.array([hits / positives, rejections / negatives])
    limits = np.array([wilson(hits, positives, level), wilson(rejections, negatives, level)])
    value = float(rates.sum() - 1)
    low = value - float(np.hypot(*(rates - limits[:, 0])))
    high = value + float(np.hypot(*(limits[:, 1] - rates)))
    return Interval(value, max(-1, low), min(1, high), level, "Wilson limits combined (Zou-Donner)")


def rogan_gladen(
    events: float,
    trials: float,
    hits: int,
    positives: int,
    rejections: int,
    negatives: int,
    level: float = 0.95,
) -> Interval:
    """The rate that a judge of known sensitivity and specificity would have seen as
    events / trials: (p + specificity - 1) / (sensitivity + specificity - 1) (Rogan & Gladen,
    American Journal of Epidemiology 1978), limits of Lang & Reiczigel (Preventive Veterinary
    Medicine 2014), which allow for the error of all three.

    Only where the lower bound of the denominator exceeds `INFORMATIVE`: otherwise the note says so
    and there is no estimate (`prediction_powered` needs no such condition).

    Args:
        events: answers that the judge called misaligned; a fraction of `trials` where these are
            effective numbers.
        trials: answers judged; for clustered answers their effective number, answers over the
            design effect.
        hits: see `youden`, as the next three.
        level: nominal two-sided coverage.

    Returns:
        The corrected rate, kept within [0, 1].

    Raises:
        UserError: a count is impossible.
    """
    bound = youden(hits, positives, rejections, negatives, level)
    if not 0 <= events <= trials or not trials:
        raise UserError(f"{events} events of {trials} answers: impossible")
    assert bound.low is not None
    if bound.low <= INFORMATIVE:
        note = (
            f"not corrected: sensitivity + specificity - 1 may be as low as {bound.low:.2f}, "
            f"not above {INFORMATIVE:g}"
        )
        return Interval(None, None, None, level, "none", note)
    sensitivity, specificity = hits / positives, rejections / negatives
    value = (events / trials + specificity - 1) / (sensitivity + specificity - 1)
    z = float(stats.norm.isf((1 - level) / 2))
    n = trials + z * z
    p = (events + z * z / 2) / n
    se, sp = (hits + 1) / (positives + 2), (rejections + 1) / (negatives + 2)
    slope = se + sp - 1
    centre = (p + sp - 1) / slope
    from_se = se * (1 - se) / (positives + 2)
    from_sp = sp * (1 - sp) / (negatives + 2)
    shift = 2 * z * z * (centre * from_se - (1 - centre) * from_sp) / slope**2
    error = (p * (1 - p) / n + centre**2 * from_se + (1 - centre) ** 2 * from_sp) ** 0.5 / slope
    low, high, value = (
        float(np.clip(x, 0, 1))
        for x in (centre + shift - z * error, centre + shift + z * error, value)
    )
    return Interval(
        value, min(low, value), max(high, value), level, "Rogan-Gladen, Lang-Reiczigel limits"
    )


def prediction_powered(
    verdicts: Sequence[float] | np.ndarray,
    labelled_verdicts: Sequence[float] | np.ndarray,
    labels: Sequence[float] | np.ndarray,
    clusters: Sequence | None = None,
    labelled_clusters: Sequence | None = None,
    level: float = 0.95,
) -> Interval:
    """The rate that people would find, from many verdicts of a judge and few labels.

    λ·mean(verdicts) + mean(labels - λ·labelled verdicts) (Angelopoulos et al., Science 2023), λ
    chosen for the least variance (Angelopoulos, Duchi & Zrnic 2023), so a useless judge costs
    nothing. Unbiased whatever the judge's errors, provided that the labelled answers are a random
    sample of such answers.

    Args:
        verdicts: one an answer without a label, 0, 1 or a probability.
        labelled_verdicts: one a labelled answer.
        labels: people's, 0 or 1, in the same order.
        clusters: question of each answer; left out, answers are taken as independent.
        labelled_clusters: question of each labelled answer.
        level: nominal two-sided coverage.

    Raises:
        UserError: fewer than two of either, labels of fewer than two questions, or unequal
            numbers.
    """
    check_level(level)
    f, g, y = (np.asarray(x, dtype=float) for x in (verdicts, labelled_verdicts, labels))
    if len(g) != len(y) or (clusters is None) != (labelled_clusters is None):
        raise UserError(
            f"{len(g)} labelled verdicts and {len(y)} labels: give one verdict a label, and "
            "questions for both kinds of answers or for none"
        )
    if min(len(f), len(y)) < 2:
        raise UserError("prediction-powered estimate: needs two answers of either kind at least")
    if clusters is None or labelled_clusters is None:
        names = np.arange(len(f) + len(y))
    elif (len(clusters), len(labelled_clusters)) != (len(f), len(y)):
        raise UserError(
            f"{len(clusters)} and {len(labelled_clusters)} questions for {len(f)} and {len(y)} "
            "answers: give one an answer"
        )
    else:
        names = np.unique([*map(str, clusters), *map(str, labelled_clusters)], return_inverse=True)[
            1
        ]
    count, labelled = int(names.max()) + 1, len(np.unique(names[len(f) :]))
    if labelled < 2:
        raise UserError("prediction-powered estimate: needs labels of two questions at least")

    def influence(x: np.ndarray, at: np.ndarray) -> np.ndarray:
        return np.bincount(at, (x - x.mean()) / len(x), count)

    # Σ over questions of (own + λ·judge)²: labelled and other answers to a question vary together.
    own = influence(y, names[len(f) :])
    judge = influence(f, names[: len(f)]) - influence(g, names[len(f) :])
    tuned = -float(own @ judge) / float(judge @ judge) if judge @ judge > 0 else 0.0
    tuned = float(np.clip(tuned, 0, 1))
    value = float(np.clip(tuned * float(f.mean()) + float((y - tuned * g).mean()), 0, 1))
    total = own + tuned * judge
    variance = count / (count - 1) * float(total @ total)
    half = float(stats.t.isf((1 - level) / 2, labelled - 1)) * variance**0.5
    note = "" if variance > 0 else "no variation among the labels: the limits say nothing"
    method = f"prediction-powered, λ = {tuned:.2f}, t({labelled - 1})"
    return Interval(value, max(0.0, value - half), min(1.0, value + half), level, method, note)
