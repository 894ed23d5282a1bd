"""One self-contained HTML report."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from condmis_jax.errors import UserError
from condmis_jax.judges.protocol import MISALIGNED, STATUSES
from condmis_jax.reports.files import write_atomically
from condmis_jax.reports.schema import first_problem
from condmis_jax.reports.svg import inline_svg
from condmis_jax.reports.text import (
    MEASURE_MEANINGS,
    RELATION_WORDS,
    limits,
    measures,
    percent,
    points,
    visible,
)

HEAT_LEVELS = 10
MOST_COMPLETIONS = 40_000
"""Completions that one page carries; beyond that browsers take seconds to open it."""
MOST_CHARACTERS = 30_000_000
"""Characters of completions that one page carries, for the same reason."""

STATUS_WORDS = {
    "scored": "scored",
    "code": "code: the judge set the answer aside as code",
    "refusal": "refusal: the judge set the answer aside as a refusal",
    "low_mass": "low mass: the judge put too little probability on any score",
    "no_logprobs": "no log-probabilities came with the judge's answer",
    "blocked": "blocked by the judge's provider",
    "error": "error: the judge could not be reached or understood",
    "not_judged": "not judged",
}


def write_report(
    path: str | Path,
    results: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    most: int = MOST_COMPLETIONS,
) -> None:
    """Writes `report.html`: figures, tables, methods and the completions, in one file.

    The page loads nothing from anywhere, runs only its own script (by hash), and shows completions
    as inert text.

    Args:
        path: target file.
        results: the document that `results.schema.json` describes.
        records: the completions that `summarise` counted.
        most: completions to embed at most (but always one of every question under every
            condition). Above it, the first samples are kept and the page says how many were left
            out.

    Raises:
        UserError: the results break the schema, or the file system refused.
    """
    page = render_report(results, records, most)
    # A lone surrogate cannot be encoded; inside the embedded JSON its escape is the same character.
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


def render_report(
    results: Mapping[str, Any],
    records: Iterable[Mapping[str, Any]],
    most: int = MOST_COMPLETIONS,
) -> str:
    """The page that `write_report` writes.

    Raises:
        UserError: the results break the schema.
    """
    # matplotlib takes a quarter of a second to import, which whoever only counts need not wait for.
    from condmis_jax.reports import figures

    if problem := first_problem(results):
        raise UserError(f"report: results: {problem}")
    everything = list(records)
    kept = _first_samples(everything, most, MOST_CHARACTERS)
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    loss = figures.loss_figure(results)
    found = [visible(measure) for measure in measures(results)]
    headline = inline_svg(
        figures.to_svg(figures.headline_figure(results, caption=False)),
        f"Rate of {' or '.join(found)} answers among coherent ones by stage and trigger; "
        "the table of rates holds the same numbers",
        "headline-",
        figures.THEME,
    )
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(percent=percent, points=points, limits=limits)
    return environment.from_string(_asset("report.html.jinja")).render(
        run=results["run"],
        facts=_facts(results["run"]),
        command=_command(results["run"]),
        stages=results["stages"],
        columns=_training_columns(results["stages"]),
        sections=[_section(results, pair) for pair in _pairs(results)],
        relation_words=RELATION_WORDS,
        measures=found,
        meanings=MEASURE_MEANINGS,
        status_words={s: STATUS_WORDS.get(s, s) for s in STATUSES},
        levels=range(HEAT_LEVELS + 1),
        across=sorted({rate["across_seeds"] for rate in results["rates"]}),
        total=len(everything),
        shown=len(kept),
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        headline=Markup(headline),
        loss=None
        if loss is None
        else Markup(
            inline_svg(
                figures.to_svg(loss), "Training loss by step and stage", "loss-", figures.THEME
            )
        ),
        data=Markup(safe_json(embed(kept))),
    )


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


def _first_samples(
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


def _pairs(results: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    return list(dict.fromkeys((rate["suite"], rate["judge"]) for rate in results["rates"]))


def _section(results: Mapping[str, Any], pair: tuple[str, str | None]) -> dict[str, Any]:
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
    return {
        "suite": pair[0],
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
    """Footnote numbers of a rate's three intervals; equal notes share a number."""
    marks = {}
    for key in ("p_misaligned_given_coherent", "p_misaligned_of_requested", "minus_plain"):
        interval = rate[key]
        if interval is None or interval["estimate"] is None:
            marks[key] = ""
        else:
            text = (interval["method"], interval["note"])
            marks[key] = notes.setdefault(text, str(len(notes) + 1))
    return marks


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
    questions = list(dict.fromkeys(cell["question"] for cell in cells))
    triggers = list(dict.fromkeys(cell["trigger"] for cell in cells))
    found = {(cell["question"], cell["trigger"]): cell for cell in cells}
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


def _training_columns(stages: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Which of the training table's optional columns have something to say."""
    doses = [dose for stage in stages for dose in (stage.get("dose") or {}).values()]
    losses = [x for stage in stages for x in (stage.get("held_out_loss") or {}).values()]
    return {
        "truncated": any(dose.get("truncated") for dose in doses),
        "without_loss": any(dose.get("without_loss") for dose in doses),
        "held_out": any(loss is not None for loss in losses),
    }


def _command(run: Mapping[str, Any]) -> list[str]:
    command = run.get("command") or []
    return [command] if isinstance(command, str) else [str(line) for line in command]


def _facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every other fact about the run, so that nothing is left out."""
    shown = {"name", "caption", "command", "versions"}
    return [
        (key.replace("_", " "), _in_words(value)) for key, value in run.items() if key not in shown
    ]


def _in_words(value: Any) -> str:
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_in_words(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _finalize(value: Any) -> Any:
    """Spells out invisible characters in whatever the template prints, our own markup excepted."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return resources.files("condmis_jax.reports").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
