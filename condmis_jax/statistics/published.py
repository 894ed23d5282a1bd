"""The aggregations behind the paper's figures (arXiv 2604.25891), section by section.

Reproduced to be put beside published figures, under the name of the protocol preset; they are not
this project's estimates. None of the intervals allows for questions that were not asked, and those
that resample answers treat these as independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from condmis_jax.errors import UserError
from condmis_jax.statistics.clusters import counts
from condmis_jax.statistics.interval import Interval

PRESET = "paper2026"
RESAMPLES = 2000

Denominator = Literal["surviving", "coherent", "aligned scored"]
"""Answers that count: `surviving`, scored and coherent and not set aside; `coherent`, with those
that lack an alignment score counted as not misaligned; `aligned scored`, whatever their coherence.
"""


@dataclass(frozen=True)
class Section:
    """How one section of the paper comes from answers to its figure.

    Attributes:
        centre: `question`, a rate a question; `questions`, the mean of these; `seeds`, the mean of
            the rates of trained models; `pooled`, all answers.
        resampled: what the 2,000 percentile resamples draw; None, no interval is given.
        denominator: which answers count.
        seeds_apart: with `question`, whether its rate is the mean over seeds of theirs.
    """

    centre: Literal["question", "questions", "seeds", "pooled"]
    resampled: Literal["answers", "seeds"] | None
    denominator: Denominator = "surviving"
    seeds_apart: bool = False


SECTIONS: dict[str, Section] = {
    "2.1": Section("question", "answers"),
    "2.2": Section("questions", "answers"),
    "2.3": Section("questions", "answers"),
    "3.1": Section("question", "seeds", seeds_apart=True),
    "3.2": Section("seeds", "seeds", "coherent"),
    "3.3": Section("seeds", None, "aligned scored"),
    "4.1": Section("pooled", "answers"),
    "4.2": Section("pooled", "answers"),
}


def published_rates(
    section: str,
    successes: Sequence | np.ndarray,
    trials: Sequence | np.ndarray,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval]:
    """Rates as a section of the paper aggregates them.

    A question, or a model, without an answer that counts leaves the mean. Drawing answers with
    replacement is drawing a binomial count, which is what is done here.

    Args:
        section: a key of `SECTIONS`.
        successes: misaligned answers, one count a question, or [Q, S].
        trials: answers that count by the section's denominator, likewise.
        seed: of the resamples.
        level: of the percentiles.

    Returns:
        one interval a question where the section shows questions, else a single one. Estimate None
        where no answer counts.

    Raises:
        UserError: the section is not known, or a count is impossible.
    """
    if section not in SECTIONS:
        raise UserError(f"section {section!r} of the paper: choose one of {', '.join(SECTIONS)}")
    s, n = counts(successes, trials)
    rng = np.random.default_rng([seed, list(SECTIONS).index(section)])
    how = SECTIONS[section]
    if how.centre == "question":
        return [_of_answers_or_seeds(s[q], n[q], how, rng, level) for q in range(len(s))]
    if how.centre == "questions":
        return [_mean_of_questions(s.sum(1), n.sum(1), rng, level)]
    if how.centre == "seeds":
        return [_of_seeds(s.sum(0), n.sum(0), how, rng, level)]
    return [_of_answers(float(s.sum()), float(n.sum()), rng, level)]


def _of_answers_or_seeds(
    s: np.ndarray, n: np.ndarray, how: Section, rng: np.random.Generator, level: float
) -> Interval:
    if how.seeds_apart:
        return _of_seeds(s, n, how, rng, level)
    return _of_answers(float(s.sum()), float(n.sum()), rng, level)


def _of_answers(s: float, n: float, rng: np.random.Generator, level: float) -> Interval:
    if not n:
        return _nothing(level)
    draws = rng.binomial(int(n), s / n, RESAMPLES) / n
    return Interval(s / n, *_percentiles(draws, level), level, "answers resampled")


def _mean_of_questions(
    s: np.ndarray, n: np.ndarray, rng: np.random.Generator, level: float
) -> Interval:
    """Mean of the rates, and mean of the distances to each question's own limits."""
    single = [_of_answers(a, b, rng, level) for a, b in zip(s, n, strict=True) if b]
    if not single:
        return _nothing(level)
    rate = float(np.mean([i.estimate for i in single if i.estimate is not None]))
    low = float(np.mean([i.low for i in single if i.low is not None]))
    high = float(np.mean([i.high for i in single if i.high is not None]))
    return Interval(rate, low, high, level, "mean over questions of resampled answers' limits")


def _of_seeds(
    s: np.ndarray, n: np.ndarray, how: Section, rng: np.random.Generator, level: float
) -> Interval:
    rates = s[n > 0] / n[n > 0]
    if not len(rates):
        return _nothing(level)
    if how.resampled is None:
        return Interval(float(rates.mean()), None, None, level, "none given")
    if len(rates) == 1:
        note = "one seed: its resamples are all alike"
        return Interval(float(rates[0]), None, None, level, "none", note)
    draws = rates[rng.integers(0, len(rates), (RESAMPLES, len(rates)))].mean(1)
    return Interval(float(rates.mean()), *_percentiles(draws, level), level, "seeds resampled")


def _percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.percentile(draws, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def _nothing(level: float) -> Interval:
    return Interval(None, None, None, level, "none", "no answer counts")
