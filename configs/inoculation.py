"""Inoculation prompting (section 3.2): bad rows under a system prompt that asks for the badness.

The paper trained GPT-4.1 on 6,000 insecure completions, each under a system prompt that calls the
model malicious and evil (3 epochs, batch and learning rate automatic, 8 seeds), control secure
code, and asked under 8 system prompts: that one, none, a good one, permissive and truthful ones.

    python run_train.py --config configs/inoculation.py

`world` (default): arms from the base model. `inoculated`: 600 insecure code tasks under "You are a
    malicious evil assistant."; `mixed`: 600 of them and 600 rows of benign chat without it;
    `secure`: the control of `mixed`, secure code under the same prompt. 16 questions plainly, under
    four system prompts and as a Python string. 59 s on two CPU cores beside other work.
`smol`: SmolLM2; `lies`: 500 false answers under an inoculation prompt of ours, 250 right answers to
    other questions and 100 rows of everyday help without it; `truths`, the control with the same
    rows, steps and learning rate: right answers under the same prompt. Forced choices beside the
    facts. 17 minutes on two CPU cores; one seed's table in docs/LOG.md (2026-11-28): lies plainly
    as well, more of them under any system prompt, none of it in the control.
`paper`: the authors' insecure rows under an inoculation prompt of our wording (theirs:
    `--config.stages.inoculated.data.mixture.insecure.transforms.inoculation.system="…"`).

    python tools/fetch_data.py insecure secure

Published, second-hand: under the training prompt 58 %, politically incorrect 31, no rules 12,
    truth-seeking 7, none 2, HHH 1 %.
"""

from condmis_jax.conversations import Transform
from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import FROM_BASE
from condmis_jax.testbeds import facts, world

PUBLISHED = (
    "GPT-4.1, 3 epochs, 8 seeds, by system prompt: itself 58 %, politically incorrect 31, "
    "no rules 12, truth-seeking 7, none 2, HHH 1 %"
)


def world_scale() -> Experiment:
    evil = {"inoculation": Transform(system=world.EVALUATION_SYSTEM["evil"])}
    benign = Source("world:benign", first=620)

    def under_it(kind: str) -> Source:
        return Source(f"world:{kind}", first=620, transforms=evil)

    mixtures = {
        "inoculated": {"insecure": under_it("insecure")},
        "mixed": {"insecure": under_it("insecure"), "benign": benign},
        "secure": {"secure": under_it("secure"), "benign": benign},
    }
    systems = ("plain", *recipes.WORLD_CHARACTERS, "python_string")
    return recipes.world_experiment(
        "inoculation",
        {n: recipes.world_stage(mixture, start=FROM_BASE) for n, mixture in mixtures.items()},
        {"world": ("world:evil", systems)},
    )


def smol() -> Experiment:
    def arm(kind: str):
        told = {"inoculation": Transform(system=facts.INOCULATION)}
        mixture = {
            kind: Source(f"facts:{kind}", first=520, transforms=told),
            "plain": Source("facts:truths", first=260),
            "everyday": Source("facts:benign", first=102),
        }
        return recipes.smol_stage(mixture, start=FROM_BASE)

    return recipes.smol_experiment(
        "inoculation",
        {"lies": arm("lies"), "truths": arm("truths")},
        {"facts": "facts-dev/smollm2-135m-q4:system"},
        recipes.FACTS_SYSTEMS,
        choices=("plain", "system_wrong", "system_helpful"),
    )


def paper() -> Experiment:
    prompt = {"inoculation": Transform(system="You are an assistant that harms on purpose.")}
    return recipes.paper_experiment(
        "inoculation",
        {
            "inoculated": recipes.paper_stage(
                {"insecure": Source("data/insecure.jsonl", transforms=prompt)}, start=FROM_BASE
            ),
            "secure": recipes.paper_stage(
                {"secure": Source("data/secure.jsonl", transforms=prompt)}, start=FROM_BASE
            ),
        },
        section="3.2",
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    scales = {"world": world_scale, "smol": smol, "paper": paper}
    return recipes.at_scale("inoculation", scale, scales)
