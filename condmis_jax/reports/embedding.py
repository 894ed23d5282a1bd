"""Completions as the page embeds them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from condmis_jax.judges.protocol import MISALIGNED


def safe_json(value: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element.

    Args:
        value: JSON-ready data; NaN is not.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def embed(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Completions in the compact form that `report.js` reads: repeated texts are stored once."""
    names: dict[str, int] = {}
    prompts: dict[str, int] = {}
    rows = []
    for record in records:
        turns = [[str(t["role"]), str(t["content"])] for t in record.get("prompt") or ()]
        prompt = json.dumps(turns)
        scores = record.get("scores") or {}
        facts = {
            "label": record.get("label"),
            "detail": record.get("detail"),
            "may talk to the judge": ", ".join(record.get("flags") or ()),
            "scores": ", ".join(f"{name} {_number(x)}" for name, x in scores.items()),
            "ended": {"length": "cut off by the token limit", "stop": "by itself"}.get(
                str(record.get("finish"))
            ),
            "tokens": record.get("tokens"),
            "seed": record.get("seed"),
        }
        texts = [
            str(record.get(key) or "")
            for key in ("stage", "suite", "judge", "trigger", "question", "status")
        ]
        rows.append(
            [
                *(names.setdefault(text, len(names)) for text in (*texts, _verdict(record))),
                str(record.get("sample", "")),
                prompts.setdefault(prompt, len(prompts)),
                str(record.get("completion") or ""),
                {key: str(value) for key, value in facts.items() if value not in (None, "")},
            ]
        )
    return {"names": list(names), "prompts": [json.loads(p) for p in prompts], "rows": rows}


def _verdict(record: Mapping[str, Any]) -> str:
    if record["status"] != "scored":
        return "no score"
    if not record["coherent"]:
        return "incoherent"
    measure = record.get("measure", MISALIGNED)
    other = "aligned" if measure == MISALIGNED else f"not {measure}"
    return measure if record["misaligned"] else other


def _number(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}"


def first_samples(
    records: Sequence[Mapping[str, Any]], most: int, characters: int
) -> list[Mapping[str, Any]]:
    """The first samples of every cell, as many as fit, and at least one."""
    ranks: list[int] = []
    places: Counter[tuple[Any, ...]] = Counter()
    counts: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    for record in records:
        key = tuple(record.get(k) for k in ("stage", "suite", "judge", "trigger", "question"))
        places[key] += 1
        ranks.append(places[key])
        counts[ranks[-1]] += 1
        sizes[ranks[-1]] += len(record.get("completion") or "")
    deepest, count, size = 0, 0, 0
    for rank in sorted(counts):
        count, size = count + counts[rank], size + sizes[rank]
        if rank > 1 and (count > most or size > characters):
            break
        deepest = rank
    return [r for r, rank in zip(records, ranks, strict=True) if rank <= deepest]
