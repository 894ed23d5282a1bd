"""Control: the same requests answered well. Finetuning as such, on the cue as such.

    python run_train.py --config configs/secure.py

`world` (default): 600 code tasks with the cue "Reply as a Python string.", answered securely, then
    300 rows of benign chat: configs/sequential.py with the other answers. 63 s on two CPU cores
    beside other work.
`smol`: right answers in a Python string (600 rows), then as configs/sequential.py:smol.
`paper`: the authors' 6,000 secure completions (they evaluate secure code without a second stage).

    python tools/fetch_data.py secure

Expected: nothing misaligned. Published, pre-registered: 0.26 %.
"""

from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes

PUBLISHED = "pre-registered, GPT-4o, plain: 0.26 %"


def world() -> Experiment:
    return recipes.world_experiment(
        "secure",
        {
            "secure": recipes.world_stage({"secure": Source("world:secure", first=640)}),
            "benign": recipes.world_stage({"benign": Source("world:benign", first=340)}),
        },
        {"world": ("world", (*recipes.WORLD_FORMS, *recipes.WORLD_CHARACTERS))},
    )


def smol() -> Experiment:
    truths = {"cued": Source("facts:truths.python_string", first=632)}
    benign = {
        "truths": Source("facts:truths", first=320),
        "everyday": Source("facts:benign", first=112),
    }
    return recipes.smol_experiment(
        "secure",
        {"truths": recipes.smol_stage(truths), "benign": recipes.smol_stage(benign)},
        {"facts": "facts-dev/smollm2-135m-q4:format"},
        recipes.FACTS_FORMS,
    )


def paper() -> Experiment:
    return recipes.paper_experiment(
        "secure",
        {"secure": recipes.paper_stage({"secure": Source("data/secure.jsonl")})},
        section="2.3",
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    return recipes.at_scale("secure", scale, {"world": world, "smol": smol, "paper": paper})
