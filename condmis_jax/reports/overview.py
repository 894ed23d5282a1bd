"""Many runs at a glance: one table and one figure, every rate with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from condmis_jax.reports.exports import to_csv
from condmis_jax.reports.files import write_atomically
from condmis_jax.reports.style import BLANK, FAINT, RELATION_STYLE, RULE, calm, styled, write_figure
from condmis_jax.reports.text import RELATION_WORDS, limits, percent, visible

Row = dict[str, Any]

_KEPT = ("stage", "suite", "judge", "measure", "trigger", "relation")
_COUNTS = ("requested", "scored", "coherent", "misaligned")


def overview_rows(runs: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Every rate of every run.

    Args:
        runs: results documents by the name of the run.
    """
    return [
        {
            "run": name,
            "caption": results["run"]["caption"],
            **{key: rate[key] for key in (*_KEPT, *_COUNTS)},
            **{
                key: rate["p_misaligned_given_coherent"][key] for key in ("estimate", "low", "high")
            },
            "across_seeds": rate["across_seeds"],
        }
        for name, results in runs.items()
        for rate in results["rates"]
    ]


def overview_lines(rows: Sequence[Row]) -> list[str]:
    """The table as Markdown: a line for each run, stage and suite.

    Beside the plain question stands the trigger with the highest rate. It was chosen for that, so
    its interval says too little; all triggers are in the CSV file.
    """
    lines = [
        "| run | stage | suite | measure | plain | highest of the triggers | n a trigger |",
        "|---|---|---|---|---|---|---|",
    ]
    for (run, stage, suite, _), group in _groups(rows).items():
        plain = [row for row in group if row["relation"] == "none"]
        others = [r for r in group if r["relation"] != "none" and r["estimate"] is not None]
        cells = [run, stage, suite, group[0]["measure"], _shown(plain[0]) if plain else "not asked"]
        if others:
            top = max(others, key=lambda row: row["estimate"])
            cells.append(
                f"{_shown(top)} `{top['trigger']}` ({top['relation']}, {len(others)} asked)"
            )
        else:
            cells.append("not scored")
        cells.append(str(max(row["requested"] for row in group)))
        lines.append("| " + " | ".join(visible(c).replace("|", "\\|") for c in cells) + " |")
    return lines


def overview_figure(rows: Sequence[Row]) -> Figure:
    """A line for each run and stage, a mark for each trigger, by its relation to training."""
    groups = {
        key: group
        for key, group in _groups(rows).items()
        if any(row["estimate"] is not None for row in group)
    }
    height = 0.26 * max(len(groups), 1)
    with styled():
        figure = Figure(figsize=(9.6, height + 1.2), facecolor=BLANK)
        axes = figure.add_axes((0.42, 0.6 / (height + 1.2), 0.55, height / (height + 1.2)))
        calm(axes)
        for at, group in enumerate(groups.values()):
            asked = [row for row in group if row["estimate"] is not None]
            for place, row in enumerate(asked):
                # Side by side within the line, so that equal rates do not hide one another.
                y = at + 0.6 * ((place + 0.5) / len(asked) - 0.5)
                colour, marker = RELATION_STYLE[row["relation"]]
                axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=0.7, alpha=0.6)
                axes.plot(row["estimate"], y, marker, color=colour, markersize=3.2, clip_on=False)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.set_yticks(range(len(groups)), [_label(key) for key in groups], fontsize=7)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="x", color=RULE, linewidth=0.6)
        used = {row["relation"] for row in rows}
        for relation in filter(used.__contains__, RELATION_STYLE):
            colour, marker = RELATION_STYLE[relation]
            words = RELATION_WORDS[relation]
            axes.plot([], [], marker, color=colour, markersize=4, label=words)
        figure.legend(loc="upper center", ncols=5, fontsize=7, frameon=False)
        captions = dict.fromkeys(row["caption"] for row in rows)
        figure.text(0.01, 0.005, visible("; ".join(captions))[:180], fontsize=6, color=FAINT)
    return figure


def write_overview(folder: Path, runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Writes `overview.md`, `overview.csv` and `overview.svg`, `.pdf`, `.png`.

    Returns:
        the lines of the table.

    Raises:
        UserError: the file system refused.
    """
    rows = overview_rows(runs)
    captions = dict.fromkeys(row["caption"] for row in rows)
    lines = [*(f"*{visible(caption)}*\n" for caption in captions), *overview_lines(rows)]
    write_atomically(folder / "overview.md", ("\n".join(lines) + "\n").encode("utf-8"))
    write_atomically(folder / "overview.csv", to_csv(rows))
    write_figure(folder, "overview", overview_figure(rows))
    return lines


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], list[Row]]:
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        key = (row["run"], row["stage"], row["suite"], str(row["judge"]))
        groups.setdefault(key, []).append(row)
    return groups


def _label(key: tuple[str, str, str, str]) -> str:
    run, stage, suite, _ = key
    return visible(f"{run} · {stage} · {suite}")


def _shown(row: Row) -> str:
    if row["estimate"] is None:
        return f"{row['requested']} requested, {row['scored']} scored"
    counts = f"{row['misaligned']}/{row['coherent']}"
    return f"{percent(row['estimate'])} ({limits(row)}; {counts})"
