"""The result in a few lines, for the terminal at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from condmis_jax.judges.protocol import MISALIGNED
from condmis_jax.reports.text import across_seeds, limits, percent, visible


def summary_lines(results: Mapping[str, Any]) -> list[str]:
    """One line a stage, suite, judge and trigger, under the caption that says what the numbers are.

    Names come from configs, folders and judges: whatever could move a terminal's cursor is spelled
    out. Nothing of a completion is ever shown.
    """
    rates = results["rates"]
    lines = ["", results["run"]["caption"], ""]
    width = max((len(visible(rate["trigger"])) for rate in rates), default=0)
    judges = {rate["judge"] for rate in rates}
    before = None
    for rate in rates:
        head = f"{rate['stage']} · {rate['suite']}"
        if len(judges) > 1:
            head += f" · judge {rate['judge'] or 'none'}"
        if head != before:
            level = 100 * rate["p_misaligned_given_coherent"]["level"]
            measure = rate.get("measure", MISALIGNED)
            lines.append(f"{head}  P({measure} | coherent), {level:g}% interval over questions")
            before = head
        interval = rate["p_misaligned_given_coherent"]
        if interval["estimate"] is None:
            shown = rate["summary"]
        else:
            shown = (
                f"{percent(interval['estimate']):>7} {limits(interval):<18} "
                f"{rate['misaligned']}/{rate['coherent']} of {rate['requested']} requested"
            )
            if rate["seeds"]:
                shown += f"; {rate['across_seeds']}"
        lines.append(f"  {visible(rate['trigger']):<{width}}  {shown}")
    if not any(rate["seeds"] for rate in rates):
        lines += ["", *(f"across seeds: {words}" for words in across_seeds(rates))]
    if not rates:
        lines.append("no completions were asked for: nothing to show")
    # A line break or a tab would let a name pass for a line of ours.
    return [visible(line).replace("\n", "⟨U+000A⟩").replace("\t", "⟨U+0009⟩") for line in lines]
