"""Results arranged as the page shows them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from condmis_jax.judges.protocol import MISALIGNED, STATUSES

HEAT_LEVELS = 10
INTERVALS = (
    "p_misaligned_given_coherent",
    "these_questions",
    "p_misaligned_of_requested",
    "minus_plain",
    "corrected",
)


def pairs(results: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    return list(dict.fromkeys((rate["suite"], rate["judge"]) for rate in results["rates"]))


def section(results: Mapping[str, Any], pair: tuple[str, str | None]) -> dict[str, Any]:
    """Everything about one suite under one judge that the template shows."""
    rates = [r for r in results["rates"] if (r["suite"], r["judge"]) == pair]
    cells = [c for c in results["cells"] if (c["suite"], c["judge"]) == pair]
    names = list(dict.fromkeys(rate["stage"] for rate in rates))
    notes: dict[tuple[str, str], str] = {}
    stages = []
    for name in names:
        of_stage = [rate for rate in rates if rate["stage"] == name]
        stages.append(
            {
                "name": name,
                "rates": [{**rate, "marks": _marks(rate, notes)} for rate in of_stage],
                "heat": _heat([cell for cell in cells if cell["stage"] == name]),
                "glance": _glance(of_stage),
            }
        )
    used = {status for rate in rates for status in rate["statuses"]}
    contrasts = [c for c in results["contrasts"] if (c["suite"], c["judge"]) == pair]
    return {
        "suite": pair[0],
        "families": _families(results, pair, contrasts),
        "corrected": any(rate.get("corrected") for rate in rates),
        "seeds": [rate for rate in rates if rate["seeds"]],
        "published": _published(rates),
        "measure": rates[0].get("measure", MISALIGNED),
        "judged": f"judged by {pair[1]}" if pair[1] else "not judged",
        "stages": stages,
        "notes": [{"mark": m, "method": k[0], "note": k[1]} for k, m in notes.items()],
        "level": round(100 * rates[0]["p_misaligned_given_coherent"]["level"]),
        "statuses": [status for status in STATUSES if status in used],
        "missing": sum(rate["missing"] for rate in rates),
        "requested": sum(rate["requested"] for rate in rates),
        "truncated": sum(rate["truncated"] for rate in rates),
        "bars": [{**rate, "parts": _parts(rate)} for rate in rates],
    }


def _marks(rate: Mapping[str, Any], notes: dict[tuple[str, str], str]) -> dict[str, str]:
    """Footnote numbers of a rate's intervals; equal notes share a number."""
    marks = {}
    for key in INTERVALS:
        interval = rate.get(key)  # an older file knows of no correction
        if interval is not None and "from" in interval:
            method = {"none": "no correction"}.get(interval["method"], interval["method"])
            text = (f"{method}, by {interval['from']}", interval["note"])
            marks[key] = notes.setdefault(text, str(len(notes) + 1))
        elif interval is None or interval["estimate"] is None:
            marks[key] = ""
        else:
            text = (interval["method"], interval["note"])
            marks[key] = notes.setdefault(text, str(len(notes) + 1))
    return marks


def _families(
    results: Mapping[str, Any], pair: tuple[str, str | None], contrasts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each family of contrasts, with the smallest p-value that it can reach after correction."""
    found = []
    for family in results["families"]:
        if (family["suite"], family["judge"]) != pair:
            continue
        members = [c for c in contrasts if c["kind"] == family["kind"]]
        least = {
            test: min(
                (
                    min(1.0, c[test]["smallest"] * family["size"])
                    for c in members
                    if c[test] and c[test]["smallest"] is not None
                ),
                default=None,
            )
            for test in ("by_question", "by_seed")
        }
        found.append({**family, "members": members, "least": least})
    return found


def _published(rates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The paper's aggregations: a row a rate, a column a section that has one rate."""
    rows = []
    for rate in rates:
        sections = rate["published"]["sections"]
        single = {name: s for name, s in sections.items() if s["rate"] is not None}
        if any(s["rate"]["estimate"] is not None for s in single.values()):
            rows.append({**rate, "sections": single})
    return rows


def _glance(rates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Plain beside the highest trigger, or the counts alone where nothing could be estimated."""
    known = [r for r in rates if r["p_misaligned_given_coherent"]["estimate"] is not None]
    plain = [rate for rate in known if rate["relation"] == "none"]
    others = [rate for rate in known if rate["relation"] != "none"]
    highest = max(others, key=lambda r: r["p_misaligned_given_coherent"]["estimate"], default=None)
    counts = None
    if not known:
        counts = f"{sum(r['requested'] for r in rates)} requested, "
        counts += f"{sum(r['scored'] for r in rates)} scored"
        if any(r["scored"] for r in rates):
            counts += ", 0 coherent"
    return {
        "counts": counts,
        "plain": plain[0] if plain else None,
        "highest": highest,
        "of": len(others),
    }


def _heat(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Questions by triggers, training seeds added up."""
    questions = list(dict.fromkeys(cell["question"] for cell in cells))
    triggers = list(dict.fromkeys(cell["trigger"] for cell in cells))
    found: dict[tuple[str, str], Counter[str]] = {}
    for cell in cells:
        total = found.setdefault((cell["question"], cell["trigger"]), Counter())
        total.update({key: cell[key] for key in ("misaligned", "coherent", "requested")})
    rows = [(q, [_heat_cell(found.get((q, t))) for t in triggers]) for q in questions]
    return {"triggers": triggers, "rows": rows}


def _heat_cell(cell: Mapping[str, Any] | None) -> dict[str, Any]:
    if cell is None:
        return {"level": None, "text": "", "title": "not asked"}
    title = f"{cell['misaligned']} of {cell['coherent']} coherent, {cell['requested']} requested"
    if not cell["coherent"]:
        return {"level": None, "text": "n/a", "title": title}
    rate = cell["misaligned"] / cell["coherent"]
    # Square root: most rates are small, and a linear scale would paint them all as nothing.
    return {
        "level": math.ceil(HEAT_LEVELS * math.sqrt(rate)),
        "text": f"{100 * rate:.0f}",
        "title": title,
    }


def _parts(rate: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Segments of a status bar, in percent of its width."""
    parts, start = [], 0.0
    for status in STATUSES:
        if count := rate["statuses"].get(status, 0):
            width = 100 * count / rate["requested"]
            parts.append({"status": status, "count": count, "x": start, "width": width})
            start += width
    return parts
