"""A plan as a table for people."""

from __future__ import annotations

from condmis_jax.planning.plan import Plan
from condmis_jax.planning.programs import Program
from condmis_jax.planning.roofline import FORMULA

GiB = 1024**3


def gib(size: float | None) -> str:
    return "did not fit" if size is None else f"{size / GiB:9.2f} GiB"


def table(plan: Plan) -> str:
    """Memory, collectives, FLOPs and the roofline, as plain text."""
    t, s, chip = plan.training, plan.sampling, plan.chip
    programs = (t.backward, t.update, s.prefill, s.decode)
    mesh = " x ".join(f"{axis} {n}" for axis, n in plan.mesh.items())
    shapes = ", ".join(
        f"{plan.microbatches.count(m)} of {m[0]} x {m[1]} tokens"
        for m in dict.fromkeys(plan.microbatches)
    )
    lines = [
        f"{plan.model} ({plan.parameters / 1e9:.2f} billion parameters) on {plan.topology}: "
        f"{plan.devices} devices, {mesh}",
        f"stage {plan.stage}: microbatches of a step: {shapes}; {plan.padding:.0%} padding",
        "compiled with " + ", ".join(f"{n} {v}" for n, v in plan.versions.items() if v),
        "",
        "memory of one device",
        f"  parameters                 {gib(t.params)}",
        f"  optimiser state            {gib(t.optimiser)}",
        f"  accumulated gradients      {gib(t.gradients)}",
    ]
    lines += [f"  temporaries of {p.name:<11} {_memory(p)}" for p in programs]
    lines += [
        f"  KV cache                   {gib(s.cache)}   "
        f"({s.shape.P} prompts x {s.shape.S} + {s.shape.P * s.shape.G} samples x {s.shape.C})",
        f"  training, worst moment     {gib(plan.training_peak)}",
        f"  sampling, worst moment     {gib(plan.sampling_peak)}",
        f"  a chip has                 {gib(chip.hbm_bytes)}   {chip.source}",
        f"  fits: {'yes' if plan.fits else 'NO'}",
        "",
        "collectives (count, bytes of the arrays, bytes that one device sends)",
    ]
    for p in programs:
        for kind, c in p.collectives.items():
            lines.append(
                f"  {p.name:<11} {kind:<19} {c.count:6d}  {gib(c.bytes)}  {gib(c.wire_bytes)}"
            )
    r = plan.roofline
    lines += [
        "",
        "an optimiser step",
        f"  model FLOPs                {plan.flops.model:.3e}   "
        f"(6 a weight and token, plus attention and logits)",
        f"  executed FLOPs             {plan.flops.executed:.3e}   (with recomputation)",
        f"  the compiler's count       {t.backward.flops or 0:.3e}   "
        "(one device, one microbatch, every loop's body once: too small)",
        f"  compute {r.compute:.3f} s, memory {r.memory:.3f} s, network {r.network:.3f} s",
        f"  at best {r.best:.3f} s ({r.bound}), without overlap {r.worst:.3f} s; "
        f"MFU at best {r.mfu:.0%}",
        f"  {FORMULA}",
    ]
    lines += ["", *(f"change: {a}" for a in plan.advice)] if plan.advice else []
    return "\n".join(lines)


def _memory(program: Program) -> str:
    if program.temporaries is None:
        return f"did not fit: the program needs {gib(program.needed).strip()} in all"
    return gib(program.temporaries)
