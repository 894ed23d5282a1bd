"""Plans of three models on four slices, as the tables of docs/scaling.md.

    python tools/scaling.py --out docs/scaling.md --results runs/scaling

Needs the extra `tpu`. Each cell is one run of tools/plan.py, whose JSON line is kept under
`--results`: run again, only what is missing is compiled, about three minutes a cell on one core.
The shapes are those of the published config.json files; no weights are read.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
GiB = 1024**3
COMMON = {
    "model_type": "qwen2",
    "max_position_embeddings": 32768,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
         "intermediate_size")  # fmt: skip
MODELS = {
    "Qwen2.5-7B": (3584, 28, 28, 4, 18944),
    "Qwen2.5-14B": (5120, 48, 40, 8, 13824),
    "Qwen2.5-32B": (5120, 64, 40, 8, 27648),
}
KINDS = {
    "LoRA": "--config.lora.preset=betley --config.lora.base_dtype=bfloat16",
    "full": "--config.lora.preset=none",
}
HALF = "--config.compute.dtype=bfloat16 --config.evaluation.dtype=bfloat16"
DEVICES = {"v5e:4x4": 16, "v5p:2x4x4": 32, "v6e:8x8": 64, "v5e:16x16": 256}
BATCH = 16  # conversations of a step in the paper's recipe for open models


@dataclass(frozen=True)
class Cell:
    """One plan: fsdp and tensor devices, and conversations a step."""

    model: str
    kind: str
    topology: str
    fsdp: int
    tensor: int
    batch: int = BATCH

    @property
    def name(self) -> str:
        slice_name = self.topology.replace(":", "-")
        return f"{self.model}_{self.kind}_{slice_name}_{self.fsdp}x{self.tensor}_b{self.batch}"

    def flags(self) -> list[str]:
        data = DEVICES[self.topology] // (self.fsdp * self.tensor)
        flags = [*shlex.split(KINDS[self.kind]), *shlex.split(HALF)]
        flags += [f"--topology={self.topology}", f"--config.mesh.data={data}"]
        flags += [f"--config.mesh.fsdp={self.fsdp}", f"--config.mesh.tensor={self.tensor}"]
        if self.batch != BATCH:
            flags.append(f"--config.stages.insecure.batch_size={self.batch}")
        return flags


def default_layout(model: str, kind: str, topology: str) -> Cell:
    """As many devices along fsdp as a step has rows, the rest along tensor."""
    fsdp = min(DEVICES[topology], BATCH)
    return Cell(model, kind, topology, fsdp, DEVICES[topology] // fsdp)


def others(topology: str) -> list[Cell]:
    """What the default layout is compared with."""
    n, small, large = DEVICES[topology], "Qwen2.5-7B", "Qwen2.5-32B"
    if n > 64:  # more devices than heads and rows can fill: a batch that fills them
        return [Cell(large, kind, topology, n, 1, batch=n) for kind in KINDS]
    cells = [Cell(large, "LoRA", topology, 4, n // 4), Cell(small, "full", topology, 4, n // 4)]
    return [*cells, Cell(large, "LoRA", topology, n, 1)] if n > BATCH else cells


def plan(cell: Cell, results: Path) -> dict[str, Any]:
    """The JSON line of tools/plan.py, or of an earlier run of it."""
    kept = results / f"{cell.name}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    folder = results / "shapes" / cell.model
    folder.mkdir(parents=True, exist_ok=True)
    sizes = dict(zip(SIZES, MODELS[cell.model], strict=True))
    (folder / "config.json").write_text(json.dumps({**COMMON, **sizes}))
    command = [sys.executable, str(ROOT / "tools" / "plan.py"), "--config"]
    command += ["configs/sequential.py:paper", f"--config.model={folder}", *cell.flags()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {cell.name} failed; its message is above")
    line = done.stdout.splitlines()[-1]
    kept.write_text(line + "\n")
    return json.loads(line)


def row(cell: Cell, found: dict[str, Any]) -> str:
    """A line of the table: memory in GiB on one chip, seconds of a step."""
    size = found["bytes_per_device"]
    roofline = found["roofline"]

    def gib(name: str) -> str:
        return f"{size[name] / GiB:.1f}"

    mesh = " × ".join(str(found["mesh"][axis]) for axis in ("data", "fsdp", "tensor"))
    failed = size["needed_where_it_failed"]
    step = "" if failed else f"{roofline['best']:.2f} to {roofline['worst']:.2f}"
    mfu = "" if failed else f"{roofline['mfu']:.0%} ({roofline['bound']})"
    cells = [
        cell.model, cell.kind, mesh, f"{cell.batch}", gib("parameters"), gib("optimiser"),
        gib("training_peak"), gib("sampling_peak"), f"{size['hbm'] / GiB:.1f}",
        "yes" if found["fits"] else "**no**", step, mfu,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| model | training | data × fsdp × tensor | batch | weights | optimiser | training peak | "
    "sampling peak | a chip has | fits | step at best, without overlap, s | MFU at best (bound) |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--results", type=Path, default=ROOT / "runs" / "scaling")
    args = parser.parse_args()
    args.results = args.results.resolve()
    args.results.mkdir(parents=True, exist_ok=True)
    found: dict[Cell, dict[str, Any]] = {}
    defaults = [default_layout(m, k, t) for t in DEVICES for k in KINDS for m in MODELS]
    cells = list(dict.fromkeys([*defaults, *(c for t in DEVICES for c in others(t))]))
    for i, cell in enumerate(cells):
        print(f"{i + 1}/{len(cells)} {cell.name}", file=sys.stderr, flush=True)
        found[cell] = plan(cell, args.results)
    tables = []
    for topology in DEVICES:
        lines = [f"### {topology}, {DEVICES[topology]} chips", "", HEAD]
        lines += [row(c, found[c]) for c in cells if c.topology == topology]
        tables.append("\n".join(lines))
    text = args.out.read_text() if args.out.exists() else "<!-- tables -->\n<!-- end -->\n"
    before, after = text.split("<!-- tables -->")[0], text.split("<!-- end -->")[1]
    inside = "\n\n".join(tables)
    args.out.write_text(f"{before}<!-- tables -->\n{inside}\n<!-- end -->{after}")


if __name__ == "__main__":
    main()
