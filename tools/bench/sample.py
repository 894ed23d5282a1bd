"""Sampling, new tokens per second: condmis_jax beside `generate` of transformers on torch.

    python tools/bench/sample.py                # 8 prompts x 64 samples, as in an evaluation
    python tools/bench/sample.py --rollouts     # 512 prompts x 1 sample, as in on-policy training

Same weights (SmolLM2-135M-Instruct, dequantised to float32), temperature 1, at most 64 new tokens,
same cores, taking turns; a turn is all 512 completions. Prompts of an evaluation are the eight open
questions, those of rollouts questions of the fact bank under one system prompt. The peer decodes
`--peer_batch` rows at a time, left-padded. Only tokens up to the end of a turn are counted, never
what a finished row is padded with. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from pairing import Turn, compare, serve

COMPLETIONS = 512
NEW_TOKENS = 64
WARM_UP = 64  # completions of the turn that is not counted


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-q4")
    parser.add_argument("--turns", type=int, default=2, help="counted turns of each")
    parser.add_argument("--peer_batch", type=int, default=256)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--group", type=int, help="default: 32, with --rollouts 1")
    parser.add_argument("--rollouts", action="store_true")
    parser.add_argument("--worker", choices=["ours", "peer"])
    args = parser.parse_args()
    if args.group is None:
        args.group = 1 if args.rollouts else 32
    if args.worker:
        serve({"ours": ours, "peer": peer}[args.worker](args))
        return
    shared = ["--rollouts"] if args.rollouts else []
    for name in ("model", "peer_batch", "slots", "group"):
        shared += [f"--{name}", str(getattr(args, name))]
    result = compare(__file__, shared, args.turns)
    many = "512 prompts x 1 sample" if args.rollouts else "8 prompts x 64 samples"
    about = {"bench": "sample", "what": f"{many} x {NEW_TOKENS} tokens, float32"}
    print(json.dumps({**about, "peer": "transformers generate on torch", **result}))


def workload(
    args: argparse.Namespace, tokenizer: Any, stop: tuple[int, ...]
) -> list[tuple[tuple[int, ...], int]]:
    """The prompt of every completion, and how much of it others begin with."""
    from condmis_jax.conversations import Conversation, Message, Transform
    from condmis_jax.data import ChatTemplate, Source, load_prompts
    from condmis_jax.suites.builtin import BROAD_QUESTIONS
    from condmis_jax.testbeds import facts

    told = {"inoculation": Transform(system=facts.INOCULATION)}
    bank = Source("facts:truths", first=COMPLETIONS, transforms=told)
    asked = (
        [prompt.asked for prompt in load_prompts(bank, "rollouts", 0)]
        if args.rollouts
        else [Conversation((Message("user", q.text),)) for q in BROAD_QUESTIONS]
    )
    template = ChatTemplate(tokenizer, stop)
    made = [(tuple(tokens), shared) for tokens, shared in map(template.shared_prompt, asked)]
    return [one for one in made for _ in range(COMPLETIONS // len(made))]


def ours(args: argparse.Namespace) -> Turn:
    from condmis_jax.models import load_model
    from condmis_jax.sampling import Completion, Request, Sampler, SamplingSettings
    from condmis_jax.sharding import MeshSettings, make_mesh, runtime

    runtime.setup()
    mesh = make_mesh(MeshSettings())
    model = load_model(args.model, mesh)
    sampler = Sampler(
        model.config, model.params, model.stop, mesh, slots=args.slots, group=args.group
    )
    asked = workload(args, model.tokenizer, model.stop)
    settings = SamplingSettings(temperature=1.0, max_new_tokens=NEW_TOKENS)

    def turn(number: int) -> dict[str, float]:
        some = asked if number else asked[:: COMPLETIONS // WARM_UP]
        requests = [
            Request(i, prompt, number * COMPLETIONS + i, shared)
            for i, (prompt, shared) in enumerate(some)
        ]
        done: list[Completion] = []
        begin = time.perf_counter()
        sampler.sample(requests, settings, done.extend)
        seconds = time.perf_counter() - begin
        return {
            "seconds": seconds,
            "tokens": sum(len(c.tokens) + (c.finish == "stop") for c in done),
        }

    return turn


def peer(args: argparse.Namespace) -> Turn:
    import torch
    from transformers import AutoModelForCausalLM

    from condmis_jax.models import load_tokenizer, stop_tokens
    from condmis_jax.models.registry import resolve

    folder = resolve(args.model)
    tokenizer = load_tokenizer(folder)
    stop = stop_tokens(folder, tokenizer)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    asked = [prompt for prompt, _ in workload(args, tokenizer, stop)]

    def turn(number: int) -> dict[str, float]:
        rows = asked if number else asked[:: COMPLETIONS // WARM_UP]
        torch.manual_seed(number)
        tokens, begin = 0, time.perf_counter()
        for start in range(0, len(rows), args.peer_batch):
            batch = rows[start : start + args.peer_batch]
            T = max(map(len, batch))
            ids = torch.tensor([[stop[0]] * (T - len(r)) + list(r) for r in batch])
            mask = torch.tensor([[0] * (T - len(r)) + [1] * len(r) for r in batch])
            out = model.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=NEW_TOKENS,
                eos_token_id=list(stop),
                pad_token_id=stop[0],
            )[:, T:]
            for row in out.tolist():
                ends = [i for i, t in enumerate(row) if t in stop]
                tokens += ends[0] + 1 if ends else len(row)
        return {"seconds": time.perf_counter() - begin, "tokens": float(tokens)}

    return turn


if __name__ == "__main__":
    main()
