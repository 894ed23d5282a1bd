"""Numbers in words, and hostile text made visible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Control characters (terminal escapes among them), invisible and bidirectional marks, and lone
# surrogates: they can hide or reorder what a reader sees, and most are not even legal XML.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff\ufffe\uffff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` with every invisible or reordering character spelled out, as in ⟨U+202E⟩."""
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


def percent(fraction: float | None) -> str:
    """A fraction as a percentage, with more digits where rates are small; "n/a" for None."""
    if fraction is None:
        return "n/a"
    digits = 2 if 0 < abs(fraction) < 0.01 else 1
    return f"{100 * fraction:.{digits}f}%"


def points(fraction: float | None) -> str:
    """A difference of rates in percentage points, always with its sign; "n/a" for None."""
    return "n/a" if fraction is None else f"{100 * fraction:+.1f}".replace("-", "−")


def limits(interval: Mapping[str, Any], form: Any = percent) -> str:
    """Both limits, "low to high", or an empty string where there are none."""
    if interval["low"] is None or interval["high"] is None:
        return ""
    return f"{form(interval['low'])} to {form(interval['high'])}"
