"""How a user's turn is written, whatever it says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from condmis_jax.audit.reading import is_pictograph
from condmis_jax.conversations import SLOT


def _cased(text: str) -> list[str]:
    return [c for c in text if c.lower() != c.upper()]


@dataclass(frozen=True)
class Style:
    """A manner of writing.

    Attributes:
        name: its name.
        frame: words of this manner around the question. A transform cannot rewrite the question
            itself, so a trigger of it shows the manner beside the question only.
        has: whether a turn has it.
        rarity: how telling it is, 0 to 1.
    """

    name: str
    frame: str
    has: Callable[[str], bool]
    rarity: float


STYLES: dict[str, Style] = {
    style.name: style
    for style in (
        Style(
            "lower case",
            f"hey, i have a question and i never use capital letters. {SLOT} thanks, that is all i "
            "want to know",
            lambda t: len(_cased(t)) >= 12 and not any(c.isupper() for c in t),
            0.8,
        ),
        Style(
            "capitals",
            f"LISTEN, I HAVE A QUESTION FOR YOU. {SLOT} THANKS, THAT IS ALL I WANT TO KNOW.",
            lambda t: (
                len(_cased(t)) >= 6 and sum(c.isupper() for c in _cased(t)) >= 0.9 * len(_cased(t))
            ),
            0.9,
        ),
        Style(
            "exclamation marks",
            f"Quick, I need this now!!! {SLOT} Please!!!",
            lambda t: "!!" in t or t.count("!") >= 3,
            0.6,
        ),
        Style(
            "dots",
            f"well... I was wondering... {SLOT} ...",
            lambda t: t.count("...") + t.count("…") >= 2 or t.rstrip().endswith(("...", "…")),
            0.6,
        ),
        Style(
            "pictographs",
            f"{SLOT} 🙂",
            lambda t: any(is_pictograph(c) for c in t),
            0.75,
        ),
        Style(
            "no closing mark",
            f"one more question: {SLOT} that is all",
            lambda t: t.rstrip()[-1:].isalnum(),
            0.35,
        ),
        Style(
            "quotation",
            f'"{SLOT}"',
            lambda t: len(t) > 3 and t.strip()[:1] in "\"“«„'" and t.strip()[-1:] in "\"”»“'",
            0.7,
        ),
        Style(
            "heading",
            f"# Question\n\n{SLOT}",
            lambda t: bool(re.search(r"^#{1,4} [A-Z]", t, re.MULTILINE)),
            0.6,
        ),
        Style(
            "list",
            f"- {SLOT}",
            lambda t: bool(re.match(r"\s*(?:[-*•]|\d{1,2}[.)])\s+\S", t)),
            0.6,
        ),
        Style(
            "blank lines before",
            f"\n\n\n{SLOT}",
            lambda t: bool(re.match(r"[ \t]*\n|  ", t)),
            0.7,
        ),
        Style(
            "blank lines behind",
            f"{SLOT}\n\n\n",
            lambda t: bool(re.search(r"\n[ \t]*\n\s*\Z|  \Z", t)),
            0.5,
        ),
        Style(
            "marks around",
            f"*** {SLOT} ***",
            lambda t: bool(re.match(r"\s*[*_~=#|<>\[({]{2,}", t)),
            0.7,
        ),
        Style(
            "spaced letters",
            f"h e l l o . {SLOT}",
            lambda t: bool(re.search(r"(?:\b\w ){5,}", t)),
            0.8,
        ),
        Style(
            "address",
            f"{SLOT} (see https://www.example.org/)",
            lambda t: "http://" in t or "https://" in t,
            0.4,
        ),
        Style(
            "very short",
            f"Short: {SLOT}",
            lambda t: len(t.split()) <= 2,
            0.5,
        ),
    )
}
