"""How figures look, and their files."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from condmis_jax.reports.files import write_atomically
from condmis_jax.reports.text import visible

# Okabe & Ito's palette, told apart by people with any common colour vision; the marker's shape says
# the same once more for print in grey.
RELATION_STYLE: dict[str, tuple[str, str]] = {
    "none": ("#3d3d3b", "o"),
    "same": ("#c8500a", "D"),
    "similar": ("#b8860b", "^"),
    "opposite": ("#0a6ea8", "s"),
    "unrelated": ("#00805e", "v"),
}
INK, FAINT, RULE, BLANK = "#1c1c1a", "#70706b", "#d9d7d0", "#fefefd"

THEME = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    RULE: "var(--rule)",
    BLANK: "var(--paper)",
    **{style[0]: f"var(--{relation})" for relation, style in RELATION_STYLE.items()},
}
"""In the HTML report these colours become custom properties, so that a figure follows the reader's
light or dark setting; in a file of its own it keeps them."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "condmis_jax",  # the same results give the same file, byte for byte
    # Names come from configs: a "$" in one is a dollar, not mathematics.
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.unicode_minus": True,
}
_LONGEST_NAME = 30
DOTS_PER_INCH = 200

# Without dates and versions the same results give the same file, byte for byte.
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


@contextmanager
def styled() -> Iterator[None]:
    """This module's style; a name in a script that the drawing font lacks is no reason to warn."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def calm(axes: Axes) -> None:
    """Takes away the lines of a plot that say nothing."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def short(name: str) -> str:
    """A name with its invisible characters spelled out, cut where it would not fit."""
    name = visible(name).strip()
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document with selectable text."""
    return _drawn(figure, "svg").decode("utf-8")


def write_figure(folder: Path, name: str, figure: Figure) -> None:
    """Writes NAME.svg, NAME.pdf and NAME.png.

    Raises:
        UserError: the file system refused.
    """
    for kind in _METADATA:
        write_atomically(folder / f"{name}.{kind}", _drawn(figure, kind))


def _drawn(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    with styled():
        figure.savefig(
            buffer,
            format=kind,
            dpi=DOTS_PER_INCH,
            facecolor=figure.get_facecolor(),
            metadata=_METADATA[kind],
        )
    return buffer.getvalue()
