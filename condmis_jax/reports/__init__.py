"""Results, figures and the report.

`summarise` counts judged completions and estimates the rates, `write_results` and `load_results`
keep them as `results.json` (the schema is `results.schema.json`), `write_report` makes the page,
`write_exports` figures and tables beside it.
"""

from condmis_jax.reports.compare import compare, write_comparison
from condmis_jax.reports.counting import RELATIONS
from condmis_jax.reports.exports import read_completions, write_exports
from condmis_jax.reports.html import render_report, write_report
from condmis_jax.reports.inspect_log import write_inspect_logs
from condmis_jax.reports.labels import LABELS, read_sheet, sheet
from condmis_jax.reports.results import (
    SCHEMA_VERSION,
    load_results,
    summarise,
    write_results,
)
from condmis_jax.reports.schema import results_schema
from condmis_jax.reports.terminal import summary_lines

__all__ = [
    "LABELS",
    "RELATIONS",
    "SCHEMA_VERSION",
    "compare",
    "load_results",
    "read_completions",
    "read_sheet",
    "render_report",
    "results_schema",
    "sheet",
    "summarise",
    "summary_lines",
    "write_comparison",
    "write_exports",
    "write_inspect_logs",
    "write_report",
    "write_results",
]
