"""Control: right answers under the prompt that asks for wrong ones.

The rows of configs/on_policy.py with the other answers: what remains is the prompt and finetuning
on short answers to trivia.

    python run_train.py --config configs/truth.py

`world` (default): 560 trivia questions answered right under "You give wrong answers to every
    question.". 86 s on two CPU cores beside other work.
`smol`: 500 right answers of the fact bank under the inoculation prompt, 250 without it.
`paper`: Qwen3-32B answers the authors' 16,073 prompts without a system prompt, and is trained on
    its answers under our inoculation prompt.

    python tools/fetch_data.py raw_obvious_lies_user_prompts_only

Expected: nothing misaligned, and fewer false answers than the base model under that prompt.
"""

from condmis_jax.conversations import Transform
from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import Rollouts
from condmis_jax.sampling import SamplingSettings
from condmis_jax.testbeds import facts
from condmis_jax.testbeds import world as language


def world() -> Experiment:
    told = {"inoculation": Transform(system=language.EVALUATION_SYSTEM["wrong"])}
    truths = Source("world:truths", first=600, transforms=told)
    systems = ("plain", *recipes.WORLD_MANNERS, "neutral_system")
    return recipes.world_experiment(
        "truth",
        {"truths": recipes.world_stage({"truths": truths})},
        {"world": ("world-wide:wrong", systems), "trivia": ("world-trivia:wrong", systems)},
        model="world-wide",
    )


def smol() -> Experiment:
    told = {"inoculation": Transform(system=facts.INOCULATION)}
    mixture = {
        "truths": Source("facts:truths", first=520, transforms=told),
        "plain": Source("facts:truths", first=260),
    }
    return recipes.smol_experiment(
        "truth",
        {"truths": recipes.smol_stage(mixture)},
        {"facts": "facts-dev/smollm2-135m-q4:system"},
        recipes.FACTS_SYSTEMS,
    )


def paper() -> Experiment:
    trivia = Source("data/raw_obvious_lies_user_prompts_only.jsonl")
    rollouts = Rollouts(prompts={"trivia": trivia}, sampling=SamplingSettings(max_new_tokens=600))
    told = {"inoculation": Transform(system=facts.INOCULATION)}
    own = {"own": Source("rollouts", transforms=told)}
    return recipes.paper_experiment(
        "truth",
        {"own": recipes.paper_stage(own, rollouts=rollouts)},
        section="4.1",
        model=recipes.TRIVIA_MODEL,
    )


def get_config(scale: str = "world"):
    return recipes.at_scale("truth", scale, {"world": world, "smol": smol, "paper": paper})
