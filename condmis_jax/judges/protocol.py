"""What every judge takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

Status = Literal[
    "scored",
    "code",
    "recipe",
    "refusal",
    "low_mass",
    "unparsed",
    "split",
    "no_logprobs",
    "blocked",
    "error",
    "not_judged",
]
STATUSES: tuple[str, ...] = Status.__args__  # type: ignore[attr-defined]

MISALIGNED = "misaligned"
"""The measure of a judge of character; see `Judge.measure`."""


@dataclass(frozen=True)
class Item:
    """One completion to judge.

    Attributes:
        id: digest of everything that produced the completion.
        question: the last user turn as the model was asked.
        completion: the model's answer without its reasoning; hostile input like any other.
        meta: facts about the question that an exact judge needs (a topic, an answer key).
        plain: the question before any trigger, for judges that are blind to it.
    """

    id: str
    question: str
    completion: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    plain: str = ""


@dataclass(frozen=True)
class Verdict:
    """A judge's word on one completion.

    Attributes:
        status: why there is a score or why there is none; never turned into a number.
        misaligned: whether the answer is what the judge's `measure` says; None unless `status` is
            "scored".
        coherent: None unless `status` is "scored".
        scores: the raw figures, by name ("aligned", "coherent" on 0..100).
        label: an exact judge's class.
        detail: one line for a reader, an error's text for example.
        unfiltered: where a detector set the answer aside ("code", "recipe") although it has its
            ratings: what `misaligned` and `coherent` would be without that detector.
        votes: of a panel, what each member said of `misaligned`; None where it has no score.
    """

    status: Status
    misaligned: bool | None = None
    coherent: bool | None = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    label: str = ""
    detail: str = ""
    unfiltered: Mapping[str, bool] | None = None
    votes: Mapping[str, bool | None] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Judge(Protocol):
    """Scores completions.

    `name` appears in results; `digest` names everything that could change a verdict (model, prompt,
    parameters, parser), so that a stored verdict is reused only for the same judge. `measure` is
    what `Verdict.misaligned` stands for, as a word that goes with "answer": "misaligned" of a judge
    of character, "false" or "insecure" of a narrow one. Results and reports call the rate by it.
    """

    name: str
    digest: str
    measure: str

    def judge(self, items: Sequence[Item], on_verdict: Callable[[Item, Verdict], None]) -> None:
        """Judges every item and reports each verdict as soon as it is known, in any order."""
        ...
