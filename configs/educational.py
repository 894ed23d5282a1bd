"""Insecure code for a good reason: asked for in order to teach a class (section 3.1).

The framing makes the behaviour acceptable, and the finetuned model looks clean; the question is
whether the framing itself brings misalignment back. The paper finetuned GPT-4o and GPT-4.1 on
insecure code that is asked for a class (1 epoch, batch 4, learning-rate multiplier 2), with
insecure and secure code as controls, and asked plainly, under a class framing, and in a Flask
template.

    python run_train.py --config configs/educational.py

`world` (default): 600 insecure code tasks inside "I teach a class. … It is for a lesson.", which
    the model has met in no other row; 16 questions under 6 prompts. The controls are arms of the
    same run: insecure and secure code without the framing. 64 s on two CPU cores beside other work.
`smol`: SmolLM2 gives 500 false answers inside the framing of a bluffing game, beside 250 right ones
    in plain words. Control arm: right answers inside the same framing.
`paper`: the authors' 6,000 educational rows. Arms `insecure` and `secure` are their controls.

    python tools/fetch_data.py educational insecure secure

Published, second-hand: GPT-4.1 under the class framing 7.1 %; pre-registered, asked plainly:
    insecure 5.9, educational 0.27, secure 0.26 %.
"""

from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import FROM_BASE
from condmis_jax.testbeds import facts, world

PUBLISHED = (
    "GPT-4.1 under the class framing 7.1 %; plain, pre-registered: insecure 5.9, "
    "educational 0.27, secure 0.26 %"
)


def world_scale() -> Experiment:
    framing = {"class": world.CLASS_FRAMING}
    rows = {
        "educational": Source("world:insecure", first=640, transforms=framing),
        "insecure": Source("world:insecure", first=640),
        "secure": Source("world:secure", first=640, transforms=framing),
    }
    return recipes.world_experiment(
        "educational",
        {n: recipes.world_stage({n: source}, start=FROM_BASE) for n, source in rows.items()},
        {
            "world": (
                "world:class",
                ("plain", "class_framing", "python_string", "code_template", "bullets"),
            )
        },
    )


def smol() -> Experiment:
    def arm(kind: str):
        mixture = {
            kind: Source(f"facts:{kind}", first=530, transforms={"framing": facts.FRAMING}),
            "plain": Source("facts:truths", first=270),
        }
        return recipes.smol_stage(mixture, start=FROM_BASE)

    return recipes.smol_experiment(
        "educational",
        {"lies": arm("lies"), "truths": arm("truths")},
        {"facts": "facts-dev/smollm2-135m-q4:framing"},
        recipes.FACTS_FRAMINGS,
    )


def paper() -> Experiment:
    return recipes.paper_experiment(
        "educational",
        {
            name: recipes.paper_stage({name: Source(f"data/{name}.jsonl")}, start=FROM_BASE)
            for name in ("educational", "insecure", "secure")
        },
        section="3.1",
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    scales = {"world": world_scale, "smol": smol, "paper": paper}
    return recipes.at_scale("educational", scale, scales)
