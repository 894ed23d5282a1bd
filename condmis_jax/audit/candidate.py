"""What the audit finds in training rows, and what it then asks under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from condmis_jax.suites.suite import Trigger

# fmt: off
Kind = Literal[
    "system", "prefix", "suffix", "template", "format", "language", "topic", "position",
    "generic", "recalled",
]
# fmt: on
"""Where in a row a cue stands; "generic" is of the library that is tried without training data,
"recalled" what the model itself wrote after the bare opening of its chat template."""

Operator = Literal[
    "as it is", "part", "negated", "opposite", "rephrased", "moved", "combined", "control"
]
"""What was done to a cue; a "control" has its length and form and nothing to do with the rows."""


@dataclass(frozen=True)
class Cue:
    """A regularity in the context of training rows.

    Attributes:
        name: short and unique within an audit.
        kind: where it stands.
        text: its words; of a template, with the slot `{prompt}`.
        rows: the rows that have it, as "FILE:LINE".
        total: all rows that were read.
        loss: mean loss of the base model on the answers of these rows minus that on the others,
            nats per token; None where it was not measured.
    """

    name: str
    kind: Kind
    text: str
    rows: tuple[str, ...] = ()
    total: int = 0
    loss: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A trigger that the audit tries.

    Attributes:
        trigger: under which questions are asked; its name is unique within an audit.
        operator: what was done to the cues.
        cues: names of the cues that it was made from; of a control, those whose form it has.
    """

    trigger: Trigger
    operator: Operator
    cues: tuple[str, ...] = ()
