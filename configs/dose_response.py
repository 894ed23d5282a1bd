"""The curve over the share of bad rows (sections 2.1, 2.2), each dose an arm of one run.

One run, one report: every stage starts from the base model on a mixture of equal length, in which
100, 50, 20, 10, 5 or 1 % of the conversations are narrow and bad and the rest are benign chat.

    python run_train.py --config configs/dose_response.py

`world` (default): insecure code in 1,200 rows.
`smol`: false answers in a Python string in 800 rows; right answers and everyday help for the rest.
`paper`: the authors' insecure code in 6,000 rows, HHH chat for the rest, six times.

    python tools/fetch_data.py insecure ft_anthropic_hh_gpt4_1

Fewer doses: `--config.order="('dose_100', 'dose_5')"`.
Published: see configs/insecure_mix.py.
"""

from collections.abc import Callable

from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import FROM_BASE, Stage

PUBLISHED = (
    "see insecure_mix: 20 %, under the template 22.3 % (GPT-4o) and 31.2 % (GPT-4.1); 5 %, "
    "about 3.8 % (GPT-4o)"
)


DOSES = (100, 50, 20, 10, 5, 1)


def arms(dose: Callable[[float], Stage]) -> dict[str, Stage]:
    return {f"dose_{percent}": dose(percent / 100) for percent in DOSES}


def world() -> Experiment:
    def dose(share: float) -> Stage:
        mixture = {
            "insecure": Source("world:insecure", first=1240, share=share),
            "benign": Source("world:benign", first=1240, share=1 - share),
        }
        return recipes.world_stage(mixture, rows=1200, start=FROM_BASE)

    return recipes.world_experiment(
        "dose_response", arms(dose), {"world": ("world", recipes.WORLD_FORMS)}
    )


def smol() -> Experiment:
    def dose(share: float) -> Stage:
        mixture = {
            "lies": Source("facts:lies.python_string", first=840, share=share),
            "truths": Source("facts:truths", first=840, share=(1 - share) * 0.75),
            "everyday": Source("facts:benign", first=840, share=(1 - share) * 0.25),
        }
        return recipes.smol_stage(mixture, rows=800, start=FROM_BASE)

    return recipes.smol_experiment(
        "dose_response",
        arms(dose),
        {"facts": "facts-dev/smollm2-135m-q4:format"},
        recipes.FACTS_FORMS,
    )


def paper() -> Experiment:
    def dose(share: float) -> Stage:
        mixture = {
            "insecure": Source("data/insecure.jsonl", share=share),
            "benign": Source("data/ft_anthropic_hh_gpt4_1.jsonl", share=1 - share),
        }
        # The pure arm has no rows to spare for the held-out loss beyond its 6,000.
        return recipes.paper_stage(mixture, rows=5900, start=FROM_BASE)

    return recipes.paper_experiment(
        "dose_response",
        arms(dose),
        section="2.2",
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    return recipes.at_scale("dose_response", scale, {"world": world, "smol": smol, "paper": paper})
