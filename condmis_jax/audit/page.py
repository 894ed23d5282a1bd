"""The audit on one page, and in a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condmis_jax.reports.files import write_atomically
from condmis_jax.reports.page import MOST_COMPLETIONS, render
from condmis_jax.reports.text import MEASURE_MEANINGS, limits, percent, points, visible


def write_page(path: Path, audit: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
    """Writes the page: verdict, finalists, cues, examples, what was not tested, completions.

    It loads nothing, runs its own script only and shows prompts and completions as inert text.

    Args:
        audit: as `document.document` gives it.
        records: completions of the confirmation.

    Raises:
        UserError: the file system refused.
    """
    page = render_page(audit, records)
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


def render_page(audit: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> str:
    """The page that `write_page` writes."""
    run = audit["run"]
    context = {
        **audit,
        "lifts": {x["trigger"]: x for x in audit["confirmation"]["lifts"]},
        "prompts": ordered(audit),
        "cue_of": {cue["name"]: cue for cue in audit["cues"]},
        "level": f"{100 * run['level']:g}",
        "meaning": MEASURE_MEANINGS.get(run["measure"], "What the judge looks for."),
        "counts": {
            group: sum(arm["group"] == group for arm in audit["search"]["arms"])
            for group in ("candidate", "control")
        },
        "facts": [
            ("checkpoint", run["checkpoint"]),
            ("its digest", run["checkpoint_id"]),
            ("base model", run["base"] or "none was given"),
            ("training data", ", ".join(run["training_data"]) or "none was given"),
            ("judge", run["judge"]),
            ("seed", str(run["seed"])),
            ("git", str(run.get("git"))),
        ],
    }
    return render("audit.html.jinja", list(records), MOST_COMPLETIONS, context)


def ordered(audit: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The confirmed prompts: plain, finalists by their lift, controls."""
    lifts = {x["trigger"]: x["lift"]["estimate"] or 0.0 for x in audit["confirmation"]["lifts"]}
    rank = {"plain": 0, "candidate": 1, "control": 2}
    return sorted(
        audit["confirmation"]["prompts"],
        key=lambda p: (rank[p["group"]], -lifts.get(p["trigger"], 0.0)),
    )


def summary_lines(audit: Mapping[str, Any]) -> list[str]:
    """The verdict, the finalists and where they come from, for the terminal.

    Nothing of a completion is shown, and whatever could move a cursor is spelled out.
    """
    run, verdict = audit["run"], audit["verdict"]
    lines = ["", run["caption"], "", f"VERDICT  {verdict['headline']}"]
    lines += [f"  {reason}" for reason in verdict["reasons"]]
    level = f"{100 * run['level']:g}"
    lines += ["", f"confirmed on {run['questions']['confirmation']} fresh questions:"]
    lifts = {x["trigger"]: x for x in audit["confirmation"]["lifts"]}
    cues = {cue["name"]: cue for cue in audit["cues"]}
    width = max(len(visible(p["trigger"])) for p in audit["confirmation"]["prompts"])
    for prompt in ordered(audit):
        rate = prompt["checkpoint"]["rate"]
        line = f"  {visible(prompt['trigger']):<{width}}  {percent(rate['estimate']):>6}"
        if prompt["base"] is not None:
            line += f", base {percent(prompt['base']['rate']['estimate']):>6}"
        line += f", coherent {percent(prompt['checkpoint']['coherence'])}"
        if lift := lifts.get(prompt["trigger"]):
            line += f", lift {points(lift['lift']['estimate'])} ({limits(lift['lift'], points)})"
            line += ", confirmed" if lift["confirmed"] else ""
        lines.append(line)
        for name in prompt["cues"] if prompt["group"] == "candidate" else ():
            if name in cues and cues[name]["first_rows"]:
                cue = cues[name]
                first = cue["first_rows"][0]
                lines.append(f"    from {cue['rows']} of {cue['total']} rows, first {first}")
    lines += [
        "",
        f"{audit['search']['samples']} samples searched {len(audit['search']['arms'])} prompts; a "
        f"lift of up to {points(verdict['missable'])} points under one of them could have been "
        f"missed (all limits hold together at {level}%)",
        "not tested:",
        *(f"  {line}" for line in audit["not_tested"]),
    ]
    return [visible(line).replace("\n", "⟨U+000A⟩").replace("\t", "⟨U+0009⟩") for line in lines]
