"""A rate corrected for its judge's errors, from a calibration set or from labels of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from condmis_jax.judges.calibration import Calibration
from condmis_jax.statistics import (
    Interval,
    Over,
    clustered_rate,
    effective_answers,
    prediction_powered,
    rogan_gladen,
)

ADVICE = "label a random part of these answers (tools/label.py)"


class Labelled(NamedTuple):
    """An answer that a person labelled: its question, and whether judge and person called it
    misaligned."""

    question: str
    verdict: bool
    label: bool


def corrected(
    trigger: str,
    questions: Sequence[str],
    events: np.ndarray,
    requested: np.ndarray,
    over: Over,
    calibration: Calibration | None,
    labelled: Sequence[Labelled],
) -> dict[str, Any] | None:
    """P(misaligned) among all requested answers, as it would be by the labels.

    Of a judge with a calibration result by Rogan and Gladen's formula, where it is informative
    enough for that (`rogan_gladen`): its errors on the set, under this trigger where the set has
    it, are taken to be those on these answers. Else prediction-powered, from labels of these very
    answers, which assumes nothing of the kind.

    Args:
        trigger: of the answers.
        questions: names of the rows.
        events: [Q, S] answers that the judge called misaligned.
        requested: [Q, S] all of them, scored or not.
        over: what the raw rate's interval is about.
        calibration: of this very judge.
        labelled: a random part of the answers.

    Returns:
        the fields of an interval; "from", the group of the calibration set that was used, or
        "labels"; and "labels", how many there are. None without calibration and labels.
    """
    if calibration is None and not labelled:
        return None
    found, source = Interval(None, None, None, method="none", note="too few labels"), "labels"
    if calibration is not None:
        source, errors = calibration.about(trigger)
        if errors.positives and errors.negatives:
            n = effective_answers(events, requested, over)
            found = rogan_gladen(
                n * float(events.sum()) / float(requested.sum()),
                n,
                errors.hits,
                errors.positives,
                errors.rejections,
                errors.negatives,
            )
        else:
            found = Interval(None, None, None, method="none", note=errors.informative.note)
    if found.estimate is None and len({answer.question for answer in labelled}) > 1:
        found, source = _by_labels(questions, events, requested, labelled), "labels"
    if found.estimate is None:
        note = f"{found.note}; {ADVICE}"
        found = Interval(None, None, None, found.level, found.method, note)
    return {"from": source, "labels": len(labelled), **found.to_dict()}


def _by_labels(
    questions: Sequence[str],
    events: np.ndarray,
    requested: np.ndarray,
    labelled: Sequence[Labelled],
) -> Interval:
    verdicts: list[float] = []
    clusters: list[str] = []
    for at, question in enumerate(questions):
        mine = [answer.verdict for answer in labelled if answer.question == question]
        bad = int(events[at].sum()) - sum(mine)
        good = int(requested[at].sum() - events[at].sum()) - (len(mine) - sum(mine))
        verdicts += [1.0] * bad + [0.0] * good
        clusters += [question] * (bad + good)
    if len(verdicts) < 2:  # all is labelled, and the judge is not needed
        bad = [sum(a.label for a in labelled if a.question == q) for q in questions]
        return clustered_rate(bad, [sum(a.question == q for a in labelled) for q in questions])
    return prediction_powered(
        verdicts,
        [float(answer.verdict) for answer in labelled],
        [float(answer.label) for answer in labelled],
        clusters,
        [answer.question for answer in labelled],
    )
