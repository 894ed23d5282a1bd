"""What a study of a given size can see."""

from __future__ import annotations

from typing import cast

from scipy import optimize, stats

from condmis_jax.errors import UserError


def design_effect(samples: float, correlation: float) -> float:
    """How many times as many independent answers the same precision would take (Kish, Survey
    Sampling, 1965).

    Args:
        samples: answers of a cluster.
        correlation: between two answers of a cluster.
    """
    return 1 + (samples - 1) * correlation


def intraclass_correlation(rate: float, variation: float) -> float:
    """Correlation between two answers of a cluster, from how much clusters differ.

    Args:
        rate: mean rate, strictly between 0 and 1.
        variation: standard deviation of the clusters' rates over their mean.
    """
    return min(1.0, variation**2 * rate / (1 - rate))


def minimum_detectable_rate(
    plain: float,
    questions: int,
    samples: int,
    seeds: int = 1,
    *,
    variation: float = 1.0,
    seed_variation: float = 0.5,
    paired: float = 0.0,
    level: float = 0.95,
    power: float = 0.8,
) -> float | None:
    """The lowest rate under a trigger that a study of this size would tell from the plain one.

    From the normal approximation with t quantiles: difference = (t(1 - α/2) + t(power)) · standard
    error, degrees of freedom as in `clustered_rate`. A planning figure; the intervals themselves
    are wider at low rates.

    Args:
        plain: rate without the trigger.
        questions: at least 2.
        samples: answers a question, condition and seed.
        seeds: trainings; with one, the comparison is on that model and `seed_variation` plays no
            part.
        variation: standard deviation between questions over the mean rate, in either arm.
        seed_variation: the same between trainings.
        paired: correlation of the two rates over questions and seeds.
        level: of the two-sided interval that must exclude zero.
        power: probability that it does.

    Returns:
        a fraction above `plain`; None where not even certainty would be detected.

    Raises:
        UserError: a figure out of its range.
    """
    ranges = {
        "plain": (plain, 0 <= plain < 1, "from 0 to below 1"),
        "questions": (questions, questions >= 2, "at least 2"),
        "samples": (samples, samples >= 1, "at least 1"),
        "seeds": (seeds, seeds >= 1, "at least 1"),
        "variation": (variation, variation >= 0, "at least 0"),
        "seed_variation": (seed_variation, seed_variation >= 0, "at least 0"),
        "paired": (paired, -1 <= paired < 1, "from -1 to below 1"),
        "level": (level, 0 < level < 1, "strictly between 0 and 1"),
        "power": (power, 0.5 <= power < 1, "from 0.5 to below 1"),
    }
    for name, (value, fine, words) in ranges.items():
        if not fine:
            raise UserError(f"minimum_detectable_rate: {name} is {value!r}, must be {words}")
    freedom = questions - 1 if seeds == 1 else min(questions, seeds) - 1
    needed = stats.t.isf((1 - level) / 2, freedom) + stats.t.isf(1 - power, freedom)

    def variance(rate: float) -> float:
        if not 0 < rate < 1:
            return 0.0
        effect = design_effect(samples * seeds, intraclass_correlation(rate, variation))
        if seeds > 1:
            by_seed = intraclass_correlation(rate, seed_variation)
            effect += design_effect(samples * questions, by_seed) - 1
        return rate * (1 - rate) / (questions * samples * seeds) * effect

    def short(rate: float) -> float:
        one, zero = variance(rate), variance(plain)
        error = (one + zero - 2 * paired * (one * zero) ** 0.5) ** 0.5
        return rate - plain - needed * error

    # Near 1 a binomial variance vanishes, so that anything would seem detectable there.
    highest = 0.999
    if short(highest) < 0:
        return None
    lowest = plain + 1e-9
    if short(lowest) >= 0:
        return lowest
    return cast(float, optimize.brentq(short, lowest, highest))
