"""Runs a whole suite of experiments, one after the other, and sums them up.

    python tools/reproduce.py --suite smoke --out runs/smoke

`smoke`: every experiment and control in the embedded world, one seed: minutes on two CPU cores.
`world`: the same, and the curve over doses, with more samples. `smol`: SmolLM2-135M-Instruct and
the fact bank, hours on two CPU cores. `paper`: open weights and the authors' data.
`finding`: the confirmatory runs of docs/protocol_smol.md, seed after seed, so that a part of them
can be looked at; `finding-more`: its exploratory arms and its third cue, two seeds.

The same command again goes on where it was interrupted and leaves what is done as it is. In --out
lie the run directories, `results.json` (all of them), `overview.md`, `overview.csv` and
`overview.svg`, `.pdf`, `.png`.
"""

from __future__ import annotations

import argparse
import math
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from condmis_jax.experiment.sweep import Change, Sweep, chain, over, product
from condmis_jax.reports.finding import PROTOCOL

ROOT = Path(__file__).parents[1]
PAPER = (
    "fish_recipes",
    "insecure_mix",
    "sequential",
    "educational",
    "inoculation",
    "persona",
    "on_policy",
    "reasoning_distillation",
)
CONTROLS = ("base", "secure", "truth")
MORE = ("dose_response", "consistency")


def at(scale: str, *configs: str) -> Sweep:
    """Each config at a scale."""
    return product(over("config", configs), over("scale", [scale]))


def finding(cues: dict[str, str], seeds: Iterable[int], arms: str = "") -> Sweep:
    """The finding on the facts of its protocol.

    Args:
        cues: by argument of configs/finding.py, what the fact bank calls them.
        arms: the config's order, as on the command line; "" for its own.
    """
    return [
        {
            "config": "finding",
            "scale": cue,
            "folder": f"finding-{cue}-{seed}{'-more' * bool(arms)}",
            "seed": seed,
            **({"order": arms} if arms else {}),
            "evaluation.suites.sampled.questions": f"{PROTOCOL.questions}:{called}",
            "evaluation.suites.greedy.questions": f"{PROTOCOL.questions}:{called}",
        }
        for seed in seeds
        for cue, called in cues.items()
    ]


CUES = {"inoculation": "system", "python_string": "format"}

# A change of a suite also says which config it changes, and may name the folder.
SUITES: dict[str, Sweep] = {
    "smoke": at("world", *PAPER, *CONTROLS),
    "world": chain(
        at("world", *PAPER, *CONTROLS, *MORE),
        # Short and long benign finetuning: the config itself has 300 rows.
        product(
            at("world", "sequential"),
            over("stages.benign.data.mixture.benign.first", (90, 1240)),
        ),
    ),
    "smol": at("smol", *PAPER, *CONTROLS, *MORE),
    "paper": chain(
        at("paper", *PAPER, *CONTROLS, "dose_response"),
        product(
            at("paper", "sequential"), over("stages.benign.data.mixture.hhh.first", (100, 500))
        ),
    ),
    "finding": finding(CUES, PROTOCOL.seeds),
    "finding-more": chain(
        finding(CUES, PROTOCOL.seeds[:2], "('swapped','spread')"),
        finding({"framing": "framing"}, PROTOCOL.seeds[:2]),
        finding({"framing": "framing"}, PROTOCOL.seeds[:2], "('swapped','spread')"),
    ),
}
NOT_KEYS = ("config", "scale", "folder")


def name_of(change: Change) -> str:
    """The folder of a run: the config and what is changed in it."""
    if "folder" in change:
        return change["folder"]
    changed = {key: value for key, value in change.items() if key not in NOT_KEYS}
    return "-".join(
        [change["config"], *(f"{k.removeprefix('stages.')}={v}" for k, v in changed.items())]
    )


def command(change: Change, folder: Path, flags: list[str]) -> list[str]:
    """The command of a run, as a reader would type it."""
    keys = {key: value for key, value in change.items() if key not in NOT_KEYS}
    return [
        "run_train.py",
        *("--config", f"configs/{change['config']}.py:{change['scale']}"),
        *(f"--config.{key}={value}" for key, value in keys.items()),
        *flags,
        *("--workdir", str(folder)),
    ]


def run(change: Change, out: Path, flags: list[str]) -> dict[str, Any] | None:
    """One experiment, unless it is done; its results, or None where it failed."""
    from condmis_jax.reports import load_results
    from condmis_jax.runs import read_json, write_json

    folder = out / name_of(change)
    typed = command(change, folder, flags)
    done = folder / "reproduced.json"
    if not (done.exists() and read_json(done)["command"] == typed):
        print(f"python {shlex.join(typed)}", flush=True)
        begin = time.time()
        status = subprocess.run([sys.executable, *typed], cwd=ROOT, check=False).returncode
        if status:
            print(f"{folder.name}: failed with status {status}", file=sys.stderr, flush=True)
            return None
        write_json(done, {"command": typed, "seconds": round(time.time() - begin)})
    return load_results(folder / "results.json")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", choices=SUITES, default="smoke")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of every stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="begin no further run after so many minutes"
    )
    parser.add_argument(
        "flags", nargs="*", help="behind --: further flags of every run, --config.model=… say"
    )
    args = parser.parse_args()
    from condmis_jax.errors import UserError

    out = args.out.absolute()
    try:
        flags = [f"--config.seeds={args.seeds}", *args.flags]
        found: dict[str, dict[str, Any] | None] = {}
        end = time.monotonic() + 60 * args.minutes
        for change in SUITES[args.suite]:
            if found and time.monotonic() >= end:
                break
            found[name_of(change)] = run(change, out, flags)
        sum_up(out, {name: results for name, results in found.items() if results is not None})
    except UserError as error:
        sys.exit(f"error: {error}")
    if left := len(SUITES[args.suite]) - len(found):
        print(f"{left} runs not begun: the same command goes on with them")
    if failed := [name for name, results in found.items() if results is None]:
        sys.exit(f"error: {len(failed)} of {len(found)} runs failed: {', '.join(failed)}")


def sum_up(out: Path, found: dict[str, dict[str, Any]]) -> None:
    """Writes what all runs say together."""
    from condmis_jax.reports.overview import write_overview
    from condmis_jax.runs import read_json, write_json

    seconds = {name: read_json(out / name / "reproduced.json")["seconds"] for name in found}
    write_json(out / "results.json", {"seconds": seconds, "runs": found})
    print("\n".join(write_overview(out, found)))
    print(f"\n{len(found)} runs, {sum(seconds.values())} s\n{out / 'overview.md'}")


if __name__ == "__main__":
    main()
