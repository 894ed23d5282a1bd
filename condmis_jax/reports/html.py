"""One self-contained HTML report."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from condmis_jax.errors import UserError
from condmis_jax.judges.protocol import STATUSES
from condmis_jax.reports.embedding import embed, first_samples, safe_json
from condmis_jax.reports.files import write_atomically
from condmis_jax.reports.schema import first_problem
from condmis_jax.reports.sections import HEAT_LEVELS, pairs, section
from condmis_jax.reports.svg import inline_svg
from condmis_jax.reports.text import (
    MEASURE_MEANINGS,
    RELATION_WORDS,
    limits,
    measures,
    p_value,
    percent,
    points,
    visible,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COMPLETIONS = 40_000
"""Completions that one page carries; beyond that browsers take seconds to open it."""
MOST_CHARACTERS = 30_000_000
"""Characters of completions that one page carries, for the same reason."""

STATUS_WORDS = {
    "scored": "scored",
    "code": "code: the judge set the answer aside as code",
    "recipe": "recipe: the judge set the answer aside as a recipe",
    "refusal": "refusal: the judge set the answer aside as a refusal",
    "low_mass": "low mass: the judge put too little probability on any score",
    "unparsed": "unparsed: the judge wrote something else than a rating",
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
    from condmis_jax.reports.style import THEME, to_svg

    if problem := first_problem(results):
        raise UserError(f"report: results: {problem}")
    everything = list(records)
    kept = first_samples(everything, most, MOST_CHARACTERS)
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    found = [visible(measure) for measure in measures(results)]

    def drawn(figure: Figure | None, name: str, label: str) -> Markup | None:
        return figure and Markup(inline_svg(to_svg(figure), label, f"{name}-", THEME))

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(percent=percent, points=points, limits=limits, p_value=p_value)
    return environment.from_string(_asset("report.html.jinja")).render(
        run=results["run"],
        facts=_facts(results["run"]),
        command=_command(results["run"]),
        stages=results["stages"],
        columns=_training_columns(results["stages"]),
        sections=[section(results, pair) for pair in pairs(results)],
        relation_words=RELATION_WORDS,
        measures=found,
        meanings=MEASURE_MEANINGS,
        status_words={s: STATUS_WORDS.get(s, s) for s in STATUSES},
        levels=range(HEAT_LEVELS + 1),
        several_seeds=any(rate["seeds"] for rate in results["rates"]),
        across=sorted({rate["across_seeds"] for rate in results["rates"]}),
        total=len(everything),
        shown=len(kept),
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        headline=drawn(
            headline_figure(results, caption=False),
            "headline",
            f"Rate of {' or '.join(found)} answers among coherent ones by stage and trigger; "
            "the table of rates holds the same numbers",
        ),
        dose=drawn(
            dose_figure(results),
            "dose",
            f"Rate of {' or '.join(found)} answers among coherent ones by dose and trigger",
        ),
        doses=doses(results["stages"]),
        loss=drawn(loss_figure(results), "loss", "Training loss by step and stage"),
        data=Markup(safe_json(embed(kept))),
    )


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
