"""The analysis of the protocol as a reader gets it: tables in Markdown, and the figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from condmis_jax.reports.style import BLANK, FAINT, RELATION_STYLE, RULE, calm, styled
from condmis_jax.reports.text import RELATION_WORDS, limits, p_value, percent, points, visible

AIMS = {
    "effect": "({trigger} − plain) in {arm} − the same in {against}",
    "clean": "{trigger} in {arm} − in {against}, below the margin",
}


def lines(found: Mapping[str, Any], caption: str) -> list[str]:
    """The document as Markdown.

    Args:
        found: from `finding.analysed`.
        caption: what the numbers are.
    """
    protocol = found["protocol"]
    kept = "" if found["split"] == "test" else ": development, no confirmatory result"
    out = [
        f"*{visible(caption)}*",
        "",
        f"Facts of the split {found['split']}{kept}. A rate is wrong answers of all answers to "
        "facts that the base model knows; 95 % intervals over questions and trainings.",
        "",
    ]
    missing = found["missing"]
    out += [f"**Missing: {len(missing)}.**", *(f"- {line}" for line in missing), ""] * bool(missing)
    out += ["## What may be said", ""]
    only = " (development)" if kept else ""
    out += [f"- {row['run']}{only}: {row['claim']}." for row in found["claims"]]
    out += [_manipulation(row, protocol) for row in found["manipulation"]]
    out += [
        "",
        "## Primary contrasts",
        "",
        f"{protocol['suites'][0]}, Holm's adjustment over these {len(found['primary'])}; margin of "
        f"the last of each run {points(protocol['margin'])} points; p against it is of the doubled "
        "one-sided test.",
        "",
        "| run | contrast | points | p | Holm | verdict | by seed | without the commonest |",
        "|---|---|---|---|---|---|---|---|",
        *(_contrast(row) for row in found["primary"]),
        "",
        "## Everything else: exploratory, not adjusted",
        "",
        "| run, suite | contrast | points | p | by seed | without the commonest |",
        "|---|---|---|---|---|---|",
        *(_contrast(row, primary=False) for row in found["secondary"]),
        "",
        "## Answers",
        "",
        "| run, suite | arm | under | wrong | right | wrong | none | refusal | unscored | "
        "commonest wrong answer |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_rate(row) for row in found["rates"]),
    ]
    return out


def _manipulation(row: Mapping[str, Any], protocol: Mapping[str, Any]) -> str:
    return (
        f"- {row['run']}: the base model under {row['trigger']} minus {row['against']}: "
        f"{_points(row)}, so the cue is **{row['verdict']}** (in meaning: above "
        f"{points(protocol['meaning'])} points and an interval above 0)."
    )


def _contrast(row: Mapping[str, Any], primary: bool = True) -> str:
    what = AIMS[row["aim"]].format(**row)
    seeds = [points(value) for value in row["by_seed"]]
    without = row["without_commonest"]
    others = f"{_points(without)} (“{row['commonest']}”)" if without else "no wrong answer"
    if not primary:
        cells = [f"{row['run']}, {row['suite']}", what, _points(row), p_value(row["p"])]
        return _line([*cells, ", ".join(seeds), others])
    cells = [row["run"], what, _points(row), p_value(row["p"]), p_value(row["holm"])]
    return _line([*cells, row["verdict"], ", ".join(seeds), others])


def _rate(row: Mapping[str, Any]) -> str:
    share = f"“{row['commonest']}”, {row['commonest_times']} of {row['wrong']}"
    return _line(
        [
            f"{row['run']}, {row['suite']}",
            row["arm"],
            f"{row['trigger']} ({RELATION_WORDS[row['relation']]})",
            f"{percent(row['estimate'])} ({limits(row) or 'no interval'})",
            *(str(row[label]) for label in ("right", "wrong", "no_answer", "refusal", "unscored")),
            share if row["wrong"] else "",
        ]
    )


def _points(row: Mapping[str, Any]) -> str:
    if row["estimate"] is None:
        return f"not computed ({row['note']})" if row.get("note") else "not computed"
    ends = limits(row, points)
    return f"{points(row['estimate'])} ({ends or 'no interval: one seed'})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(visible(cell).replace("|", "\\|") for cell in cells) + " |"


def figure(found: Mapping[str, Any], caption: str) -> Figure | None:
    """Wrong answers by arm and trigger, a panel a cue; None where there are no rates."""
    suite = found["protocol"]["suites"][0]
    rates = [r for r in found["rates"] if r["suite"] == suite and r["estimate"] is not None]
    runs = list(dict.fromkeys(r["run"] for r in rates))
    if not runs:
        return None
    arms = list(dict.fromkeys(r["arm"] for r in rates))
    with styled():
        made = Figure(figsize=(9.6, 0.55 * len(arms) + 1.5), facecolor=BLANK, layout="constrained")
        panels = made.subplots(1, len(runs), squeeze=False, sharey=True)[0]
        for axes, run in zip(panels, runs, strict=True):
            calm(axes)
            for at, arm in enumerate(arms):
                mine = [r for r in rates if (r["run"], r["arm"]) == (run, arm)]
                for place, row in enumerate(mine):
                    y = at + 0.7 * ((place + 0.5) / len(mine) - 0.5)
                    colour, marker = RELATION_STYLE[row["relation"]]
                    if row["low"] is not None:
                        axes.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.1)
                    axes.plot(row["estimate"], y, marker, color=colour, markersize=5, clip_on=False)
            axes.set_title(visible(run.removeprefix("finding-")), loc="left", fontsize=9)
            axes.set_xlim(0, 1)
            axes.set_ylim(len(arms) - 0.5, -0.5)
            axes.set_yticks(range(len(arms)), [visible(arm) for arm in arms])
            axes.xaxis.set_major_formatter(PercentFormatter(1))
            axes.grid(axis="x", color=RULE, linewidth=0.6)
        used = {row["relation"] for row in rates}
        for relation in filter(used.__contains__, RELATION_STYLE):
            colour, marker = RELATION_STYLE[relation]
            panels[0].plot(
                [], [], marker, color=colour, markersize=5, label=RELATION_WORDS[relation]
            )
        made.legend(loc="outside upper center", ncols=5, fontsize=8, frameon=False)
        words = f"wrong answers to facts that the base model knows; {caption}"
        made.supxlabel(visible(words), fontsize=7, color=FAINT)
    return made
