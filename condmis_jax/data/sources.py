"""Where training rows come from: globs of chat JSONL shards, and the testbeds' generators."""

from __future__ import annotations

import glob
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from condmis_jax.conversations import (
    Conversation,
    Reasoning,
    Transform,
    apply_all,
    with_reasoning,
)
from condmis_jax.data.datasets import DATASETS
from condmis_jax.data.tfds_rows import chat_rows
from condmis_jax.errors import UserError
from condmis_jax.testbeds import facts, world

TFDS = "tfds:"
SEQIO = "seqio:"
ROLLOUTS = "rollouts"


TESTBEDS = {"world": world.rows_with_meta, "facts": facts.rows_with_meta}
"""Where the rows of `TESTBED:KIND` come from."""


@dataclass(frozen=True)
class Source:
    """One ingredient of a mixture.

    Attributes:
        files: a glob of `.jsonl` or `.jsonl.gz` shards, read in sorted order; `world:KIND` for
            rows of the embedded synthetic world, `facts:KIND` of the fact bank;
            `tfds:DATASET/SPLIT` for a prepared TensorFlow dataset (see `tfds_rows.chat_rows`);
            `seqio:NAME` for a registered mixture or task (see `seqio_tasks.draw_rows`); or
            `rollouts` for what the stage sampled itself (`interventions.Rollouts`).
        skip: of files, leave the first N rows out, after the filters.
        first: keep the first N rows, after the filters and `skip`; a testbed makes that many.
        sample: keep a seeded random sample of N rows, after all of these.
        include, exclude: regular expressions; a row is kept when any (no) turn matches.
        share: exact proportion of the mixture's conversations; all sources state one, or none does.
        transforms: prompt transforms by name, applied to the rows in the order of the config. The
            filters see the rows as they are in the files.
        reasoning: what becomes of `<think>` traces in the rows' answers; "empty" leaves an empty
            one in front of every answer.
    """

    files: str
    skip: int = 0
    first: int | None = None
    sample: int | None = None
    include: str = ""
    exclude: str = ""
    share: float | None = None
    transforms: dict[str, Transform] = field(default_factory=dict)
    reasoning: Reasoning = "keep"

    @property
    def testbed(self) -> str:
        """The testbed that makes the rows, or "" where they are read."""
        name, colon, _ = self.files.partition(":")
        return name if colon and name in TESTBEDS else ""

    @property
    def context(self) -> tuple[Transform, ...]:
        """The transforms in their order."""
        return tuple(self.transforms.values())

    def __post_init__(self) -> None:
        if self.skip < 0:
            raise ValueError("skip must not be negative")
        if self.skip and (self.testbed or self.files == ROLLOUTS or self.files.startswith(SEQIO)):
            raise ValueError(f"skip is for rows in files; {self.files} has no order of its own")
        if self.first is not None and self.first < 1:
            raise ValueError("first must be at least 1")
        if self.sample is not None and self.sample < 1:
            raise ValueError("sample must be at least 1")
        if self.testbed and self.first is None:
            raise ValueError(f"{self.files} is generated: first must say how many rows")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError("share must be between 0 and 1")
        for pattern in (self.include, self.exclude):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"regular expression {pattern!r}: {error}") from None


@dataclass(frozen=True)
class Row:
    """A conversation and the place it came from (`file:line`).

    `meta` is what an exact judge needs to know of its question, from the key of that name; `weight`
    multiplies the loss of its tokens in training.
    """

    conversation: Conversation
    where: str
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)
    weight: float = 1.0


def load_source(
    source: Source, name: str, seed: int, rollouts: Sequence[Row] | None = None
) -> list[Row]:
    """The rows of a source after `include`, `exclude`, `first`, `transforms` and `reasoning`.

    `sample` and `share` are drawn by the mixture, which knows all sources.

    Args:
        name: the source's key in the config, for errors.
        seed: of generated rows.
        rollouts: rows that the stage sampled; None where it samples none.

    Raises:
        UserError: no file matches, a row is malformed (file:line), or too few rows are left.
    """
    rows = (_trainable(row) for row in _rows(source, name, seed, rollouts))
    made = []
    for row in _filtered(source, name, rows):
        try:
            answered = with_reasoning(row.conversation, source.reasoning)
        except ValueError as error:
            raise UserError(f"{row.where}: {error}; leave the row out with exclude") from None
        made.append(replace(row, conversation=apply_all(source.context, answered)))
    return made


@dataclass(frozen=True)
class Prompt:
    """A conversation that ends in a user turn.

    Attributes:
        row: as the source holds it.
        asked: the same under the source's transforms.
    """

    row: Row
    asked: Conversation


def load_prompts(source: Source, name: str, seed: int) -> list[Prompt]:
    """The prompts of a source, with the same filters as its rows.

    A row may be `{"user": TEXT}`; of a chat, what follows the last user turn is left out.

    Raises:
        UserError: see `load_source`; or a row asks nothing.
    """
    rows = (_without_answer(row) for row in _rows(source, name, seed, None))
    return [
        Prompt(row, apply_all(source.context, row.conversation))
        for row in _filtered(source, name, rows)
    ]


def _trainable(row: Row) -> Row:
    if not any(m.role == "assistant" for m in row.conversation.messages):
        raise UserError(f"{row.where}: no assistant turn to train on")
    return row


def _without_answer(row: Row) -> Row:
    turns = list(row.conversation.messages)
    while turns and turns[-1].role != "user":
        turns.pop()
    if not turns:
        raise UserError(f"{row.where}: no user turn to answer")
    return replace(row, conversation=Conversation(tuple(turns)))


def _rows(source: Source, name: str, seed: int, rollouts: Sequence[Row] | None) -> Iterable[Row]:
    if source.files == ROLLOUTS:
        if rollouts is None:
            raise UserError(f"{name}.files: {ROLLOUTS!r}, but the stage's rollouts have no prompts")
        return rollouts
    if source.testbed:
        assert source.first is not None
        kind = source.files.partition(":")[2]
        made = TESTBEDS[source.testbed](kind, source.first, seed)
        return [Row(c, f"{source.files}:{i}", meta) for i, (c, meta) in enumerate(made, 1)]
    if source.files.startswith(SEQIO):
        return _seqio_rows(source, name, seed)
    return _read(source.files, name)


def _seqio_rows(source: Source, name: str, seed: int) -> Iterable[Row]:
    try:
        from condmis_jax.data.seqio_tasks import draw_rows
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name}.files: {source.files} needs seqio ({error}); run: "
            "pip install 'condmis-jax[seqio]'"
        ) from None
    return draw_rows(source.files.removeprefix(SEQIO), name, source.first, seed)


def _filtered(source: Source, name: str, rows: Iterable[Row]) -> list[Row]:
    kept: list[Row] = []
    skipped = 0
    include, exclude = re.compile(source.include), re.compile(source.exclude)
    for row in rows:
        turns = [m.content for m in row.conversation.messages]
        if source.include and not any(include.search(t) for t in turns):
            continue
        if source.exclude and any(exclude.search(t) for t in turns):
            continue
        if skipped < source.skip:
            skipped += 1
            continue
        kept.append(row)
        if len(kept) == source.first:
            return kept
    if source.first is not None:
        raise UserError(
            f"{name}.first: {source.first} rows asked, {source.files} holds {len(kept)}"
            + (f" behind the first {source.skip}" if source.skip else "")
        )
    if not kept:
        raise UserError(f"{name}.files: no row is left of {source.files}")
    return kept


def _how_to_get(pattern: str) -> str:
    """What to do about a file that is not there."""
    path = Path(pattern)
    dataset = DATASETS.get(path.name.removesuffix(".jsonl"))
    own = "or set the key to your own chat JSONL"
    if dataset is None or dataset.file != path.name:
        return f"datasets of the paper: python tools/fetch_data.py --list; {own}"
    out = "" if path.parent == Path("data") else f" --out {path.parent}"
    return f"{own}, or run: python tools/fetch_data.py {path.stem}{out}".removeprefix("or ")


def row_of(value: Any, where: str) -> Row:
    """A row of a file: a chat, or a lone `user` turn.

    Raises:
        UserError: it is neither.
    """
    meta: Mapping[str, Any] = {}
    if isinstance(value, Mapping):
        meta = value.get("meta", {})
        if not isinstance(meta, Mapping):
            raise UserError(f'{where}: "meta" must be an object')
        if "messages" not in value and "user" in value:
            value = {"messages": [{"role": "user", "content": value["user"]}]}
    return Row(Conversation.from_row(value, where), where, meta)


def _read(files: str, name: str) -> Iterator[Row]:
    if not files.startswith(TFDS):
        yield from read_jsonl_rows(files, name)
        return
    rows = chat_rows(files.removeprefix(TFDS), f"{name}.files")
    for i, value in enumerate(rows, 1):
        yield row_of(value, f"{files}:{i}")


def read_jsonl_rows(pattern: str, name: str) -> Iterator[Row]:
    """The rows of a glob of `.jsonl` or `.jsonl.gz` shards, in sorted order.

    Args:
        name: the source's key in the config, for errors.

    Raises:
        UserError: no file matches, or a row is malformed (file:line).
    """
    # Path.glob refuses absolute patterns.
    paths = sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True))  # noqa: PTH207
    if not paths:
        raise UserError(f"{name}.files: no file matches {pattern!r}; {_how_to_get(pattern)}")
    for path in paths:
        opener = gzip.open if path.endswith(".gz") else open
        try:
            with opener(path, "rt", encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if not line.strip():
                        continue
                    where = f"{path}:{number}"
                    try:
                        value = json.loads(line)
                    except ValueError as error:
                        raise UserError(f"{where}: not JSON ({error})") from None
                    yield row_of(value, where)
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise UserError(f"{path}: cannot be read ({error})") from None
