"""What a run leaves beside its report: figures to print, tables to compute with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError, first_line
from condmis_jax.judges.protocol import MISALIGNED
from condmis_jax.reports.files import write_atomically

_COLUMNS = {
    "stage": "string",
    "suite": "string",
    "judge": "string",
    "measure": "string",
    "trigger": "string",
    "relation": "string",
    "question": "string",
    "seed": "int64",
    "sample": "int64",
    "status": "string",
    "misaligned": "bool",
    "coherent": "bool",
    "scores": "string",
    "label": "string",
    "detail": "string",
    "prompt": "string",
    "completion": "string",
    "tokens": "int64",
    "finish": "string",
    "id": "string",
}


def write_exports(
    folder: str | Path, results: Mapping[str, Any], records: Iterable[Mapping[str, Any]]
) -> None:
    """Writes `figures/` (SVG, PDF, PNG) and `tables/` (CSV; the completions as Parquet).

    Args:
        folder: of the run.
        results: the document that `results.schema.json` describes.
        records: the completions that `summarise` counted.

    Raises:
        UserError: the file system refused.
    """
    # Both libraries take long to import, which whoever only counts need not wait for.
    from condmis_jax.reports.dose import dose_figure
    from condmis_jax.reports.figures import headline_figure, loss_figure
    from condmis_jax.reports.style import write_figure

    figures = {
        "headline": headline_figure(results),
        "dose": dose_figure(results),
        "loss": loss_figure(results),
    }
    for name, figure in figures.items():
        if figure is not None:
            write_figure(Path(folder) / "figures", name, figure)
    tables = Path(folder) / "tables"
    for name in ("rates", "contrasts", "cells"):
        write_atomically(tables / f"{name}.csv", to_csv(results[name]))
    write_atomically(tables / "completions.parquet", to_parquet(records))


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A table of a results document, nested fields by dotted names, nothing where there is null.

    The paper's aggregations and single seeds, which are documents of their own, stay out.
    """
    flat = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue().encode("utf-8", "backslashreplace")


def to_parquet(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Every completion with its verdict, a row each; prompt and scores are JSON."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(records)
    arrays = {}
    for name, kind in _COLUMNS.items():
        default = MISALIGNED if name == "measure" else None
        values = (row.get(name, default) for row in rows)
        if kind == "string":
            values = (_text(value) for value in values)
        arrays[name] = pa.array(list(values), pa.type_for_alias(kind))
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays), buffer, compression="zstd")
    return buffer.getvalue()


def read_completions(path: str | Path) -> list[dict[str, Any]]:
    """The records that `write_exports` left in `completions.parquet`.

    Raises:
        UserError: the file is not there or no such table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row |= {key: json.loads(row[key] or "null") for key in ("prompt", "scores")}
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as completions: {first_line(error)}") from None
    return rows


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key in ("published", "seeds"):
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{before}{key}.")
        elif isinstance(value, list):
            flat |= {f"{before}{key}.{at}": item for at, item in enumerate(value)}
        else:
            flat[f"{before}{key}"] = value
    return flat
