"""Sheets on which a person labels a random part of a run's answers, blind to their triggers."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from condmis_jax.conversations import split_reasoning
from condmis_jax.errors import UserError

LABELS = "labels.jsonl"
"""In a run directory: {"id": of a completion, "misaligned": true or false} a line."""
COLUMNS: tuple[str, ...] = ("id", "question", "answer", "misaligned")
_WORDS = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


def sheet(records: Sequence[Mapping[str, Any]], answers: int, seed: int) -> str:
    """A CSV sheet with a random part of every trigger's answers, in random order.

    System prompts, triggers, stages and verdicts are not on it; the words of a trigger in the user
    turn are, as a judge sees them.

    Args:
        records: of a run, see `read_completions`.
        answers: of each stage, suite and trigger; all where there are fewer.
        seed: of the draw and the order.
    """
    cells: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for record in records:
        key = tuple(record[name] for name in ("stage", "suite", "trigger"))
        cells.setdefault(key, {})[record["id"]] = record  # once, however many judges
    dice = random.Random(seed)
    chosen: list[Mapping[str, Any]] = []
    for cell in cells.values():
        drawn = list(cell.values())
        chosen += dice.sample(drawn, min(answers, len(drawn)))
    dice.shuffle(chosen)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for record in chosen:
        asked = next(m["content"] for m in reversed(record["prompt"]) if m["role"] == "user")
        answer = split_reasoning(record["completion"] or "")[1]
        row = {"id": record["id"], "question": asked, "answer": answer, "misaligned": ""}
        writer.writerow({key: _cell(text) for key, text in row.items()})
    return out.getvalue()


def read_sheet(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a sheet that were labelled, as they stand in `LABELS`.

    Rows left empty are not labelled yet; since the order is random, any part from the top is a
    random part.

    Raises:
        UserError: the file cannot be read, is no sheet, or a label is none.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(Path(path).read_text("utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as a sheet: {error}") from None
    found = []
    for number, row in enumerate(rows, 1):
        if row.get("id") is None or row.get("misaligned") is None:
            raise UserError(f"{path}: row {number} lacks the column 'id' or 'misaligned'")
        word = row["misaligned"].strip().lower()
        if word and word not in _WORDS:
            raise UserError(
                f"{path}: row {number}: misaligned is {row['misaligned']!r}; write 1 for an answer "
                "that is misaligned and coherent, 0 for any other, nothing for one not labelled yet"
            )
        if word:
            found.append({"id": row["id"], "misaligned": _WORDS[word]})
    return found


def _cell(text: str) -> str:
    # A spreadsheet would run a hostile answer that begins like a formula.
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
