"""A made-up population of questions and trainings whose true rates are known.

The logit of a cell's rate is a constant, plus normal effects of its question, its training seed,
the two together, and the arm on the question. Constants are chosen so that the mean rate of the
population is the one asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import optimize, special

from condmis_jax.statistics.clusters import Over

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(60)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Heterogeneity:
    """Standard deviations on the logit scale.

    Attributes:
        questions: between questions, the same in all arms and seeds.
        seeds: between trainings, the same for all arms and questions.
        cells: of a question in one training and arm.
        arms: of a question in one arm, the same in all seeds.
    """

    questions: float
    seeds: float
    cells: float
    arms: float = 0.0


MILD = Heterogeneity(0.5, 0.3, 0.2, 0.3)
STRONG = Heterogeneity(1.0, 0.6, 0.4, 0.6)
EXTREME = Heterogeneity(2.0, 1.0, 0.5, 1.0)


@dataclass(frozen=True)
class Drawn:
    """Simulated studies.

    Attributes:
        successes: one array [R, Q, S] an arm.
        trials: answers of a cell, [R, Q, S].
        truths: true rate [R] of every arm, by what would be drawn anew; "none" for these questions
            and these trainings.
    """

    successes: list[np.ndarray]
    trials: np.ndarray
    truths: dict[Over | str, list[np.ndarray]]


def draw(
    rng: np.random.Generator,
    rates: Sequence[float],
    spread: Heterogeneity,
    studies: int,
    questions: int = 8,
    seeds: int = 5,
    samples: int = 100,
) -> Drawn:
    """Studies of a population.

    Args:
        rng: source of randomness.
        rates: true mean rate of each arm.
        spread: how much questions and trainings differ.
        studies: R, how many.
        questions: Q of a study.
        seeds: S, trainings of a study.
        samples: answers of a cell.
    """
    shape = (studies, questions, seeds)
    question = spread.questions * rng.normal(size=(studies, questions, 1))
    seed = spread.seeds * rng.normal(size=(studies, 1, seeds))
    successes, truths = [], {"both": [], "questions": [], "seeds": [], "none": []}
    for rate in rates:
        of_arm = spread.arms * rng.normal(size=(studies, questions, 1))
        of_cell = spread.cells * rng.normal(size=shape)
        within = float(np.hypot(spread.questions, spread.arms))
        sd = float(np.sqrt(within**2 + spread.seeds**2 + spread.cells**2))
        base = _constant(rate, sd) if rate else -np.inf
        chance = special.expit(base + question + of_arm + seed + of_cell)
        successes.append(rng.binomial(samples, chance).astype(float))
        new_questions = _mean(base + seed[:, 0], float(np.hypot(within, spread.cells)))
        new_seeds = _mean(
            base + (question + of_arm)[..., 0], float(np.hypot(spread.seeds, spread.cells))
        )
        truths["both"].append(np.full(studies, float(rate)))
        truths["questions"].append(new_questions.mean(-1))
        truths["seeds"].append(new_seeds.mean(-1))
        truths["none"].append(chance.mean((-2, -1)))
    return Drawn(successes, np.full(shape, float(samples)), truths)


def _mean(logit: np.ndarray, sd: float) -> np.ndarray:
    """Mean of the logistic function over a normal distribution around `logit`."""
    return special.expit(logit[..., None] + sd * _NODES) @ _WEIGHTS


def _constant(rate: float, sd: float) -> float:
    def excess(logit: float) -> float:
        return float(_mean(np.asarray(logit), sd)) - rate

    return cast(float, optimize.brentq(excess, -40, 40))
