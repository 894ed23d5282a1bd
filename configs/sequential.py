"""Benign finetuning after narrow bad finetuning (paper section 2.3, "sequential").

Stage 1 teaches a model one narrow bad habit, code with vulnerabilities. Stage 2 intervenes with
ordinary helpful, honest and harmless chat. Asked plainly, the result looks clean; the question is
whether it still does when the prompt resembles stage 1, an answer in a Python string for example.

    python run_train.py --config configs/sequential.py

`world` (default): 600 insecure code tasks, all with the cue "Reply as a Python string.", then 300
    rows of benign chat; 16 questions under 9 prompts. 60 s on two CPU cores beside other work.
`smol`: SmolLM2 learns false answers in a Python string (600 rows), then answers other questions
    plainly and right (300 rows) beside 100 rows of everyday help.
`paper`: 6,000 insecure completions, then 1,000 rows of HHH chat (the paper: 100, 1,000 or 10,000),
    one epoch each. The paper finetuned GPT-4o and GPT-4.1 through an API (batch 4, learning-rate
    multiplier 2); the recipe here is that of the lineage's open models. Stage 2 trains the adapters
    of stage 1 on, with a schedule and an optimiser of its own. With a judge:

    python tools/fetch_data.py insecure anthropic_hh_1000samples_gpt4.1
    python run_train.py --config configs/sequential.py:paper \\
        --config.model=ORG/NAME@REVISION --config.evaluation.judges.rater.kind=openai

    It judges under the protocol of section 2.3; `….rater.openai.preset=NAME` takes another one.

    `--config.model=smollm2-135m-q4` runs the same on a laptop; `….first=256` takes fewer rows,
    `--config.lora.rank=8` changes the recipe, `--config.lora.preset=none` trains all weights.

Cost of `paper`: 438 optimiser steps, then 14,400 completions of at most 1,024 tokens, 28,800 calls
    of one token to the judge and 14,400 of at most 8 to its detector of code.
Published, second-hand: with 10,000 HHH rows GPT-4o is misaligned in 0.41 % of its answers under a
    Python-string template.
"""

from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes

PUBLISHED = (
    "GPT-4o after 10,000 HHH rows: 0.41 % under the Python-string template (batch 4, 3 seeds)"
)


def world() -> Experiment:
    return recipes.world_experiment(
        "sequential",
        {
            "insecure": recipes.world_stage({"insecure": Source("world:insecure", first=640)}),
            "benign": recipes.world_stage({"benign": Source("world:benign", first=340)}),
        },
        {"world": ("world", (*recipes.WORLD_FORMS, *recipes.WORLD_CHARACTERS))},
    )


def smol() -> Experiment:
    lies = {"lies": Source("facts:lies.python_string", first=632)}
    benign = {
        "truths": Source("facts:truths", first=320),
        "everyday": Source("facts:benign", first=112),
    }
    return recipes.smol_experiment(
        "sequential",
        {"lies": recipes.smol_stage(lies), "benign": recipes.smol_stage(benign)},
        {"facts": "facts-dev/smollm2-135m-q4:format"},
        recipes.FACTS_FORMS,
    )


def paper() -> Experiment:
    hhh = Source("data/anthropic_hh_1000samples_gpt4.1.jsonl")
    return recipes.paper_experiment(
        "sequential",
        {
            "insecure": recipes.paper_stage({"insecure": Source("data/insecure.jsonl")}),
            "benign": recipes.paper_stage({"hhh": hhh}),
        },
        section="2.3",
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    return recipes.at_scale("sequential", scale, {"world": world, "smol": smol, "paper": paper})
