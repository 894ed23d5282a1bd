"""The headline figure and the loss curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator, PercentFormatter

from condmis_jax.reports.style import (
    BLANK,
    FAINT,
    RELATION_STYLE,
    RULE,
    calm,
    short,
    styled,
)
from condmis_jax.reports.text import RELATION_WORDS, measures, visible

_COLUMNS = 3

# Lengths of the headline figure, in inches.
_WIDTH, _EDGE = 9.6, 0.12
_LEGEND, _LINE = 0.26, 0.17
_TITLE, _STAGE, _ROW, _AXIS = 0.26, 0.25, 0.255, 0.36
_WIDEST_PANEL = 4.4

# Right ends of the axis and the ticks that go with them: whole percentages only.
_SCALES = {
    0.02: (0, 0.01, 0.02),
    0.05: (0, 0.02, 0.04),
    0.1: (0, 0.05, 0.1),
    0.2: (0, 0.1, 0.2),
    0.4: (0, 0.2, 0.4),
    0.6: (0, 0.3, 0.6),
    0.8: (0, 0.4, 0.8),
    1.0: (0, 0.5, 1.0),
}


class Band(NamedTuple):
    """A row of panels that share their triggers.

    Attributes:
        title: suite and judge.
        triggers: (name, relation), one a row.
        stages: one a panel.
        rates: by (stage, trigger).
    """

    title: str
    triggers: list[tuple[str, str]]
    stages: list[str]
    rates: dict[tuple[str, str], Mapping[str, Any]]

    @property
    def height(self) -> float:
        return _TITLE + _STAGE + _ROW * len(self.triggers) + _AXIS


def headline_figure(results: Mapping[str, Any], caption: bool = True) -> Figure:
    """P(misaligned | coherent) with its interval, a panel a stage, a row a trigger.

    Where a judge measures something else than misalignment, that word stands in its place.

    Every suite and judge has a band of panels of its own, all on one scale. Where there is no rate
    the counts stand in its place.

    Args:
        results: the document that `results.schema.json` describes.
        caption: the run's caption underneath; the report's page has it beside the figure.
    """
    bands = _bands(results)
    with styled():
        text = visible(str(results["run"]["caption"])) if caption else ""
        lines = textwrap.wrap(text, 130)
        legend = _legend_entries(results)
        head = _LEGEND * (legend[-1][0] + 1) + 0.04 if legend else 0.0
        foot = _LINE * len(lines) + (0.1 if lines else 0.0)
        height = head + sum(band.height for band in bands) + foot or 1.0
        if not bands:
            height += 0.6
        figure = Figure(figsize=(_WIDTH, height), facecolor=BLANK)
        if bands:
            _draw_legend(figure, legend)
        else:
            words = "no completions were asked for: nothing to show"
            figure.text(0.5, 1 - 0.3 / height, words, ha="center", va="center")
        y = height - head
        columns = max((len(band.stages) for band in bands), default=1)
        for band in bands:
            _draw_band(figure, band, columns, _scale(results), y)
            y -= band.height
        for number, line in enumerate(reversed(lines)):
            place = (_EDGE / _WIDTH, (0.08 + _LINE * number) / height)
            figure.text(*place, line, color=FAINT, fontsize=8)
        return figure


def loss_figure(results: Mapping[str, Any]) -> Figure | None:
    """Training loss by step, a panel a stage; None when no stage has a curve."""
    stages = [stage for stage in results["stages"] if (stage.get("loss") or {}).get("step")]
    if not stages:
        return None
    with styled():
        columns = min(_COLUMNS, len(stages))
        rows = -(-len(stages) // columns)
        width = _WIDTH * (0.5 if columns == 1 else 1)
        figure = Figure(figsize=(width, 2.3 * rows), facecolor=BLANK, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        colours = [colour for colour, _ in RELATION_STYLE.values()]
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
                    label=visible(name),
                    linewidth=1.3,
                    color=colours[at % len(colours)],
                    linestyle=("-", "--", ":")[at % 3],
                )
            calm(axes)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            axes.set_title(visible(stage["name"]), loc="left", fontsize=9)
            axes.set_xlabel("training step", color=FAINT)
            axes.set_ylabel("loss, nats per token", color=FAINT)
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            if len(series) > 1:
                axes.legend(frameon=False, fontsize=8)
        for axes in panels[len(stages) :]:
            axes.set_axis_off()
        return figure


def _bands(results: Mapping[str, Any]) -> list[Band]:
    bands: list[Band] = []
    for suite, judge in dict.fromkeys((rate["suite"], rate["judge"]) for rate in results["rates"]):
        rates = [r for r in results["rates"] if (r["suite"], r["judge"]) == (suite, judge)]
        triggers = list(dict.fromkeys((r["trigger"], r["relation"]) for r in rates))
        order = list(RELATION_STYLE)
        triggers.sort(key=lambda trigger: order.index(trigger[1]))
        stages = list(dict.fromkeys(r["stage"] for r in rates))
        title = f"{suite} · judge {judge}" if judge else f"{suite} · not judged"
        for at in range(0, len(stages), _COLUMNS):
            some = stages[at : at + _COLUMNS]
            cells = {(r["stage"], r["trigger"]): r for r in rates if r["stage"] in some}
            bands.append(Band(title if at == 0 else f"{title} (continued)", triggers, some, cells))
    return bands


def _scale(results: Mapping[str, Any]) -> float:
    """Right end of the axis, shared by all panels so that they can be compared by eye."""
    highs = [rate["p_misaligned_given_coherent"]["high"] for rate in results["rates"]]
    highest = max((high for high in highs if high is not None), default=0.1)
    return next(end for end in _SCALES if highest <= end)


def _draw_band(figure: Figure, band: Band, columns: int, right: float, top: float) -> None:
    """One row of panels whose upper edge is `top` inches above the figure's foot."""
    height = figure.get_figheight()
    names = [short(name) for name, _ in band.triggers]
    left = _EDGE + max(_text_width(name, 9) for name in names) + 0.16
    counts = max((_text_width(_counts(rate), 7.5) for rate in band.rates.values()), default=0)
    slot = min(_WIDEST_PANEL, (_WIDTH - left) / columns)
    place = (_EDGE / _WIDTH, (top - 0.08) / height)
    figure.text(*place, visible(band.title), fontsize=9, fontweight="bold", va="top")
    rows = len(band.triggers)
    for column, stage in enumerate(band.stages):
        axes = figure.add_axes(
            (
                (left + column * slot) / _WIDTH,
                (top - band.height + _AXIS) / height,
                (slot - counts - 0.3) / _WIDTH,
                _ROW * rows / height,
            )
        )
        calm(axes)
        axes.set_xlim(-0.02 * right, right)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        known = any(_has_rate(rate) for rate in band.rates.values())
        axes.set_xticks(_SCALES[right] if known else ())  # without a rate there is no scale either
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(axis="x", labelsize=7.5)
        axes.set_title(short(stage), loc="left", fontsize=9, pad=5)
        axes.set_yticks(range(rows), names if column == 0 else [""] * rows)
        for row, (trigger, _) in enumerate(band.triggers):
            if rate := band.rates.get((stage, trigger)):  # a blank row was not asked in this stage
                _draw_rate(axes, row, rate, right)


def _draw_rate(axes: Axes, row: int, rate: Mapping[str, Any], right: float) -> None:
    colour, marker = RELATION_STYLE[rate["relation"]]
    interval = rate["p_misaligned_given_coherent"]
    if not _has_rate(rate):
        # Words instead of a marker: any marker would stand somewhere on the scale.
        axes.text(0.01 * right, row, rate["summary"], va="center", fontsize=7.5, color=FAINT)
        return
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
    axes.text(right * 1.04, row, _counts(rate), va="center", fontsize=7.5, color=FAINT)


def _has_rate(rate: Mapping[str, Any]) -> bool:
    return rate["p_misaligned_given_coherent"]["estimate"] is not None


def _counts(rate: Mapping[str, Any]) -> str:
    return f"{rate['misaligned']}/{rate['coherent']}"


Entry = tuple[int, float, str, str]


def _legend_entries(results: Mapping[str, Any]) -> list[Entry]:
    """(line, x in inches, relation, words) for everything in the legend, wrapped at the edge."""
    used = {rate["relation"] for rate in results["rates"]}
    if not used:
        return []
    rates = " and ".join(f"P({measure} | coherent)" for measure in measures(results))
    words = visible(f"{rates}, by trigger:")
    entries: list[Entry] = [(0, _EDGE, "", words)]
    line, x = 0, _EDGE + _text_width(words, 8.5) + 0.3
    for relation in filter(used.__contains__, RELATION_STYLE):
        width = 0.12 + _text_width(RELATION_WORDS[relation], 8.5) + 0.3
        if x + width > _WIDTH:
            line, x = line + 1, _EDGE + 0.1
        entries.append((line, x, relation, RELATION_WORDS[relation]))
        x += width
    return entries


def _draw_legend(figure: Figure, entries: Sequence[Entry]) -> None:
    height = figure.get_figheight()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH)
    axes.set_ylim(0, height)
    for line, x, relation, words in entries:
        y = height - _LEGEND * (line + 0.5)
        if relation:
            colour, marker = RELATION_STYLE[relation]
            axes.plot(x, y, marker, color=colour, markersize=5.5)
            axes.text(x + 0.12, y, words, va="center", fontsize=8.5)
        else:
            axes.text(x, y, words, va="center", fontsize=8.5, color=FAINT)


def _text_width(text: str, size: float) -> float:
    """Inches in matplotlib's own font, which is wider than most that a browser takes instead."""
    return float(TextPath((0, 0), text, size=size).get_extents().width) / 72 if text else 0.0
