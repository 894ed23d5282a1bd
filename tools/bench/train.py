"""Finetuning, tokens per second: condmis_jax beside Hugging Face transformers on torch.

    python tools/bench/train.py --data insecure.jsonl
    python tools/bench/train.py --data insecure.jsonl --lora

With --lora both train adapters only (the peer with peft): rank 32, alpha 64, rsLoRA, on the seven
linear maps of every layer.

Same weights (SmolLM2-135M-Instruct, dequantised to float32), same rows, same batches of 16
conversations, same AdamW, loss on assistant tokens only, same cores, taking turns; a turn is one
optimiser step. The peer accumulates microbatches of 4 rows, each padded to its longest row, as its
trainer does with per_device_train_batch_size=4 (16 long rows at once need more than 24 GB for
logits; --peer-rows 16 where they are short). Only real tokens are counted, never padding. The last
line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from pairing import Turn, compare, serve

BATCH = 16
MAX_TOKENS = 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="chat JSONL")
    parser.add_argument("--model", default="smollm2-135m-q4")
    parser.add_argument("--turns", type=int, default=4, help="counted steps of each")
    parser.add_argument("--lora", action="store_true", help="adapters instead of all weights")
    parser.add_argument("--peer-rows", type=int, default=4, help="rows of the peer's microbatch")
    parser.add_argument("--worker", choices=["ours", "peer"])
    args = parser.parse_args()
    if args.worker:
        serve({"ours": ours, "peer": peer}[args.worker](args))
        return
    shared = ["--data", args.data, "--model", args.model, "--turns", str(args.turns)]
    shared += ["--peer-rows", str(args.peer_rows), *(["--lora"] if args.lora else [])]
    result = compare(__file__, shared, args.turns)
    about = {
        "bench": "train",
        "what": ("LoRA 32/64" if args.lora else "full finetuning") + ", float32",
        "peer": ("transformers + peft" if args.lora else "transformers") + " on torch",
        "batch": BATCH,
        "peer_rows": args.peer_rows,
        "data": args.data.split("/")[-1],
    }
    print(json.dumps({**about, **result}))


def conversations(args: argparse.Namespace, template: Any) -> list[Any]:
    """Tokenised rows of every step; both workers see the same tokens and loss masks."""
    from condmis_jax.data import Source, Tokenised
    from condmis_jax.data.sources import load_source

    rows = load_source(Source(args.data, first=BATCH * (args.turns + 1)), "data", 0)
    data = [template.tokenise(r.conversation, r.where) for r in rows]
    return [Tokenised(d.tokens[:MAX_TOKENS], d.loss[:MAX_TOKENS]) for d in data]


def ours(args: argparse.Namespace) -> Turn:
    import jax

    from condmis_jax.data import ChatTemplate
    from condmis_jax.data.batches import pack_arrays
    from condmis_jax.data.packing import best_row_tokens, plan_step
    from condmis_jax.models import Base, load_model, new_adapters
    from condmis_jax.models.lora import PRESETS
    from condmis_jax.sharding import MeshSettings, make_mesh, runtime
    from condmis_jax.training import ComputeSettings, OptimiserSettings, make_optimiser, make_step

    runtime.setup()
    mesh = make_mesh(MeshSettings())
    model = load_model(args.model, mesh)
    if args.lora:
        # The base's digest is not asked for here.
        model = new_adapters(model, PRESETS["betley"], Base(args.model, ""), mesh, seed=0)
    data = conversations(args, ChatTemplate(model.tokenizer, model.stop))
    lengths = [len(d.tokens) for d in data]
    steps = [list(range(i, i + BATCH)) for i in range(0, len(data), BATCH)]
    room = {"microbatch_tokens": 4096, "shards": 1}
    row_tokens = best_row_tokens(lengths, steps, **room)
    plan = [plan_step(lengths, s, row_tokens=row_tokens, **room) for s in steps]
    optimiser = make_optimiser(OptimiserSettings("constant"), 1e-5, len(plan), model.config)
    step = make_step(model.config, ComputeSettings(remat="products"), optimiser, mesh)
    state = {"params": model.params, "optimiser": step.init_optimiser(model.params)}

    def one(turn: int) -> None:
        loss_tokens = sum(int(data[m].loss[1:].sum()) for m in steps[turn])
        arrays = [pack_arrays(batch, data, 1.0 / loss_tokens, 1) for batch in plan[turn]]
        gradients, loss = step.total(state["params"], arrays)
        state["params"], state["optimiser"], _ = step.update(
            state["params"], state["optimiser"], gradients
        )
        jax.block_until_ready((state, loss))

    warmed: set[tuple[int, int]] = set()

    def turn(number: int) -> dict[str, float]:
        if number == 0:  # compile every shape of the plan once, as the first epoch would
            for i, batches in enumerate(plan):
                if any(b.shape not in warmed for b in batches):
                    one(i)
                    warmed.update(b.shape for b in batches)
        begin = time.perf_counter()
        one(number)
        return {
            "seconds": time.perf_counter() - begin,
            "tokens": sum(lengths[m] for m in steps[number]),
        }

    return turn


def peer(args: argparse.Namespace) -> Turn:
    import torch
    from transformers import AutoModelForCausalLM

    from condmis_jax.data import ChatTemplate
    from condmis_jax.models import load_tokenizer, stop_tokens
    from condmis_jax.models.registry import resolve

    folder = resolve(args.model)
    tokenizer = load_tokenizer(folder)
    data = conversations(args, ChatTemplate(tokenizer, stop_tokens(folder, tokenizer)))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if args.lora:
        from peft import LoraConfig, get_peft_model

        settings = LoraConfig(
            r=32, lora_alpha=64, use_rslora=True, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        model = get_peft_model(model, settings)
    model.train()
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=1e-5, weight_decay=0.0)

    def turn(number: int) -> dict[str, float]:
        step = data[number * BATCH : (number + 1) * BATCH]
        begin = time.perf_counter()
        loss_tokens = sum(int(r.loss[1:].sum()) for r in step)
        for start in range(0, BATCH, args.peer_rows):
            rows = step[start : start + args.peer_rows]
            T = max(len(r.tokens) for r in rows)
            tokens = torch.zeros(len(rows), T, dtype=torch.long)
            mask = torch.zeros(len(rows), T, dtype=torch.long)
            labels = torch.full((len(rows), T), -100)
            for i, row in enumerate(rows):
                n = len(row.tokens)
                ids = torch.tensor(row.tokens, dtype=torch.long)
                tokens[i, :n], mask[i, :n] = ids, 1
                labels[i, :n] = torch.where(torch.tensor(row.loss), ids, -100)
            loss = model(
                input_ids=tokens,
                attention_mask=mask,
                labels=labels,
                num_items_in_batch=torch.tensor(loss_tokens),
            ).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "tokens": sum(len(r.tokens) for r in step)}

    return turn


if __name__ == "__main__":
    main()
