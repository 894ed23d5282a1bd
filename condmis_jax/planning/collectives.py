"""Collectives of a compiled program, counted as often as they run.

XLA prints a loop's body once, so a collective inside counts as often as its loops turn. TPU
programs repeat a collective in each piece of an asynchronous fusion, under one channel.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")

_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2,
    "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8,
}  # fmt: skip
_ARRAY = re.compile(r"\b(pred|bf16|[suf](?:8|16|32|64))\[([\d,]*)\]")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
    r"|(?:branch_computations|called_computations)=\{([^}]*)\}"
)


@dataclass(frozen=True)
class Collective:
    """All collectives of one kind in one run of a program.

    Attributes:
        count: how many run.
        bytes: of the whole (gathered) arrays they work on, summed.
        wire_bytes: that one device sends, by ring algorithms: (n-1)/n of the array in a group of n,
            twice that for an all-reduce, the whole array for a permutation.
    """

    count: int
    bytes: int
    wire_bytes: int


def collectives(hlo: str, dynamic_trips: int = 1) -> dict[str, Collective]:
    """Collectives by kind in the text of a compiled program.

    Args:
        hlo: `compiled.as_text()`.
        dynamic_trips: turns of a loop whose bound is computed when it runs.
    """
    computations, entry = _computations(hlo)
    times = _times(computations, entry, dynamic_trips)
    seen: dict[str, tuple[str, int, int, int]] = {}
    for name, lines in computations.items():
        if not times.get(name):
            continue
        for line in lines:
            found = _collective(name, line)
            if found is None:
                continue
            kind, key, size, group = found
            # The pieces of a fused collective share its channel; a clone in a prologue runs less.
            if key not in seen or times[name] > seen[key][3]:
                seen[key] = (kind, size, group, times[name])
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0])
    for kind, size, group, n in seen.values():
        share = {"all-reduce": 2 * (group - 1) / group, "collective-permute": 1.0}
        total = sums[kind]
        total[0] += n
        total[1] += n * size
        total[2] += n * size * share.get(kind, (group - 1) / group)
    return {k: Collective(*(round(v) for v in sums[k])) for k in KINDS if k in sums}


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    computations: dict[str, list[str]] = {}
    entry, lines = "", None
    for line in hlo.splitlines():
        if line.startswith(("%", "ENTRY")) and (match := _COMPUTATION.match(line)):
            lines = computations.setdefault(match[1], [])
            entry = match[1] if line.startswith("ENTRY") else entry
        elif line.startswith("}"):
            lines = None
        elif lines is not None:
            lines.append(line)
    return computations, entry


def _times(computations: Mapping[str, list[str]], entry: str, dynamic: int) -> dict[str, int]:
    """How often each computation runs; called computations once for each call."""
    times: dict[str, int] = defaultdict(int)

    def visit(name: str, n: int) -> None:
        times[name] += n
        for line in computations.get(name, ()):
            if "=%" not in line and "={%" not in line:
                continue
            turns = n
            if " while(" in line:
                turns = n * trips(line, computations, dynamic)
            for match in _CALLED.finditer(line):
                for called in (match[1] or match[2]).replace("%", "").split(","):
                    visit(called.strip(), turns)

    visit(entry, 1)
    return times


def trips(line: str, computations: Mapping[str, list[str]], dynamic: int) -> int:
    """Turns of a while loop: what XLA noted, or the constant that its condition compares with."""
    known = re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', line)
    if known:
        return int(known[1])
    condition = re.search(r"condition=%?([\w.\-]+)", line)
    lines = computations.get(condition[1], []) if condition else []
    constants = {}
    for inner in lines:
        if match := re.match(
            r"\s+(?:ROOT )?%?([\w.\-]+) = [su](?:32|64)\[\]\S* constant\((\d+)\)", inner
        ):
            constants[match[1]] = int(match[2])
    for inner in lines:
        compared = re.search(r"ROOT .* compare\(%?([\w.\-]+), %?([\w.\-]+)\), direction=LT", inner)
        if compared and compared[2] in constants:
            return constants[compared[2]]
    return dynamic


def _collective(computation: str, line: str) -> tuple[str, str, int, int] | None:
    """Kind, identity, bytes of the whole array, and group size of a collective's line."""
    match = _INSTRUCTION.match(line)
    if match is None:
        return None
    name, result, operation, rest = match.groups()
    start = operation.endswith("-start")
    kind = operation.removesuffix("-start")
    if kind not in KINDS:
        return None
    size = sum(
        _BYTES[kind_] * math.prod(int(d) for d in dims.split(",") if d)
        for kind_, dims in _ARRAY.findall(result)
    )
    group = group_size(rest)
    if kind == "all-reduce" and computation.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"  # how TPU programs write one: an all-reduce whose slice is kept
    elif kind == "reduce-scatter":
        size *= group
    elif start and kind == "all-gather":
        size = size * group // (group + 1)  # the result holds the input, too
    elif start and kind == "collective-permute":
        size //= 2
    channel = re.search(r"channel_id=(\d+)", rest)
    return kind, f"channel {channel[1]}" if channel else name, size, max(group, 1)


def group_size(attributes: str) -> int:
    """Devices that take part in one group, in any of the forms in which XLA writes them."""
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", attributes):
        sizes = {a: int(n) for a, n in re.findall(r"'(\w+)'=(\d+)", match[1])}
        group = 1
        for axis, part in re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", match[2]):
            group *= int(part) if part else sizes[axis]
        return group
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]", attributes):
        return int(match[2])
    if match := re.search(r"replica_groups=\{\{([\d,]*)\}", attributes):
        return match[1].count(",") + 1
    return 1
