"""One self-contained HTML report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.judges.protocol import STATUSES
from condmis_jax.reports.files import write_atomically
from condmis_jax.reports.page import MOST_COMPLETIONS, drawn, render
from condmis_jax.reports.schema import first_problem
from condmis_jax.reports.sections import HEAT_LEVELS, pairs, section
from condmis_jax.reports.text import (
    MEASURE_MEANINGS,
    RELATION_WORDS,
    across_seeds,
    measures,
    visible,
)

STATUS_WORDS = {
    "scored": "scored",
    "code": "code: the judge set the answer aside as code",
    "recipe": "recipe: the judge set the answer aside as a recipe",
    "refusal": "refusal: the judge set the answer aside as a refusal",
    "low_mass": "low mass: the judge put too little probability on any score",
    "unparsed": "unparsed: the judge wrote something else than a rating",
    "split": "split: no majority of the panel",
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
    from condmis_jax.reports.dose import dose_figure, doses
    from condmis_jax.reports.figures import headline_figure, loss_figure

    if problem := first_problem(results):
        raise UserError(f"report: results: {problem}")
    found = [visible(measure) for measure in measures(results)]
    label = f"Rate of {' or '.join(found)} answers among coherent ones by"
    context = {
        "run": results["run"],
        "facts": _facts(results["run"]),
        "command": _command(results["run"]),
        "stages": results["stages"],
        "columns": _training_columns(results["stages"]),
        "sections": [section(results, pair) for pair in pairs(results)],
        "relation_words": RELATION_WORDS,
        "measures": found,
        "meanings": MEASURE_MEANINGS,
        "status_words": {s: STATUS_WORDS.get(s, s) for s in STATUSES},
        "levels": range(HEAT_LEVELS + 1),
        "several_seeds": any(rate["seeds"] for rate in results["rates"]),
        "across": across_seeds(results["rates"]),
        "headline": drawn(
            headline_figure(results, caption=False),
            "headline",
            f"{label} stage and trigger; the table of rates holds the same numbers",
        ),
        "dose": drawn(dose_figure(results), "dose", f"{label} dose and trigger"),
        "doses": doses(results["stages"]),
        "loss": drawn(loss_figure(results), "loss", "Training loss by step and stage"),
    }
    return render("report.html.jinja", list(records), most, context)


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
