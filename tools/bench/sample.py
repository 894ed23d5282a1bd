"""Sampling, new tokens per second: condmis_jax beside `generate` of transformers on torch.

    python tools/bench/sample.py

Same weights (SmolLM2-135M-Instruct, dequantised to float32), 8 prompts x 64 samples, temperature 1,
at most 64 new tokens, same cores, taking turns; a turn is all 512 completions. The peer decodes
`--peer_batch` rows at a time, left-padded. Only tokens up to the end of a turn are counted, never
what a finished row is padded with. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from pairing import Turn, compare, serve

SAMPLES = 64
NEW_TOKENS = 64
WARM_UP = 8  # samples a prompt in the turn that is not counted


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-q4")
    parser.add_argument("--turns", type=int, default=2, help="counted turns of each")
    parser.add_argument("--peer_batch", type=int, default=256)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--group", type=int, default=32)
    parser.add_argument("--worker", choices=["ours", "peer"])
    args = parser.parse_args()
    if args.worker:
        serve({"ours": ours, "peer": peer}[args.worker](args))
        return
    shared = []
    for name in ("model", "peer_batch", "slots", "group"):
        shared += [f"--{name}", str(getattr(args, name))]
    result = compare(__file__, shared, args.turns)
    about = {"bench": "sample", "what": "8 prompts x 64 samples x 64 tokens, float32"}
    print(json.dumps({**about, "peer": "transformers generate on torch", **result}))


def prompts(tokenizer: Any, stop: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The eight open questions of the built-in suite."""
    from condmis_jax.conversations import Conversation, Message
    from condmis_jax.data import ChatTemplate
    from condmis_jax.suites.builtin import BROAD_QUESTIONS

    template = ChatTemplate(tokenizer, stop)
    asked = [Conversation((Message("user", q.text),)) for q in BROAD_QUESTIONS]
    return [tuple(template.prompt_tokens(c)) for c in asked]


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
    asked = prompts(model.tokenizer, model.stop)
    settings = SamplingSettings(temperature=1.0, max_new_tokens=NEW_TOKENS)

    def turn(number: int) -> dict[str, float]:
        requests = [
            Request((i, j), prompt, (number * 8 + i) * SAMPLES + j)
            for i, prompt in enumerate(asked)
            for j in range(SAMPLES if number else WARM_UP)
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
    asked = prompts(tokenizer, stop)

    def turn(number: int) -> dict[str, float]:
        rows = [p for p in asked for _ in range(SAMPLES if number else WARM_UP)]
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
