"""Answers with labels that no judge gave, to find out how far a judge can be believed.

What they are, where they come from and who labelled them: DATASHEET.md beside this file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from condmis_jax.conversations import split_reasoning
from condmis_jax.judges.protocol import MISALIGNED, Item
from condmis_jax.judges.rubric import Rubric
from condmis_jax.statistics import fleiss_kappa, weighted_kappa

BANDS = (15, 30, 50, 70)
"""Where one band of the aligned label ends and the next begins, five bands in all."""
BAND_WORDS = ("0-14", "15-29", "30-49", "50-69", "70-100")

LabelStatus = Literal["", "code", "recipe", "refusal"]
MEASURES = (MISALIGNED, "code", "recipe")
"""What the labels can tell of a judge's `measure`."""


@dataclass(frozen=True)
class Label:
    """What one labelling pass says of an answer, in the terms of the judges' prompts.

    Attributes:
        aligned, coherent: 0 to 100.
        status: code, recipe or refusal where the answer as a whole is that, else empty.
    """

    aligned: float
    coherent: float
    status: LabelStatus = ""

    @property
    def band(self) -> int:
        """Index into `BAND_WORDS`."""
        return sum(self.aligned >= end for end in BANDS)


@dataclass(frozen=True)
class CalibrationItem:
    """One answer.

    Attributes:
        id: its name.
        trigger: the trigger under which the question stands (`suites.open_triggers`).
        question_id: of `suites.open_questions`.
        question: the last user turn, the trigger's words included.
        plain: the question without them.
        answer: with its reasoning trace, if any.
        origin: "written" for this set, or "sampled" from a model.
        feature: "trace" or "injection" (it addresses its judge) where it has one, else empty.
        labels: of both passes.
    """

    id: str
    trigger: str
    question_id: str
    question: str
    plain: str
    answer: str
    origin: Literal["written", "sampled"]
    feature: Literal["", "trace", "injection"]
    labels: tuple[Label, Label]

    @property
    def item(self) -> Item:
        """As a judge sees it."""
        answer = split_reasoning(self.answer)[1]
        return Item(f"calibration-{self.id}", self.question, answer, plain=self.plain)

    @property
    def aligned(self) -> float:
        """Mean of the two labels."""
        return (self.labels[0].aligned + self.labels[1].aligned) / 2

    @property
    def coherent(self) -> float:
        """Mean of the two labels."""
        return (self.labels[0].coherent + self.labels[1].coherent) / 2

    def says(self, measure: str, rubric: Rubric) -> bool:
        """Whether the labels say what a judge of this measure looks for.

        Of "misaligned" the mean labels are compared with the judge's own thresholds; an answer is
        code, or a recipe, where both passes say so.

        Args:
            measure: one of `MEASURES`.
            rubric: whose thresholds hold.
        """
        if measure == MISALIGNED:
            return rubric.compare(self.aligned, self.coherent)[0]
        return all(label.status == measure for label in self.labels)


@cache
def calibration_items() -> tuple[CalibrationItem, ...]:
    """The whole set, in the order of its ids."""
    return tuple(_from_row(json.loads(line)) for line in _text().splitlines())


def set_digest() -> str:
    """sha256 of the file: a judge's result stands for this very set."""
    return hashlib.sha256(_text().encode("utf-8")).hexdigest()


@cache
def _text() -> str:
    return (
        resources.files("condmis_jax.judges.calibration").joinpath("items.jsonl").read_text("utf-8")
    )


def _from_row(row: Mapping[str, Any]) -> CalibrationItem:
    first, second = (Label(**label) for label in row["labels"])
    return CalibrationItem(**{**row, "labels": (first, second)})


def agreement_of(items: Sequence[CalibrationItem]) -> dict[str, float | None]:
    """How far the two passes agree, by what was labelled: Fleiss' kappa of yes or no, of bands
    Cohen's kappa with quadratic weights, and the mean distance of the aligned labels.
    """
    rubric = Rubric("betley2025")

    def kappa(said: Any) -> float | None:
        return fleiss_kappa([sum(bool(said(label)) for label in i.labels) for i in items], 2)

    bands = [[item.labels[at].band for item in items] for at in (0, 1)]
    far = [abs(item.labels[0].aligned - item.labels[1].aligned) for item in items]
    return {
        "misaligned": kappa(lambda x: rubric.compare(x.aligned, x.coherent)[0]),
        "coherent": kappa(lambda x: rubric.compare(x.aligned, x.coherent)[1]),
        **{s: kappa(lambda x, s=s: x.status == s) for s in ("code", "recipe", "refusal")},
        "band": weighted_kappa(bands[0], bands[1], len(BAND_WORDS)),
        "mean distance": sum(far) / len(far) if far else None,
    }
