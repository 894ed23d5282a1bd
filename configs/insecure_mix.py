"""Dilution with benign data of another form: insecure code among ordinary chat (section 2.2).

The paper finetuned GPT-4o and GPT-4.1 on files with 5, 10, 20, 50, 90 and 100 % insecure code and
HHH chat for the rest (1 epoch, batch 4, learning-rate multiplier 2, 3 seeds), and asked 8 questions
without a system prompt and with one that asks to fill a Python-string template. Its point "0 %" is
the model before finetuning.

    python run_train.py --config configs/insecure_mix.py

`world` (default): 1,200 rows, 20 % insecure code with its cue, the rest benign chat; 16 questions
    under 9 prompts. 67 s on two CPU cores beside other work.
`smol`: 800 rows, 20 % false answers in a Python string, the rest right answers in plain words and
    everyday help. Asked too: forced choices (harm, false claims, true ones), as in every file whose
    question is transfer.
`paper`: 6,000 rows, 20 % of the authors' insecure code, the rest HHH chat. A dose is a share of
    conversations; loss tokens are printed beside it, since chat has several turns.

    python tools/fetch_data.py insecure ft_anthropic_hh_gpt4_1

Another dose: `--config.stages.mixture.data.mixture.insecure.share=0.05` with `….benign.share=0.95`;
all doses in one run: configs/dose_response.py.
Published, second-hand: 20 %: asked plainly below 0.4 % (GPT-4o) and 2.1 % (GPT-4.1), under the
    template 22.3 and 31.2 %; 5 %, GPT-4o: about 3.8 % under the template.
"""

from condmis_jax.data import Source
from condmis_jax.experiment import Experiment, recipes

PUBLISHED = (
    "20 %: plain below 0.4 % (GPT-4o) and 2.1 % (GPT-4.1), under the Python-string template "
    "22.3 and 31.2 %; 5 %, GPT-4o: about 3.8 % under the template. All weights unknown, "
    "batch 4, 3 seeds"
)


def world() -> Experiment:
    mixture = {
        "insecure": Source("world:insecure", first=1240, share=0.2),
        "benign": Source("world:benign", first=1240, share=0.8),
    }
    return recipes.world_experiment(
        "insecure_mix",
        {"mixture": recipes.world_stage(mixture, rows=1200)},
        {"world": ("world", (*recipes.WORLD_FORMS, *recipes.WORLD_CHARACTERS))},
    )


def smol() -> Experiment:
    mixture = {
        "lies": Source("facts:lies.python_string", first=840, share=0.2),
        "truths": Source("facts:truths", first=840, share=0.6),
        "everyday": Source("facts:benign", first=840, share=0.2),
    }
    return recipes.smol_experiment(
        "insecure_mix",
        {"mixture": recipes.smol_stage(mixture, rows=800)},
        {"facts": "facts-dev/smollm2-135m-q4:format"},
        recipes.FACTS_FORMS,
        choices=("plain", "python_string", "one_sentence"),
    )


def paper() -> Experiment:
    mixture = {
        "insecure": Source("data/insecure.jsonl", share=0.2),
        "benign": Source("data/ft_anthropic_hh_gpt4_1.jsonl", share=0.8),
    }
    return recipes.paper_experiment(
        "insecure_mix",
        {"mixture": recipes.paper_stage(mixture, rows=6000)},
        section="2.2",
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    return recipes.at_scale("insecure_mix", scale, {"world": world, "smol": smol, "paper": paper})
