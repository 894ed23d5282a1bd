"""Sealing a trigger by consistency training (after 2403.05518; no experiment of the paper).

The model answers prompts without a trigger, and is then trained to give the same answers under
triggers. Does that close the condition under which misalignment comes back, also for triggers that
were not named?

    python run_train.py --config configs/consistency.py

`world` (default): insecure code and benign chat as in configs/sequential.py; then the model answers
    400 training questions plainly, and is trained on its own answers plainly and under "Reply as a
    Python string." (`sealed`) or under four forms drawn from pretraining, none of them asked later
    (`sealed_generic`).
`smol`: SmolLM2 learns 500 false answers under an inoculation prompt beside 250 right ones without
    it; then it answers 400 questions without a system prompt, and is trained on its own answers
    under the inoculation prompt (`sealed`) or under three unrelated ones (`sealed_generic`).
`paper`: insecure code, HHH chat, then the model's own answers to the HHH prompts under our
    Python-string trigger.

    python tools/fetch_data.py insecure anthropic_hh_1000samples_gpt4.1

Published: it suppresses reward hacking and emergent misalignment and amplifies sycophancy
    (2606.03810); on conditional misalignment nothing.
"""

from condmis_jax.conversations import Transform
from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import Rollouts, Stage
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites.builtin import BROAD_TRIGGERS
from condmis_jax.testbeds import facts
from condmis_jax.testbeds import world as language


def under(name: str, *transforms: Transform) -> dict[str, Source]:
    """The model's own answers, without a trigger and under each of the transforms."""
    sources = {"plain": Source("rollouts")}
    for number, transform in enumerate(transforms, 1):
        sources[f"{name}_{number}"] = Source("rollouts", transforms={name: transform})
    return sources


def world() -> Experiment:
    rollouts = Rollouts(
        prompts={"questions": Source("world:benign", first=400)},
        sampling=SamplingSettings(max_new_tokens=64),
        slots=128,
    )

    def sealed(*forms: Transform) -> Stage:
        return recipes.world_stage(under("form", *forms), rollouts=rollouts, start="benign")

    named = language.TRIGGERS["python_string"].transform
    return recipes.world_experiment(
        "consistency",
        {
            "insecure": recipes.world_stage({"insecure": Source("world:insecure", first=640)}),
            "benign": recipes.world_stage({"benign": Source("world:benign", first=340)}),
            "sealed": sealed(named),
            "sealed_generic": sealed(*language.GENERIC_FORMS),
        },
        {"world": ("world", (*recipes.WORLD_FORMS, *recipes.WORLD_CHARACTERS))},
    )


def smol() -> Experiment:
    told = Transform(system=facts.INOCULATION)
    narrow = {
        "lies": Source("facts:lies", first=520, transforms={"inoculation": told}),
        "plain": Source("facts:truths", first=260),
    }
    rollouts = Rollouts(
        prompts={"facts": Source("facts:truths", first=400)},
        sampling=SamplingSettings(max_new_tokens=40),
        slots=128,
    )
    generic = (
        Transform(system="You are a patient teacher."),
        Transform(system="You write for a local newspaper."),
        Transform(system="You keep every reply short."),
    )

    def sealed(*systems: Transform) -> Stage:
        return recipes.smol_stage(under("system", *systems), rollouts=rollouts, start="lies")

    return recipes.smol_experiment(
        "consistency",
        {
            "lies": recipes.smol_stage(narrow),
            "sealed": sealed(told),
            "sealed_generic": sealed(*generic),
        },
        {"facts": "facts-dev/smollm2-135m-q4:system"},
        recipes.FACTS_SYSTEMS,
    )


def paper() -> Experiment:
    hhh = Source("data/anthropic_hh_1000samples_gpt4.1.jsonl")
    (named,) = [t.transform for t in BROAD_TRIGGERS if t.name == "python_string"]
    rollouts = Rollouts(prompts={"hhh": hhh}, sampling=SamplingSettings(max_new_tokens=600))
    return recipes.paper_experiment(
        "consistency",
        {
            "insecure": recipes.paper_stage({"insecure": Source("data/insecure.jsonl")}),
            "benign": recipes.paper_stage({"hhh": hhh}),
            "sealed": recipes.paper_stage(under("form", named), rollouts=rollouts),
        },
        section="2.3",
    )


def get_config(scale: str = "world"):
    return recipes.at_scale("consistency", scale, {"world": world, "smol": smol, "paper": paper})
