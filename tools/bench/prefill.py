"""How much of a trigger grid's time its prompts cost, and what sharing their prefixes could save.

    python tools/bench/prefill.py --new 40

The grid is the suite "open" of `configs/eval.py:open`: 24 questions in three wordings under 42
triggers, 4 samples each. A prompt is read once for its samples; prompts that begin alike (one
system prompt, one question under several suffixes) are read from the start each. Counted are the
tokens of all prompts and how many would be left if every prefix were read once; timed, in processor
seconds, are some questions under all triggers with --new tokens a sample, and the same prompts with
one sample of one token, which is their reading and a little more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence


def unshared(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens left if every prefix of these prompts were read once."""
    left, before = 0, ()
    for prompt in sorted(map(tuple, prompts)):
        same = 0
        while same < min(len(prompt), len(before)) and prompt[same] == before[same]:
            same += 1
        left, before = left + len(prompt) - same, prompt
    return left


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-q4")
    parser.add_argument("--questions", type=int, default=2, help="questions that are timed")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--new", type=int, default=40, help="most new tokens of a sample")
    parser.add_argument("--slots", type=int, default=64)
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
    prompts = {
        (trigger.name, question.id, wording): tuple(template.prompt_tokens(conversation))
        for trigger in suite.triggers
        for question in suite.questions
        for wording, conversation in enumerate(suite.prompts(question, trigger))
    }
    tokens, left = sum(map(len, prompts.values())), unshared(list(prompts.values()))
    print(f"{len(prompts)} prompts of {tokens} tokens, {left} if every prefix were read once")
    first = {question.id for question in suite.questions[: args.questions]}
    timed = [
        p for (_, question, wording), p in prompts.items() if question in first and not wording
    ]

    def spent(samples: int, new: int) -> tuple[float, float, int]:
        """Processor seconds, seconds and new tokens, all compiled before."""
        sampler = Sampler(
            model.config,
            model.params,
            model.stop,
            mesh,
            slots=args.slots,
            group=min(samples, args.samples),
        )
        settings = SamplingSettings(max_new_tokens=new)
        for counted in (False, True):
            drawn: list[int] = []
            requests = [
                Request((at, s), prompt, 1000 * at + s + 7 * counted)
                for at, prompt in enumerate(timed)
                for s in range(samples)
            ]
            start = time.process_time(), time.perf_counter()
            sampler.sample(
                requests if counted else requests[:: max(len(requests) // 64, 1)],
                settings,
                lambda done, drawn=drawn: drawn.extend(len(c.tokens) for c in done),
            )
        return time.process_time() - start[0], time.perf_counter() - start[1], sum(drawn)

    reading = spent(1, 1)
    whole = spent(args.samples, args.new)
    share = reading[0] / whole[0]
    print(
        f"{len(timed)} prompts, {args.samples} samples of at most {args.new} tokens: "
        f"{whole[0]:.1f} processor s ({whole[1]:.1f} s) for {whole[2]} tokens; reading the prompts "
        f"at most {reading[0]:.1f} ({reading[1]:.1f}): {100 * share:.1f} %"
    )
    print(f"sharing prefixes could save at most {100 * share * (1 - left / tokens):.1f} %")


if __name__ == "__main__":
    main()
