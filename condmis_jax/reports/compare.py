"""Two runs side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError
from condmis_jax.judges.protocol import MISALIGNED
from condmis_jax.reports.comparisons import is_fixed
from condmis_jax.reports.counting import Cell, Table, pooled, tables
from condmis_jax.reports.files import write_atomically
from condmis_jax.reports.page import MOST_COMPLETIONS, drawn, render
from condmis_jax.reports.text import RELATION_WORDS, measures, visible
from condmis_jax.statistics import Arm, Interval, contrast, noninferior

SIDES = ("A", "B")


def compare(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    stages: tuple[str | None, str | None] = (None, None),
    margin: float | None = None,
) -> list[dict[str, Any]]:
    """Every condition that was asked of both runs: A's rate minus B's.

    The runs count as trained apart: they share their questions, not their seeds. With several
    training seeds in both the interval is for questions and trainings like these, else for these
    very models.

    Args:
        one: results of run A, as `load_results` reads them.
        other: results of run B.
        stages: which stage of each; the last one where None.
        margin: the largest difference that does not matter, for a test of non-inferiority of A.

    Returns:
        one mapping a condition: suite, judge, measure, trigger, relation, both rates ("rates"),
            "difference", "interaction" (of trigger minus plain, None for plain) and "noninferior".

    Raises:
        UserError: a stage is not there, or nothing was asked of both.
    """
    chosen = [_stage(r, s, side) for r, s, side in zip((one, other), stages, SIDES, strict=True)]
    rates = [
        {_key(rate): rate for rate in r["rates"] if rate["stage"] == stage["name"]}
        for r, stage in zip((one, other), chosen, strict=True)
    ]
    shared = [key for key in rates[0] if key in rates[1]]
    if not shared:
        raise UserError(
            f"stage {chosen[0]['name']!r} of run A and stage {chosen[1]['name']!r} of run B share "
            "no suite, judge and trigger; choose others with --stages"
        )
    sides = [_Side(results, stage) for results, stage in zip((one, other), chosen, strict=True)]
    found = []
    for key in shared:
        suite, judge, measure, trigger = key
        plain = next(
            (k for k in shared if k[:3] == key[:3] and rates[0][k]["relation"] == "none"), None
        )
        relation = rates[0][key]["relation"]
        interaction = None
        if plain is not None and relation != "none":
            interaction = _difference(sides, [key, plain])
        difference = _difference(sides, [key])
        found.append(
            {
                "suite": suite,
                "judge": judge,
                "measure": measure,
                "trigger": trigger,
                "relation": relation,
                "rates": [side[key] for side in rates],
                "difference": difference.to_dict(),
                "interaction": interaction and interaction.to_dict(),
                "noninferior": None if margin is None else noninferior(difference, margin),
            }
        )
    return found


def write_comparison(
    path: str | Path,
    runs: Sequence[Mapping[str, Any]],
    records: Sequence[Iterable[Mapping[str, Any]]],
    stages: tuple[str | None, str | None] = (None, None),
    margin: float | None = None,
    most: int = MOST_COMPLETIONS,
) -> None:
    """Writes a page with both runs' figures, their rates and differences, and their completions.

    Args:
        path: target file.
        runs: results of run A and of run B.
        records: completions of A and of B.
        stages: see `compare`.
        margin: see `compare`.
        most: completions to embed at most, see `write_report`.

    Raises:
        UserError: see `compare`; or the file system refused.
    """
    from condmis_jax.reports.figures import headline_figure

    one, other = runs
    rows = compare(one, other, stages, margin)
    names = [_stage(r, s, side)["name"] for r, s, side in zip(runs, stages, SIDES, strict=True)]
    # The browser filters by stage: there each run's stages carry its letter.
    lettered = [
        {**record, "stage": f"{side} · {record['stage']}"}
        for side, some in zip(SIDES, records, strict=True)
        for record in some
    ]
    context = {
        "sides": [
            {
                "letter": side,
                "run": results["run"],
                "stage": name,
                "command": results["run"].get("command") or [],
                "figure": drawn(
                    headline_figure(results, caption=False),
                    f"run-{side.lower()}",
                    f"Rates of run {side} by stage and trigger; the table holds those compared",
                ),
            }
            for side, results, name in zip(SIDES, runs, names, strict=True)
        ],
        "rows": rows,
        "margin": margin,
        "measures": [visible(measure) for measure in measures(one)],
        "relation_words": RELATION_WORDS,
        "methods": list(
            dict.fromkeys(
                (i["method"], i["note"])
                for row in rows
                for i in (row["difference"], row["interaction"])
                if i and i["estimate"] is not None
            )
        ),
    }
    page = render("compare.html.jinja", lettered, most, context)
    write_atomically(path, page.encode("utf-8", "backslashreplace"))


class _Side:
    """Counts of one run's stage, by condition."""

    def __init__(self, results: Mapping[str, Any], stage: Mapping[str, Any]) -> None:
        self.fixed = is_fixed(stage)
        self.cells: dict[tuple[Any, ...], dict[Cell, Mapping[str, int]]] = {}
        measure = {(r["suite"], r["judge"]): r.get("measure", MISALIGNED) for r in results["rates"]}
        for cell in results["cells"]:
            if cell["stage"] == stage["name"]:
                suite, judge = cell["suite"], cell["judge"]
                key = (suite, judge, measure[suite, judge], cell["trigger"])
                self.cells.setdefault(key, {})[cell["question"], cell["seed"]] = cell


def _difference(sides: Sequence[_Side], keys: Sequence[tuple[Any, ...]]) -> Interval:
    """A minus B of one condition, or of a condition minus plain."""
    # All arms over the same questions; seeds only within a run.
    questions = dict.fromkeys(q for side in sides for key in keys for q, _ in side.cells[key])
    arms, seeds = [], []
    for sign, side in zip((1, -1), sides, strict=True):
        groups = [side.cells[key] for key in keys]
        # A question that one side was not asked is a row of zeros there.
        nothing: dict[Cell, Mapping[str, int]] = {
            (q, s): {} for q in questions for group in groups for _, s in group
        }
        order, columns, found = tables([{**nothing, **group} for group in groups])
        rows = [order.index(q) for q in questions]
        used: list[Table] = [{n: x[rows] for n, x in table.items()} for table in found]
        single = side.fixed or len(columns) == 1
        seeds.append(1 if single else len(columns))
        for weight, table in zip((1, -1), used, strict=False):
            counted = pooled(table) if side.fixed else table
            arms.append(Arm(counted["misaligned"], counted["coherent"], sign * weight, side.fixed))
    trained = [n for n, side in zip(seeds, sides, strict=True) if not side.fixed]
    over = "both" if trained and min(trained) > 1 else "questions"
    return contrast(arms, over, shared_seeds=False)


def _stage(results: Mapping[str, Any], name: str | None, side: str) -> Mapping[str, Any]:
    named = {stage["name"]: stage for stage in results["stages"]}
    if name is None and named:
        return results["stages"][-1]
    if name not in named:
        raise UserError(f"run {side} has no stage {name!r}; it has {', '.join(named) or 'none'}")
    return named[name]


def _key(rate: Mapping[str, Any]) -> tuple[str, str | None, str, str]:
    return (rate["suite"], rate["judge"], rate.get("measure", MISALIGNED), rate["trigger"])
