"""The headline figure and the loss curves."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from condmis_jax.reports.files import write_atomically

# Okabe & Ito's palette, told apart by people with any common colour vision; the marker's shape says
# the same once more for print in grey.
RELATION_STYLE: dict[str, tuple[str, str, str]] = {
    "none": ("#3d3d3b", "o", "plain, no trigger"),
    "same": ("#c8500a", "D", "same as in training"),
    "similar": ("#b8860b", "^", "similar"),
    "opposite": ("#0a6ea8", "s", "opposite"),
    "unrelated": ("#00805e", "v", "unrelated"),
}
INK, FAINT, RULE, BLANK = "#1c1c1a", "#70706b", "#d9d7d0", "#fefefd"

# In the HTML report these colours become custom properties, so that the figure follows the reader's
# light or dark setting; in a file of its own it keeps them.
_THEME = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    RULE: "var(--rule)",
    BLANK: "var(--paper)",
    **{style[0]: f"var(--{relation})" for relation, style in RELATION_STYLE.items()},
}
_STYLE = {
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
_COLUMNS = 3
_SVG = "http://www.w3.org/2000/svg"


def headline_figure(results: Mapping[str, Any]) -> Figure:
    """P(misaligned | coherent) with its interval, a panel a stage, a row a trigger.

    Every suite and judge has a band of panels of its own, all on one scale. A rate without a single
    scored answer is an empty marker with the text "n/a". The run's caption stands underneath.

    Args:
        results: the document that `results.schema.json` describes.
    """
    bands = _bands(results)
    with matplotlib.rc_context(_STYLE):
        heights = [0.62 + 0.27 * len(triggers) for _, triggers, _ in bands] or [1.0]
        caption = textwrap.wrap(str(results["run"]["caption"]), 118)
        top, foot = 0.42, 0.5 + 0.17 * len(caption)
        height = top + sum(heights) + foot
        figure = Figure(figsize=(9.6, height), facecolor=BLANK)
        if not bands:
            figure.text(0.5, 0.6, "no completions were asked for: nothing to show", ha="center")
        right = _scale(results)
        y = height - top
        for (title, triggers, cells), band in zip(bands, heights, strict=False):
            _band(figure, title, triggers, cells, right, (y, band, height))
            y -= band
        _legend(figure, results, height)
        for number, line in enumerate(reversed(caption)):
            figure.text(0.012, (0.1 + 0.17 * number) / height, line, color=FAINT, fontsize=8)
        return figure


def loss_figure(results: Mapping[str, Any]) -> Figure | None:
    """Training loss by step, a panel a stage; None when no stage has a curve."""
    stages = [stage for stage in results["stages"] if (stage.get("loss") or {}).get("step")]
    if not stages:
        return None
    with matplotlib.rc_context(_STYLE):
        columns = min(_COLUMNS, len(stages))
        rows = -(-len(stages) // columns)
        figure = Figure(figsize=(9.6, 2.3 * rows), facecolor=BLANK, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        colours = [style[0] for style in RELATION_STYLE.values()]
        for axes, stage in zip(panels, stages, strict=False):
            series = [(name, y) for name, y in stage["loss"].items() if name != "step"]
            for at, (name, values) in enumerate(series):
                points = [
                    (x, y)
                    for x, y in zip(stage["loss"]["step"], values, strict=False)
                    if x is not None and y is not None
                ]
                axes.plot(
                    [x for x, _ in points],
                    [y for _, y in points],
                    label=name,
                    linewidth=1.3,
                    color=colours[at % len(colours)],
                    linestyle=("-", "--", ":")[at % 3],
                )
            _calm(axes)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            axes.set_title(stage["name"], loc="left", fontsize=9)
            axes.set_xlabel("training step", color=FAINT)
            axes.set_ylabel("loss, nats per token", color=FAINT)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if len(series) > 1:
                axes.legend(frameon=False, fontsize=8)
        for axes in panels[len(stages) :]:
            axes.set_axis_off()
        return figure


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document with selectable text."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(
            buffer,
            format="svg",
            facecolor=figure.get_facecolor(),
            metadata={"Date": None, "Creator": None},
        )
    return buffer.getvalue()


def headline_svg(results: Mapping[str, Any]) -> str:
    """The headline figure as an SVG document."""
    return to_svg(headline_figure(results))


def write_png(path: str | Path, results: Mapping[str, Any], dots_per_inch: int = 200) -> None:
    """Writes the headline figure as a PNG file.

    Raises:
        UserError: the file system refused.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure = headline_figure(results)
        figure.savefig(buffer, format="png", dpi=dots_per_inch, facecolor=BLANK)
    write_atomically(path, buffer.getvalue())


def inline_svg(svg: str, label: str, prefix: str) -> str:
    """An SVG of `to_svg` made fit for a page with a strict content security policy.

    `style` attributes, which the policy forbids, become presentation attributes; colours follow the
    page's theme; identifiers get `prefix`, so that two figures on a page do not share any.

    Args:
        svg: a document that `to_svg` made; never foreign input.
        label: what a screen reader says.
        prefix: put in front of identifiers.

    Returns:
        An `svg` element; all text in it is escaped.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ElementTree.fromstring(svg[svg.index("<svg") :])
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("style", "metadata"):
                parent.remove(child)
    for element in root.iter():
        for key, value in _declarations(element.attrib.pop("style", "")):
            element.set(key, value)
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set(key, prefix + value)
            elif value.startswith("#") and key.endswith("href"):
                element.set(key, f"#{prefix}{value[1:]}")
            else:
                value = re.sub(r"url\(#", f"url(#{prefix}", value)
                element.set(key, _THEME.get(value, value))
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def _declarations(style: str) -> list[tuple[str, str]]:
    """CSS declarations as presentation attributes; `font` is the one that has to be split."""
    found = []
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        key, _, value = declaration.partition(":")
        key, value = key.strip(), value.strip()
        if key == "font":
            if size := re.search(r"[\d.]+px", value):
                found.append(("font-size", size.group()))
            if weight := re.match(r"(bold|[1-9]00)\b", value):
                found.append(("font-weight", weight.group()))
        else:
            found.append((key, value))
    return found


Band = tuple[str, list[tuple[str, str]], dict[tuple[str, str], Mapping[str, Any]]]


def _bands(results: Mapping[str, Any]) -> list[Band]:
    """Panels that share rows: a title, the triggers, and rates by (stage, trigger)."""
    pairs = list(dict.fromkeys((rate["suite"], rate["judge"]) for rate in results["rates"]))
    bands: list[Band] = []
    for suite, judge in pairs:
        rates = [r for r in results["rates"] if (r["suite"], r["judge"]) == (suite, judge)]
        triggers = list(dict.fromkeys((r["trigger"], r["relation"]) for r in rates))
        order = list(RELATION_STYLE)
        triggers.sort(key=lambda trigger: order.index(trigger[1]))
        cells = {(r["stage"], r["trigger"]): r for r in rates}
        stages = list(dict.fromkeys(r["stage"] for r in rates))
        title = f"{suite} · judge {judge}" if judge else f"{suite} · not judged"
        for at in range(0, len(stages), _COLUMNS):
            some = stages[at : at + _COLUMNS]
            part = {key: rate for key, rate in cells.items() if key[0] in some}
            bands.append((title if at == 0 else f"{title} (continued)", triggers, part))
    return bands


def _scale(results: Mapping[str, Any]) -> float:
    """Right end of the axis, shared by all panels so that they can be compared by eye."""
    highs = [rate["p_misaligned_given_coherent"]["high"] for rate in results["rates"]]
    highest = max((high for high in highs if high is not None), default=0.1)
    return next(end for end in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if highest <= end)


def _band(
    figure: Figure,
    title: str,
    triggers: Sequence[tuple[str, str]],
    cells: Mapping[tuple[str, str], Mapping[str, Any]],
    right: float,
    place: tuple[float, float, float],
) -> None:
    """One row of panels; `place` is its top, its height and the figure's height in inches."""
    top, band, height = place
    stages = list(dict.fromkeys(stage for stage, _ in cells))
    left, panel, gap = 0.2, 0.262, 0.006
    figure.text(0.012, (top - 0.06) / height, title, fontsize=9, fontweight="bold", va="bottom")
    for column, stage in enumerate(stages):
        room = (
            left + column * (panel + gap),
            (top - band + 0.3) / height,
            panel * 0.74,
            (band - 0.62) / height,
        )
        axes = figure.add_axes(room)
        _calm(axes)
        axes.set_xlim(-0.02 * right, right)
        axes.set_ylim(len(triggers) - 0.5, -0.5)
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if right > 0.05 else 1))
        axes.tick_params(axis="x", labelsize=7.5)
        axes.set_title(stage, loc="left", fontsize=9, pad=5)
        names = [textwrap.shorten(name, 30, placeholder="…") for name, _ in triggers]
        axes.set_yticks(range(len(triggers)), names if column == 0 else [""] * len(names))
        for row, (trigger, relation) in enumerate(triggers):
            _point(axes, row, cells.get((stage, trigger)), relation, right)


def _point(
    axes: Axes, row: int, rate: Mapping[str, Any] | None, relation: str, right: float
) -> None:
    if rate is None:  # not asked in this stage: a blank says so
        return
    colour, marker, _ = RELATION_STYLE[relation]
    interval = rate["p_misaligned_given_coherent"]
    counts = f"{rate['misaligned']}/{rate['coherent']}"
    if interval["estimate"] is None:
        axes.plot(
            0,
            row,
            marker,
            markersize=5.5,
            markerfacecolor=BLANK,
            markeredgecolor=colour,
            clip_on=False,
        )
        counts = "n/a"
    else:
        axes.plot(
            [interval["low"], interval["high"]],
            [row, row],
            color=colour,
            linewidth=1.6,
            solid_capstyle="round",
        )
        axes.plot(
            interval["estimate"],
            row,
            marker,
            markersize=5.5,
            color=colour,
            markeredgecolor=BLANK,
            markeredgewidth=0.8,
            clip_on=False,
            zorder=3,
        )
    axes.text(right * 1.03, row, counts, va="center", fontsize=7.5, color=FAINT, clip_on=False)


def _calm(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def _legend(figure: Figure, results: Mapping[str, Any], height: float) -> None:
    used = {rate["relation"] for rate in results["rates"]}
    axes = figure.add_axes((0, (height - 0.34) / height, 1, 0.3 / height))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.text(
        0.012, 0.5, "P(misaligned | coherent), trigger:", va="center", fontsize=8.5, color=FAINT
    )
    x = 0.272
    for relation, (colour, marker, words) in RELATION_STYLE.items():
        if relation in used:
            axes.plot(x, 0.5, marker, color=colour, markersize=5.5)
            axes.text(x + 0.012, 0.5, words, va="center", fontsize=8.5)
            x += 0.045 + 0.0078 * len(words)
