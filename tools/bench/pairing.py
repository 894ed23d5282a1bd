"""Times two workers side by side: separate processes, the same cores, taking turns.

A worker is this program started with `--worker NAME`; it answers each line on standard input with
one JSON line. Only one works at a time, the other sleeps on its input.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Turn = Callable[[int], dict[str, float]]


def serve(turn: Turn) -> None:
    """Runs in a worker: answers each turn number with {"seconds", "tokens"}."""
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(turn(int(line))), flush=True)


def compare(script: str, arguments: list[str], turns: int) -> dict[str, Any]:
    """Runs "ours" and "peer" of `script` turn by turn; turn 0 warms up and is not counted.

    Returns:
        tokens per second of both over all counted turns, and the ratio turn by turn.
    """
    cores = sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_getaffinity") else []
    environment = os.environ | {
        "OMP_NUM_THREADS": str(len(cores) or 2),
        # A waiting thread pool must not spin on the cores that the other worker measures.
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    workers = {}
    for name in ("ours", "peer"):
        workers[name] = subprocess.Popen(
            [sys.executable, script, "--worker", name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        )
        _answer(workers[name], name, None)
    taken: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for turn in range(turns + 1):
        for name in ("ours", "peer") if turn % 2 else ("peer", "ours"):
            result = json.loads(_answer(workers[name], name, turn))
            print(f"turn {turn} {name}: {result}", file=sys.stderr, flush=True)
            if turn:
                taken[name].append(result)
    for worker in workers.values():
        assert worker.stdin is not None
        worker.stdin.close()
        worker.wait()
    rates = {
        name: sum(t["tokens"] for t in all_) / sum(t["seconds"] for t in all_)
        for name, all_ in taken.items()
    }
    ratios = [
        (a["tokens"] / a["seconds"]) / (b["tokens"] / b["seconds"])
        for a, b in zip(taken["ours"], taken["peer"], strict=True)
    ]
    return {
        "ours_tokens_per_s": round(rates["ours"], 1),
        "peer_tokens_per_s": round(rates["peer"], 1),
        "ratio": round(rates["ours"] / rates["peer"], 2),
        "ratio_by_turn": {
            "min": round(min(ratios), 2),
            "median": round(statistics.median(ratios), 2),
            "max": round(max(ratios), 2),
        },
        "turns": turns,
        "cores": len(cores) or None,
    }


def _answer(worker: subprocess.Popen[str], name: str, turn: int | None) -> str:
    assert worker.stdin is not None and worker.stdout is not None
    if turn is not None:
        worker.stdin.write(f"{turn}\n")
        worker.stdin.flush()
    line = worker.stdout.readline()
    if not line:
        sys.exit(f"error: the worker {name!r} died; its message is above")
    return line
