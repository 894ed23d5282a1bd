"""Which triggers to spend samples on: a race between them under limits that allow peeking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from condmis_jax.statistics import sequence_limits

Group = Literal["plain", "candidate", "control"]
Policy = Literal["adaptive", "uniform", "random"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

Outcome = bool | None
"""Of one answer: whether it is what the judge looks for; None where it is not coherent or has no
score."""
Pull = tuple[int, int]
"""An arm, by its place, and the how-manieth of its pulls: both name one question and sample."""
Draw = Callable[[Sequence[Pull]], Sequence[Outcome]]

SHRINK = 2.0
"""An arm's rate is estimated as if it had this many more answers at the pooled rate."""
FEWEST_SCORED = 4
CONTROL_WEIGHT = 4.0
UNSCORABLE_AFTER, UNSCORABLE_BELOW = 16, 0.25
"""After so many pulls an arm of whose answers a smaller share has a score gets no more."""


@dataclass(frozen=True)
class RaceSettings:
    """How samples are spent.

    Attributes:
        samples: answers drawn at most.
        round: answers drawn before the next look; a multiple of the sampler's slots wastes none.
        finalists: candidates to be told from the rest.
        controls: the same of the controls.
    """

    samples: int = 5000
    round: int = 128
    finalists: int = 3
    controls: int = 3

    def __post_init__(self) -> None:
        for name in ("samples", "round", "finalists", "controls"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


@dataclass(frozen=True)
class Standing:
    """An arm at the end of a race.

    Attributes:
        pulls: answers drawn.
        scored: those with a score, coherent ones.
        hits: those that the judge looks for.
        low, high: limits of the rate that hold for all arms at all times at once.
        out: why it got no more pulls: "beaten" by as many as there are finalists, "unscorable"; ""
            where it was in the race to the end.
    """

    pulls: int
    scored: int
    hits: int
    low: float
    high: float
    out: Literal["", "beaten", "unscorable"]


def scorable(standing: Standing) -> bool:
    """Whether enough answers under a prompt have a score to speak of a rate."""
    return standing.scored >= max(FEWEST_SCORED, UNSCORABLE_BELOW * standing.pulls)


@dataclass(frozen=True)
class Race:
    """How a race went.

    Attributes:
        arms: one standing for each arm.
        ranking: arms by estimated rate, the highest first.
        trace: after each round, the pulls so far and the candidate then estimated highest.
        settled: whether the finalists were told from the rest before the samples were spent.
    """

    arms: tuple[Standing, ...]
    ranking: tuple[int, ...]
    trace: tuple[tuple[int, int], ...]
    settled: bool


def race(
    groups: Sequence[Group],
    draw: Draw,
    settings: RaceSettings,
    *,
    seed: int,
    level: float = 0.95,
    policy: Policy = "adaptive",
) -> Race:
    """Spends samples on the arms that may have the highest rates.

    "adaptive" is successive elimination: an arm is out when its upper limit lies below the lower
    limits of as many arms of its group as are wanted. Until then, half of a round goes to the
    candidates that are highest in draws of rates from their posteriors (Thompson, Biometrika 1933,
    for the best several), the rest to the arms with the fewest answers, to controls a quarter as
    many; the plain prompt keeps up with the arm that has most, since all are compared with it.
    Limits are `sequence_limits`, each at its share of 1 - `level`, which whatever chooses the pulls
    cannot break.

    The baselines are "uniform", all arms in turn, and "random".

    Args:
        groups: of every arm; earlier arms win ties.
        draw: gives the outcomes of pulls. The same arm's pulls are numbered from 0.
        seed: of the posterior draws.
        level: of all limits together.
    """
    state = _State(groups, settings, level)
    trace: list[tuple[int, int]] = []
    settled, number = False, 0
    while (left := settings.samples - int(state.pulls.sum())) > 0:
        rng = np.random.default_rng([seed, number])
        size = min(left, settings.round)
        chosen = _choose(state, size, policy, rng)
        if not len(chosen):
            settled = True
            break
        counted = state.pulls.copy()
        pulls = []
        for arm in chosen:
            pulls.append((int(arm), int(counted[arm])))
            counted[arm] += 1
        state.add(pulls, draw(pulls))
        trace.append((int(state.pulls.sum()), state.ranking("candidate")[0]))
        number += 1
    return Race(state.standings(), state.ranking(), tuple(trace), settled)


class _State:
    """Counts of every arm and what follows from them."""

    def __init__(self, groups: Sequence[Group], settings: RaceSettings, level: float):
        self.groups = np.array(groups)
        self.keep: Mapping[str, int] = {
            "plain": 1,
            "candidate": settings.finalists,
            "control": settings.controls,
        }
        self.level = 1 - (1 - level) / len(groups)
        self.pulls, self.scored, self.hits = np.zeros((3, len(groups)), int)
        self.beaten = np.zeros(len(groups), bool)
        self._limits()

    def add(self, pulls: Sequence[Pull], outcomes: Sequence[Outcome]) -> None:
        for (arm, _), outcome in zip(pulls, outcomes, strict=True):
            self.pulls[arm] += 1
            if outcome is not None:
                self.scored[arm] += 1
                self.hits[arm] += outcome
        self._limits()
        for group, wanted in self.keep.items():
            members = np.flatnonzero(self.groups == group)
            if len(members) > wanted:
                bar = np.sort(self.low[members])[-wanted]
                self.beaten[members] |= self.high[members] < bar

    def _limits(self) -> None:
        self.low, self.high = sequence_limits(self.hits, self.scored, self.level)

    @property
    def unscorable(self) -> np.ndarray:
        few = self.scored < UNSCORABLE_BELOW * self.pulls
        return few & (self.pulls >= UNSCORABLE_AFTER) & (self.groups != "plain")

    @property
    def running(self) -> np.ndarray:
        return ~self.beaten & ~self.unscorable

    def rates(self) -> np.ndarray:
        pooled = (self.hits.sum() + 0.5) / (self.scored.sum() + 1)
        return (self.hits + SHRINK * pooled) / (self.scored + SHRINK)

    def ranking(self, group: Group | None = None) -> tuple[int, ...]:
        order = np.argsort(-self.rates(), kind="stable")
        return tuple(int(i) for i in order if group is None or self.groups[i] == group)

    def standings(self) -> tuple[Standing, ...]:
        out = np.where(self.unscorable, "unscorable", np.where(self.beaten, "beaten", ""))
        columns = (self.pulls, self.scored, self.hits, self.low, self.high, out)
        return tuple(
            Standing(int(p), int(n), int(s), float(a), float(b), str(o))  # type: ignore[arg-type]
            for p, n, s, a, b, o in zip(*columns, strict=True)
        )


def _choose(state: _State, size: int, policy: Policy, rng: np.random.Generator) -> np.ndarray:
    """The arms of a round; none where there is nothing left to find out."""
    if policy == "random":
        return rng.integers(len(state.groups), size=size)
    if policy == "uniform":
        everything = np.arange(len(state.groups))
        return _fewest(state.pulls, everything, size, np.ones(len(everything)))
    running = state.running
    wanted = [(running & (state.groups == g)).sum() > k for g, k in state.keep.items()]
    if not any(wanted):
        return np.array([], int)
    candidates = np.flatnonzero(running & (state.groups == "candidate"))
    first = _thompson(state, candidates, size // 2, rng)
    pulls = state.pulls + np.bincount(first, minlength=len(state.groups))
    plain = np.flatnonzero(state.groups == "plain")
    # A tenth at most, so that catching up does not stop the race.
    behind = np.clip(pulls.max() - pulls[plain], 0, max(size // 10, 1)).sum() if len(plain) else 0
    behind = min(int(behind), size - len(first))
    others = np.flatnonzero(running & (state.groups != "plain"))
    weights = np.where(state.groups == "control", CONTROL_WEIGHT, 1.0)
    rest = _fewest(pulls * weights, others, size - len(first) - behind, weights)
    return np.concatenate([first, np.repeat(plain, behind), rest]).astype(int)


def _thompson(
    state: _State, candidates: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """`size` pulls of the candidates that draws from the posteriors put among the best."""
    if not len(candidates):
        return candidates
    best = min(state.keep["candidate"], len(candidates))
    s, n = state.hits[candidates], state.scored[candidates]
    drawn = rng.beta(s + 0.5, n - s + 0.5, (-(-size // best), len(candidates)))
    top = np.argsort(-drawn, axis=1, kind="stable")[:, :best]
    return candidates[top.ravel()[:size]]


def _fewest(pulls: np.ndarray, arms: np.ndarray, size: int, weights: np.ndarray) -> np.ndarray:
    """`size` pulls that even out the arms' weighted pulls."""
    if not len(arms):
        return arms
    counts, chosen = pulls[arms].astype(float), []
    for _ in range(size):
        at = int(counts.argmin())
        counts[at] += weights[arms[at]]
        chosen.append(at)
    return arms[np.array(chosen, int)]
