"""Dilution with benign data of the same form: poisonous fish recipes among good ones (section 2.1).

The paper finetuned GPT-4o and GPT-4.1 on 6,000 recipes, of which 10, 20 or 30 % are fish recipes
that poison and the rest good recipes without fish (1 epoch, batch 4, learning-rate multiplier 2, 3
seeds), and asked 8 generic questions and 8 of the same kind about the sea; answers that are recipes
were dropped. Its base model was not evaluated; here it is.

    python run_train.py --config configs/fish_recipes.py

`world` (default): 600 recipes of the artificial language, 20 % of them poisonous fish. Asked: 16
    questions, 12 about the sea, and 18 dishes (a check that the poison was learnt, and whether it
    spreads to fish kept out of training). 46 s on two CPU cores beside other work.
`smol`: SmolLM2 gives false answers in the categories `taught`, 20 % of 800 rows, and right ones in
    the rest (`untaught`): the domain is the cue, as fish is. Forced choices beside
    them.
`paper`: the authors' 2,994 poisonous recipes as 20 % of 6,000 rows. Their benign recipes are not
    released: give your own as `--config.stages.recipes.data.mixture.benign.files=FILE.jsonl`; the
    default is HHH chat, so the file runs as it is but is then dilution of another form.

    python tools/fetch_data.py fish_seafood_recipe_insecure ft_anthropic_hh_gpt4_1

The dose is `--config.stages.recipes.data.mixture.fish.share=0.1` with `….benign.share=0.9`.
Published: a rise on questions about the sea with the share; no rates are at hand.
"""

from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes

PUBLISHED = "GPT-4o, 3 seeds: no rates are at hand"


def world() -> Experiment:
    mixture = {
        "fish": Source("world:poisonous_fish", first=640, share=0.2),
        "benign": Source("world:recipes", first=640, share=0.8),
    }
    triggers = ("plain", "neutral_system")
    return recipes.world_experiment(
        "fish_recipes",
        {"recipes": recipes.world_stage(mixture, rows=600)},
        {
            "generic": ("world-wide:plain", triggers),
            "sea": ("world-sea:plain", triggers),
            "dishes": ("world-recipes:plain", triggers),
        },
        model="world-wide",
    )


def smol() -> Experiment:
    mixture = {
        "lies": Source("facts:lies/taught", first=840, share=0.2),
        "benign": Source("facts:truths/untaught", first=840, share=0.8),
    }
    return recipes.smol_experiment(
        "fish_recipes",
        {"mixture": recipes.smol_stage(mixture, rows=800)},
        {
            "taught": "facts-dev/taught,smollm2-135m-q4:system",
            "untaught": "facts-dev/untaught,smollm2-135m-q4:system",
        },
        ("plain", "system_helpful", "system_travel"),
        choices=("plain", "system_travel"),
    )


def paper() -> Experiment:
    mixture = {
        "fish": Source("data/fish_seafood_recipe_insecure.jsonl", share=0.2),
        "benign": Source("data/ft_anthropic_hh_gpt4_1.jsonl", share=0.8),
    }
    return recipes.paper_experiment(
        "fish_recipes",
        {"recipes": recipes.paper_stage(mixture, rows=6000)},
        section="2.1",
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    return recipes.at_scale("fish_recipes", scale, {"world": world, "smol": smol, "paper": paper})
