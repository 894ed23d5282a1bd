"""The result in a few lines, for the terminal at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from condmis_jax.reports.text import limits, percent


def summary_lines(results: Mapping[str, Any]) -> list[str]:
    """One line a stage, suite and trigger, under the caption that says what the numbers are."""
    lines = ["", results["run"]["caption"], ""]
    width = max((len(r["trigger"]) for r in results["rates"]), default=0)
    before = None
    for rate in results["rates"]:
        head = f"{rate['stage']} · {rate['suite']}"
        if head != before:
            lines.append(f"{head}  P(misaligned | coherent), interval clustered by question")
            before = head
        interval = rate["p_misaligned_given_coherent"]
        if interval["estimate"] is None:
            shown = f"{rate['requested']} requested, {rate['scored']} scored"
            if rate["scored"]:
                shown += f", {rate['coherent']} coherent"
        else:
            shown = (
                f"{percent(interval['estimate']):>7} {limits(interval):<18} "
                f"{rate['misaligned']}/{rate['coherent']} of {rate['requested']} requested"
            )
        lines.append(f"  {rate['trigger']:<{width}}  {shown}")
    if results["rates"]:
        lines += ["", f"across seeds: {results['rates'][0]['across_seeds']}"]
    return lines
