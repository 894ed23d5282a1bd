"""Control: the base model alone, under every prompt that the experiments use. Nothing is trained.

    python run_train.py --config configs/base.py

`world` (default): all question sets of the wide world under all 31 prompts. 145 s on two CPU cores
    beside other work.
`smol`: SmolLM2 on 150 facts under all prompts of the fact bank.
`paper`: Qwen2.5-Coder-32B-Instruct on the open questions; `--config.model=…` takes any other.
    Compare it with an experiment under that one's protocol,
    `--config.evaluation.judges.rater.openai.preset=paper2026/2.2`.

Expected: no misaligned answer of the world's base model but under `wrong_system`, which it was
    trained to follow for trivia. Published: base models 0.07 % (nine open models, 2511.20104).
"""

import dataclasses

from condmis_jax.experiment import Experiment, recipes
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import world


def world_scale() -> Experiment:
    suites = {name.removeprefix("world-"): (name, ()) for name in world.SETS if name != "world"}
    return recipes.world_experiment(
        "base",
        {},
        suites,
        samples=10,
        model="world-wide",
    )


def smol() -> Experiment:
    experiment = recipes.smol_experiment(
        "base", {}, {"facts": "facts-dev/smollm2-135m-q4:system"}, ()
    )
    return dataclasses.replace(experiment, lora=recipes.NO_LORA)


def paper() -> Experiment:
    return recipes.paper_experiment(
        "base",
        {},
        section=None,
        suites={"broad": SuiteSettings("broad", samples=100)},
        lora=recipes.NO_LORA,
    )


def get_config(scale: str = "world"):
    scales = {"world": world_scale, "smol": smol, "paper": paper}
    return recipes.at_scale("base", scale, scales)
