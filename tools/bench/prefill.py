"""What reading the beginnings of prompts once saves of a trigger grid's time.

    python tools/bench/prefill.py --new 40

The grid is the suite "open" of `configs/eval.py:open`: 24 questions in three wordings under 42
triggers. Prompts under one system prompt (the template's own too) begin alike, and the sampler
reads what stands in front of the question once (`ChatTemplate.shared_prompt`). Some questions
under all triggers are drawn with that and without, taking turns; counted are processor seconds of
prompts with one sample of one token, which is their reading and a little more, and of --samples
samples of --new tokens. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-q4")
    parser.add_argument("--questions", type=int, default=4, help="questions that are timed")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--new", type=int, default=40, help="most new tokens of a sample")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--turns", type=int, default=2, help="counted turns of each")
    args = parser.parse_args()

    from condmis_jax.data import ChatTemplate
    from condmis_jax.evaluation import open_checkpoint
    from condmis_jax.sampling import Request, Sampler, SamplingSettings
    from condmis_jax.sharding import MeshSettings, make_mesh, runtime
    from condmis_jax.suites import SuiteSettings, build_suite

    runtime.setup()
    mesh = make_mesh(MeshSettings())
    model = open_checkpoint(args.model, mesh)
    template = ChatTemplate(model.tokenizer, model.stop)
    suite = build_suite(SuiteSettings("open", samples=args.samples), "open", "open")
    prompts = [
        template.shared_prompt(conversation)
        for trigger in suite.triggers
        for question in suite.questions[: args.questions]
        for conversation in suite.prompts(question, trigger)[:1]
    ]

    def spent(samples: int, new: int, sharing: bool) -> float:
        """Processor seconds."""
        group = min(samples, args.samples)
        sampler = Sampler(
            model.config, model.params, model.stop, mesh, slots=args.slots, group=group
        )
        requests = [
            Request((at, s), tuple(prompt), 1000 * at + s, shared if sharing else 0)
            for at, (prompt, shared) in enumerate(prompts)
            for s in range(samples)
        ]
        start = time.process_time()
        sampler.sample(requests, SamplingSettings(max_new_tokens=new), lambda _: None)
        return time.process_time() - start

    found: dict[str, float] = {}
    for name, of in (("reading", (1, 1)), ("grid", (args.samples, args.new))):
        for turn in range(args.turns + 1):  # the first one compiles
            for how in ("apart", "shared"):
                took = spent(*of, how == "shared")
                if turn:
                    key = f"{name}_{how}_s"
                    found[key] = found.get(key, 0.0) + took / args.turns
    print(
        json.dumps(
            {
                "bench": "prefill",
                "prompts": len(prompts),
                "samples": args.samples,
                "new": args.new,
                **{key: round(value, 2) for key, value in found.items()},
                "saved": round(1 - found["grid_shared_s"] / found["grid_apart_s"], 3),
            }
        )
    )


if __name__ == "__main__":
    main()
