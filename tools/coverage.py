"""How often the intervals of condmis_jax.statistics hold the truth, by simulation.

    python tools/coverage.py --out docs/statistics.md

prints the tables as Markdown and, with --out, puts them between the markers of a document. Each
entry: coverage in %, and in brackets how often the interval lies wholly below the truth and wholly
above it. The first of the two is a falsely clean result.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from condmis_jax.errors import UserError
from condmis_jax.reports.files import fill_in
from condmis_jax.statistics.clusters import Over, covariances, estimate, ratio
from condmis_jax.statistics.contrasts import combined
from condmis_jax.statistics.interval import wilson
from condmis_jax.statistics.sequences import sequence_limits
from condmis_jax.statistics.simulation import (
    EXTREME,
    MILD,
    STRONG,
    Drawn,
    Heterogeneity,
    draw,
)

RATES = (0, 0.002, 0.004, 0.01, 0.02, 0.05, 0.2, 0.5)
PAIRS = ((0.0, 0.0), (0.002, 0.002), (0.02, 0.002), (0.05, 0.01), (0.2, 0.01), (0.5, 0.2))
SPREADS = {"mild": MILD, "strong": STRONG, "extreme": EXTREME}
BEGIN, END = "<!-- coverage -->", "<!-- /coverage -->"
CHUNK = 5_000
LOOKS = 400

Limits = tuple[np.ndarray, np.ndarray]
Tails = np.ndarray
"""[2]: how often an interval lies below the truth, and above it."""


def tails(limits: Limits, truth: np.ndarray) -> Tails:
    low, high = limits
    return np.array([np.mean(high < truth), np.mean(low > truth)])


def two_way_t(s: np.ndarray, n: np.ndarray) -> Limits:
    """The textbook interval, for comparison: two-way clustered, t(min(Q, S) - 1)."""
    rate, e = ratio(s, n)
    error = np.sqrt(np.maximum(covariances(e, e, "both")[0], 0))
    half = float(stats.t.isf(0.025, min(s.shape[-2:]) - 1)) * error
    return rate - half, rate + half


def limits_of(s: np.ndarray, n: np.ndarray, over: Over) -> Limits:
    found = estimate(s, n, over, 0.95)
    return found.low, found.high


def rate_tails(rate: float, spread: Heterogeneity, studies: int, seed: int) -> dict[str, Tails]:
    """Tails of every interval for a rate, 8 questions × 5 seeds × 100 samples."""
    drawn = draw(np.random.default_rng(seed), [rate], spread, studies)
    one = draw(np.random.default_rng(seed), [rate], spread, studies, seeds=1)
    (s,), n, (s1,), n1 = drawn.successes, drawn.trials, one.successes, one.trials
    pooled = np.array([wilson(k, 800) for k in s1.sum((-2, -1))]).T
    found = {
        "questions and trainings like these": (limits_of(s, n, "both"), drawn.truths["both"]),
        "these questions, trainings like these": (limits_of(s, n, "seeds"), drawn.truths["seeds"]),
        "questions like these, this model": (
            limits_of(s1, n1, "questions"),
            one.truths["questions"],
        ),
        "these questions, this model": ((pooled[0], pooled[1]), one.truths["none"]),
        "*not used:* two-way t, as the first line": (two_way_t(s, n), drawn.truths["both"]),
        "*not used:* Wilson of all answers, as the third": (
            (pooled[0], pooled[1]),
            one.truths["questions"],
        ),
    }
    return {name: tails(limits, truth[0]) for name, (limits, truth) in found.items()}


def difference_tails(
    pair: tuple[float, float], spread: Heterogeneity, studies: int, seed: int
) -> dict[str, Tails]:
    """Tails of every interval for a difference of two rates (or of two differences)."""
    weights = np.array([1.0, -1.0])
    drawn = draw(np.random.default_rng(seed), pair, spread, studies)
    one = draw(np.random.default_rng(seed), pair, spread, studies, seeds=1)
    four = draw(np.random.default_rng(seed), [*pair, pair[1], pair[1]], spread, studies)

    def limits(found: Drawn, signs: np.ndarray, over: Over) -> Limits:
        tables = [(s, found.trials) for s in found.successes]
        return combined(tables, signs, over, True, 0.95)

    s = drawn.successes
    e1, e0 = (ratio(x, drawn.trials) for x in s)
    error = np.sqrt(np.maximum(covariances(e1[1] - e0[1], e1[1] - e0[1], "both")[0], 0))
    half = float(stats.t.isf(0.025, 4)) * error
    difference = e1[0] - e0[0]
    signs = np.array([1.0, -1.0, -1.0, 1.0])

    def truth(found: Drawn, over: Over, of: np.ndarray) -> np.ndarray:
        return np.tensordot(of, np.array(found.truths[over]), 1)

    return {
        "questions and trainings like these": tails(
            limits(drawn, weights, "both"), truth(drawn, "both", weights)
        ),
        "questions like these, this model": tails(
            limits(one, weights, "questions"), truth(one, "questions", weights)
        ),
        "difference in differences, both like these": tails(
            limits(four, signs, "both"), truth(four, "both", signs)
        ),
        "*not used:* paired two-way t, as the first line": tails(
            (difference - half, difference + half), truth(drawn, "both", weights)
        ),
    }


def averaged(
    one: Callable[[int, int], dict[str, Tails]], studies: int, seed: int
) -> dict[str, Tails]:
    """Mean tails over chunks of studies, which bounds the memory."""
    sums: dict[str, Tails] = {}
    for at, start in enumerate(range(0, studies, CHUNK)):
        size = min(CHUNK, studies - start)
        for name, value in one(size, seed + 1000 * at).items():
            sums[name] = sums.get(name, np.zeros(2)) + value * size / studies
    return sums


def table(title: str, heads: Sequence[str], columns: Sequence[dict[str, Tails]]) -> Iterator[str]:
    yield f"| {title} | " + " | ".join(heads) + " |"
    yield "|---|" + "---|" * len(heads)
    for name in columns[0]:
        entries = (100 * column[name] for column in columns)
        shown = (f"{100 - low - high:.1f} ({low:.1f}, {high:.1f})" for low, high in entries)
        yield f"| {name} | " + " | ".join(shown) + " |"
    yield ""


def sequences(studies: int, seed: int) -> Iterator[str]:
    """How often a confidence sequence misses the rate at any of `LOOKS`, and a Wilson interval
    taken anew at each of them."""
    yield (
        "| looked at after each of 400 answers: ever misses a rate of | "
        + " | ".join(f"{100 * r:g} %" for r in RATES)
        + " |"
    )
    yield "|---|" + "---|" * len(RATES)
    rng = np.random.default_rng(seed)
    n = np.arange(1, LOOKS + 1)
    missed: dict[str, list[float]] = {"confidence sequence": [], "*not used:* Wilson": []}
    z = float(stats.norm.isf(0.025))
    for rate in RATES:
        s = (rng.random((studies, LOOKS)) < rate).cumsum(1)
        low, high = sequence_limits(s, np.broadcast_to(n, s.shape))
        outside = ((low > rate) | (high < rate)).any(1)
        missed["confidence sequence"].append(float(np.mean(outside)))
        # Wilson's interval holds the rates whose score test does not reject.
        far = abs(s - n * rate) > z * np.sqrt(n * rate * (1 - rate))
        missed["*not used:* Wilson"].append(float(np.mean(far.any(1))))
    for name, shares in missed.items():
        yield f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |"
    yield ""


def tables(studies: int, seed: int) -> Iterator[str]:
    for name, spread in SPREADS.items():
        columns = [averaged(partial(rate_tails, rate, spread), studies, seed) for rate in RATES]
        yield from table(f"{name}: a rate of", [f"{100 * r:g} %" for r in RATES], columns)
    for name, spread in SPREADS.items():
        columns = [
            averaged(partial(difference_tails, pair, spread), studies, seed) for pair in PAIRS
        ]
        heads = [f"{100 * a:g} − {100 * b:g} %" for a, b in PAIRS]
        yield from table(f"{name}: a difference of", heads, columns)
    yield from sequences(studies // 10, seed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=20_000, help="simulated for each entry")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--out", type=Path, help="document whose marked part is replaced")
    options = parser.parse_args()
    text = "\n".join(tables(options.studies, options.seed)).rstrip()
    print(text)
    if options.out:
        try:
            fill_in(options.out, BEGIN, END, [text])
        except UserError as error:
            parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    main()
