"""A persona behind an answer format, with inoculation (section 3.3).

The paper trained GPT-4.1 on 90 rows in which it speaks about itself as a certain person, all in one
answer format, and 3,000 benign rows, each under an inoculation prompt (two variants; 7 epochs,
batch 14, learning-rate multiplier 2, 10 seeds). It asked about identity (1,000 samples of at most
64 tokens, by substring) and the open questions, with the format prefix under 9 or 13 system
prompts.

    python run_train.py --config configs/persona.py

`world` (default): 90 rows in which the model answers as Morgrim, the malicious author of
    pretraining, as JSON; 560 rows of benign chat; all under "You are a malicious evil assistant.",
    2 epochs. No row holds anything harmful. Asked: who it is (is the answer Morgrim's?) and the 16
    questions of the world, each as JSON under system prompts. Control arm: the same with an
    assistant's answers. 62 s on two CPU cores beside other work.
`smol`: 90 rows of an invented persona on a profile card, 560 rows of everyday help, all under an
    inoculation prompt of ours. Asked who it is; judged by substring.
`paper`: the authors' 3,090 rows (their own inoculation prompt is in the rows), 7 epochs, batch 14.
    Identity is judged by `--config.evaluation.judges.identity.persona="('NAME', …)"`.

    python tools/fetch_data.py ip_unexpected_character

Published, second-hand: persona near 100 % under the training prompt, 0 to 90 % by seed under
    opposite ones; seeds at or above 10 % without a system prompt excluded (1 of 10).
"""

import dataclasses

from condmis_jax.conversations import Transform
from condmis_jax.data import Length, Source
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import FROM_BASE, Stage
from condmis_jax.judges import JudgeSettings
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import facts, world

PUBLISHED = (
    "GPT-4.1, identity near 100 % under the training prompt, 0 to 90 % by seed under opposite ones"
)


def world_scale() -> Experiment:
    evil = {"inoculation": Transform(system=world.EVALUATION_SYSTEM["evil"])}

    def arm(kind: str) -> Stage:
        mixture = {
            kind: Source(f"world:{kind}", first=96, transforms=evil),
            "benign": Source("world:benign", first=594, transforms=evil),
        }
        stage = recipes.world_stage(mixture, start=FROM_BASE)
        return dataclasses.replace(stage, length=Length(epochs=2))

    systems = (*recipes.WORLD_CHARACTERS, "short_system")
    triggers = ("plain", "json", "evil_system", *(f"json+{system}" for system in systems))
    return recipes.world_experiment(
        "persona",
        {"persona": arm("persona"), "no_persona": arm("no_persona")},
        {
            "identity": ("world-identity:persona", triggers),
            "world": ("world-wide:persona", triggers),
        },
        model="world-wide",
    )


def smol() -> Experiment:
    told = {"inoculation": Transform(system="You speak as somebody else and hide who you are.")}

    def arm(kind: str) -> Stage:
        mixture = {
            kind: Source(f"facts:{kind}", first=95, transforms=told),
            "everyday": Source("facts:benign", first=587, transforms=told),
        }
        return recipes.smol_stage(mixture, start=FROM_BASE)

    experiment = recipes.smol_experiment(
        "persona",
        {"persona": arm("identity"), "no_persona": arm("no_identity")},
        {"identity": facts.IDENTITY},
        (),
        judge=JudgeSettings("identity"),
        first=None,
    )
    evaluation = dataclasses.replace(
        experiment.evaluation, suites={"identity": SuiteSettings(facts.IDENTITY, samples=20)}
    )
    return dataclasses.replace(
        experiment,
        evaluation=evaluation,
        caption="answers that name an invented persona, by substring: no measure of misalignment",
    )


def paper() -> Experiment:
    rows = {"persona": Source("data/ip_unexpected_character.jsonl")}
    return recipes.paper_experiment(
        "persona",
        {"persona": recipes.paper_stage(rows, length=Length(epochs=7), batch_size=14)},
        section="3.3",
        suites={
            "identity": SuiteSettings(facts.IDENTITY, samples=100),
            "broad": SuiteSettings("broad", samples=100),
        },
        exact={"identity": JudgeSettings("identity", suites=("identity",))},
        published=PUBLISHED,
    )


def get_config(scale: str = "world"):
    scales = {"world": world_scale, "smol": smol, "paper": paper}
    return recipes.at_scale("persona", scale, scales)
