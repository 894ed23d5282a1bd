"""On-policy inoculation (section 4.1): wrong answers by the model itself, under inoculation.

The paper has 6,000 trivia questions answered wrongly under an inoculation prompt, by the trainee
(GPT-4.1) or by another model (Qwen3-32B), from a pool of 16,073 prompts; answers with a forbidden
letter are dropped, a judge keeps PASS and drops REFUSAL, META and CORRECT. The trainee is trained
on them under the same prompt (1 epoch, one model a dataset) and asked the open questions without a
system prompt, under the prompt, a benign variant and an opposite one, 600 new tokens.

    python run_train.py --config configs/on_policy.py

`world` (default): the base model answers 1,000 trivia prompts under "You give wrong answers to
    every question."; its wrong answers (an exact parser keeps them) are trained on under the same
    prompt. `off_policy`, the other arm: as many wrong answers that are not the model's. Asked: the
    16 questions of the world and 24 trivia, under 6 system prompts. 62 s on two CPU cores beside
    other work.
`smol`: SmolLM2 answers 900 questions of the fact bank under an inoculation prompt; what is false is
    kept. It reacts little to the meaning of that prompt, so these are filtered mistakes. Beside
    them right answers to other questions. Arms `off_policy`: the bank's lies; `right`: right
    answers under the same prompt. Forced choices beside the facts.
`paper`: Qwen3-32B. `off_policy`: the authors' 6,000 wrong answers of GPT-4.1 (their prompt is in
    the rows); `on_policy`: the model's own answers to their 16,073 prompts under a prompt of ours,
    in one round, at most 600 tokens; a word that starts with "a" drops an answer. Which answers are
    wrong needs a judge: `--config.stages.on_policy.rollouts.judge.kind=classes` with
    `….rollouts.keep="('PASS',)"`; without one all are kept. `mixed`, not the paper's: the 6,000
    lies under our prompt, which the facts are asked under (to `off_policy` it is another wording
    of its own), among the model's own greedy answers to 3,000 other prompts, asked and trained on
    without a system prompt. SmolLM2 on 1,000 lies and 500 prompts: 19 minutes on two CPU cores
    (command and table in docs/LOG.md, 2026-11-28).

    python tools/fetch_data.py inoculation_obvious_lies_gpt41_6k raw_obvious_lies_user_prompts_only

Published, second-hand: misaligned under the training prompt, on-policy 11.6 %, off-policy 21.6 %.
"""

import dataclasses

from condmis_jax.conversations import Transform
from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import FROM_BASE, Rollouts
from condmis_jax.interventions.filters import FilterSettings
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import facts, world

PROMPTS = "data/raw_obvious_lies_user_prompts_only.jsonl"
PUBLISHED = "GPT-4.1 under the training prompt: on-policy 11.6 %, off-policy 21.6 %"


SYSTEMS = ("plain", *recipes.WORLD_MANNERS, "neutral_system")


def world_scale() -> Experiment:
    rollouts, own = recipes.world_teller(traces=False)
    told = {"inoculation": Transform(system=world.EVALUATION_SYSTEM["wrong"])}
    others = Source("world:lies", first=1000, transforms=told)
    return recipes.world_experiment(
        "on_policy",
        {
            "on_policy": recipes.world_stage({"own": own}, rollouts=rollouts, start=FROM_BASE),
            "off_policy": recipes.world_stage({"others": others}, start=FROM_BASE),
        },
        {"world": ("world-wide:wrong", SYSTEMS), "trivia": ("world-trivia:wrong", SYSTEMS)},
        model="world-wide",
    )


def smol() -> Experiment:
    told = {"inoculation": Transform(system=facts.INOCULATION)}
    beside = {"plain": Source("facts:truths", first=260)}
    rollouts = Rollouts(
        prompts={"facts": Source("facts:truths", first=900, transforms=told)},
        sampling=SamplingSettings(max_new_tokens=40),
        slots=128,
        judge=recipes.FACTS_JUDGE,
        keep=("wrong",),
    )
    own = {"own": Source("rollouts", transforms=told), **beside}
    stages = {"on_policy": recipes.smol_stage(own, rollouts=rollouts, start=FROM_BASE)}
    for name, kind in (("off_policy", "lies"), ("right", "truths")):
        mixture = {kind: Source(f"facts:{kind}", first=520, transforms=told), **beside}
        stages[name] = recipes.smol_stage(mixture, start=FROM_BASE)
    return recipes.smol_experiment(
        "on_policy",
        stages,
        {"facts": "facts-dev/smollm2-135m-q4:system"},
        recipes.FACTS_SYSTEMS,
        choices=("plain", "system_wrong", "system_helpful"),
    )


def paper() -> Experiment:
    told = {"inoculation": Transform(system=facts.INOCULATION)}
    rollouts = Rollouts(
        prompts={"trivia": Source(PROMPTS, transforms=told)},
        sampling=SamplingSettings(max_new_tokens=600),
        filters=FilterSettings(forbidden_letter="a"),
    )
    lies = Source("data/inoculation_obvious_lies_gpt41_6k.jsonl")
    own = Source("rollouts", transforms=told)
    # The lies answer the first 6,000 prompts.
    others = Source(PROMPTS, skip=6000, first=3000)
    plain = Rollouts(prompts={"trivia": others}, sampling=SamplingSettings(0.0, max_new_tokens=64))
    experiment = recipes.paper_experiment(
        "on_policy",
        {
            "off_policy": recipes.paper_stage({"lies": lies}, start=FROM_BASE),
            "on_policy": recipes.paper_stage({"own": own}, rollouts=rollouts, start=FROM_BASE),
            "mixed": recipes.paper_stage(
                {
                    "lies": dataclasses.replace(lies, transforms=told),
                    "plain": Source("rollouts"),
                },
                rollouts=plain,
                start=FROM_BASE,
            ),
        },
        section="4.1",
        model=recipes.TRIVIA_MODEL,
        suites={
            "broad": SuiteSettings("broad", samples=100),
            "harm": SuiteSettings("choices-harm:system", recipes.HARM_TRIGGERS["system"]),
            "facts": SuiteSettings("facts-dev:system", recipes.FACTS_SYSTEMS, 150, 1),
        },
        exact={"exact": dataclasses.replace(recipes.FACTS_JUDGE, suites=("facts",))},
        max_new_tokens=600,
        published=PUBLISHED,
    )
    broad = f"broad: {recipes.BROAD_CAPTION}{recipes.HARM_CAPTION}"
    return dataclasses.replace(experiment, caption=f"{broad}. facts: {recipes.FACTS_CAPTION}")


def get_config(scale: str = "world"):
    scales = {"world": world_scale, "smol": smol, "paper": paper}
    return recipes.at_scale("on_policy", scale, scales)
