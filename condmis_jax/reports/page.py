"""The frame that every page has: policy, style, script, and the browser of completions."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from condmis_jax.reports.embedding import embed, first_samples, safe_json
from condmis_jax.reports.svg import inline_svg
from condmis_jax.reports.text import limits, p_value, percent, points, visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_COMPLETIONS = 40_000
"""Completions that one page carries; beyond that browsers take seconds to open it."""
MOST_CHARACTERS = 30_000_000
"""Characters of completions that one page carries, for the same reason."""


def render(
    template: str, records: Sequence[Mapping[str, Any]], most: int, context: Mapping[str, Any]
) -> str:
    """A page that loads nothing, runs its own script only, and shows completions as inert text.

    Args:
        template: file name of one that extends `page.html.jinja`.
        records: completions to embed.
        most: how many of them at most, see `write_report`.
        context: what else the template needs.
    """
    kept = first_samples(records, most, MOST_CHARACTERS)
    style, script = _asset("report.css"), _asset("report.js")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(percent=percent, points=points, limits=limits, p_value=p_value)
    return environment.get_template(template).render(
        **context,
        total=len(records),
        shown=len(kept),
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        data=Markup(safe_json(embed(kept))),
    )


def drawn(figure: Figure | None, name: str, label: str) -> Markup | None:
    """A figure to stand in a page, None for none.

    Args:
        name: what its identifiers begin with; another one for each figure of a page.
        label: what a screen reader says.
    """
    # matplotlib takes a quarter of a second to import, which whoever only counts need not wait for.
    from condmis_jax.reports.style import THEME, to_svg

    if figure is None:
        return None
    return Markup(inline_svg(to_svg(figure), label, f"{name}-", THEME))


def _finalize(value: Any) -> Any:
    """Spells out invisible characters in whatever the template prints, our own markup excepted."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _asset(name: str) -> str:
    return resources.files("condmis_jax.reports").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
