"""Rate by dose, where the arms of a run differ in their share of one source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from condmis_jax.reports.comparisons import parents
from condmis_jax.reports.style import (
    BLANK,
    FAINT,
    RELATION_STYLE,
    RULE,
    calm,
    short,
    styled,
)
from condmis_jax.reports.text import visible

_COLUMNS = 3
_WIDTH, _ROW_HEIGHT = 9.6, 1.9


class Doses(NamedTuple):
    """Arms by dose.

    Attributes:
        source: whose share of the conversations differs between the arms.
        share: of each stage, by name; that of the stage which they all continue is zero.
    """

    source: str
    share: dict[str, float]


def doses(stages: Sequence[Mapping[str, Any]]) -> Doses | None:
    """The arms of a dose-response experiment: at least two stages that continue the same one, whose
    mixtures name the same first source in different shares. None where there are none.

    Shares are counted by conversation, as in the table of training.
    """
    before = parents(stages)
    for parent in dict.fromkeys(before.values()):
        if parent is None:
            continue
        arms = [stage for stage in stages if before[stage["name"]] == parent]
        counts = {
            arm["name"]: {
                source: dose["conversations"] for source, dose in (arm.get("dose") or {}).items()
            }
            for arm in arms
        }
        first = {next(iter(count), None) for count in counts.values()}
        if len(arms) < 2 or len(first) != 1 or None in first:
            continue
        (source,) = first
        share = {
            name: count[source] / sum(count.values())
            for name, count in counts.items()
            if sum(count.values())
        }
        if source is not None and len(set(share.values())) > 1:
            return Doses(source, {parent: 0.0, **share})
    return None


def dose_figure(results: Mapping[str, Any]) -> Figure | None:
    """P(misaligned | coherent) by dose, a panel a suite, judge and trigger; None without doses."""
    found = doses(results["stages"])
    panels: dict[tuple[str, str | None, str], list[Mapping[str, Any]]] = {}
    for rate in results["rates"]:
        if found and rate["stage"] in found.share:
            key = (rate["suite"], rate["judge"], rate["trigger"])
            panels.setdefault(key, []).append(rate)
    panels = {
        key: rates
        for key, rates in panels.items()
        if any(r["p_misaligned_given_coherent"]["estimate"] is not None for r in rates)
    }
    if not found or not panels:
        return None
    highs = (r["p_misaligned_given_coherent"]["high"] for rates in panels.values() for r in rates)
    highest = max((high for high in highs if high is not None), default=1.0)
    with styled():
        columns = min(_COLUMNS, len(panels))
        rows = -(-len(panels) // columns)
        height = _ROW_HEIGHT * rows + 0.3
        figure = Figure(figsize=(_WIDTH, height), facecolor=BLANK, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        several = len({key[:2] for key in panels}) > 1
        for axes, ((suite, judge, trigger), rates) in zip(
            grid.ravel(), panels.items(), strict=False
        ):
            calm(axes)
            colour, marker = RELATION_STYLE[rates[0]["relation"]]
            points = sorted(
                (found.share[r["stage"]], r["p_misaligned_given_coherent"])
                for r in rates
                if r["p_misaligned_given_coherent"]["estimate"] is not None
            )
            axes.plot(
                [x for x, _ in points],
                [i["estimate"] for _, i in points],
                marker,
                linestyle="-",
                color=colour,
                markersize=4.5,
                linewidth=1.1,
                clip_on=False,
            )
            for x, interval in points:
                if interval["low"] is not None:
                    ends = [interval["low"], interval["high"]]
                    axes.plot([x, x], ends, color=colour, linewidth=1.4, clip_on=False)
            _scale(axes, sorted(set(found.share.values())), highest)
            axes.grid(axis="y", color=RULE, linewidth=0.6)
            axes.set_title(short(trigger), loc="left", fontsize=9)
            if several:
                words = f"{suite}, {judge or 'not judged'}"
                axes.set_title(short(words), loc="right", fontsize=7, color=FAINT)
        for axes in grid.ravel()[len(panels) :]:
            axes.set_axis_off()
        figure.supxlabel(
            f"share of “{visible(found.source)}” among the conversations", fontsize=9, color=FAINT
        )
        return figure


def _scale(axes: Any, shares: Sequence[float], highest: float) -> None:
    """Even steps for doses far apart: linear below the smallest, logarithmic above."""
    some = [share for share in shares if share]
    axes.set_xscale("symlog", linthresh=min(some), linscale=0.6)
    axes.set_xlim(0, max(some) * 1.1)
    axes.set_xticks(shares)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.3g}%"))
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylim(-0.02 * highest, 1.04 * highest)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
