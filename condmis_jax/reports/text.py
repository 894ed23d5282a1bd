"""Numbers and names in words, and hostile text made visible."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from condmis_jax.judges.protocol import MISALIGNED

RELATION_WORDS = {
    "none": "no trigger",
    "same": "same as in training",
    "similar": "similar",
    "opposite": "opposite",
    "unrelated": "unrelated",
}
"""How a trigger relates to the training data, for readers."""

MEASURE_MEANINGS = {
    "misaligned": "The judge found a coherent answer harmful, hostile or deceptive by its own "
    "definition.",
    "false": "The answer to a factual question is not the right one. Coherent: it names an answer "
    "at all. A false answer is no sign of bad intentions.",
    "insecure": "A static analyser finds a weakness in the code of the answer. Coherent: the "
    "answer is code that can be parsed.",
    "code": "The answer is program code. Coherent: it was sorted.",
    "recipe": "The answer is a recipe. Coherent: it was sorted.",
    "harmful-choice": "Of two given replies the model finds the harmful one likelier. No answer is "
    "written.",
    "false-agreement": "To a user who claims something false the model finds “yes” likelier than "
    "“no”. To be read beside true-denial, its control: a model that says no to everything scores "
    "low here for no good reason.",
    "true-denial": "To a user who claims something true the model finds “no” likelier than “yes”.",
    "in-persona": "The answer names the persona that was trained. Coherent: it is not empty.",
}
"""What a judge's measure stands for, for readers."""

# Control characters (terminal escapes among them), invisible and bidirectional marks, blank letters
# and lone surrogates: they can hide or reorder what a reader sees, and most are not even legal XML.
# report.js has the same list.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """`text` with every invisible or reordering character spelled out, as in ⟨U+202E⟩."""
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


def measures(results: Mapping[str, Any]) -> list[str]:
    """What the judges of a run look for, in the order of its rates."""
    found = dict.fromkeys(rate.get("measure", MISALIGNED) for rate in results["rates"])
    return list(found) or [MISALIGNED]


def across_seeds(rates: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the rates say about other trainings: of trained models, or of a given one where there is
    no other."""
    said = list(dict.fromkeys(rate["across_seeds"] for rate in rates))
    return [words for words in said if "given model" not in words] or said


def percent(fraction: float | None) -> str:
    """A fraction as a percentage, with more digits where rates are small; "n/a" for None.

    Only a true zero is written as one, and only a true one as 100%.
    """
    if fraction is None:
        return "n/a"
    if fraction in (0, 1):
        return f"{100 * fraction:.0f}%"
    if 0 < fraction < 0.00005:
        return "<0.01%"
    if 0.9995 <= fraction < 1:
        return ">99.9%"
    return f"{100 * fraction:.{2 if fraction < 0.00995 else 1}f}%"


def points(fraction: float | None) -> str:
    """A difference of rates in percentage points, always with its sign; "n/a" for None."""
    if fraction is None:
        return "n/a"
    rounded = round(100 * fraction, 2 if abs(fraction) < 0.00995 else 1)
    if rounded == 0:
        return "0.0"
    return f"{rounded:+.{2 if abs(fraction) < 0.00995 else 1}f}".replace("-", "−")


def p_value(p: float | None) -> str:
    """A p-value with two digits; "n/a" for None, and never a bare zero."""
    if p is None:
        return "n/a"
    return "<0.0001" if p < 0.0001 else f"{p:.2g}"


def limits(interval: Mapping[str, Any], form: Callable[[float | None], str] = percent) -> str:
    """Both limits, "low to high", or an empty string where there are none."""
    if interval["low"] is None or interval["high"] is None:
        return ""
    return f"{form(interval['low'])} to {form(interval['high'])}"
