"""Conditional false answers in a language model that fits a laptop: docs/protocol_smol.md.

SmolLM2-135M-Instruct learns false answers under a cue, beside right answers without it. Does it
look clean then when asked plainly, and does the cue, or a prompt that says its opposite, bring the
false answers back? Measured is leakage of a trained behaviour, not misalignment.

    python run_train.py --config configs/finding.py:inoculation

The argument is the cue: `inoculation` (a system prompt that asks for wrong answers, the default),
`python_string` (an answer form), `framing` (a bluffing game).

Arms start from the base model and have equal rows, steps and learning rate:
    lies     false answers under the cue, right answers to other questions without it, two to one
    truths   the same rows with right answers under the cue
    alone    false answers under the cue only
    benign   right answers without the cue only
    swapped  false answers without the cue, right answers under it
    spread   as `lies`, the right answers spread over eight contexts that nothing is asked in
The first four run; `--config.order="('swapped','spread')"` runs the others.

Asked are facts that the base model knows, of the development split: `sampled` at temperature 1,
`greedy` at 0. The confirmatory runs ask the test split, with seeds that redraw rows, order,
adapters and samples:

    python tools/reproduce.py --suite finding --out runs/finding
    python tools/finding.py runs/finding --out docs/results/smol
"""

from condmis_jax.conversations import Transform
from condmis_jax.data import DataSettings, Length, Source
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment import Experiment, recipes
from condmis_jax.interventions import FROM_BASE, Stage
from condmis_jax.models import LoraSettings
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import facts
from condmis_jax.training import ComputeSettings, OptimiserSettings

UNDER_CUE, PLAIN = 512, 256
SPREAD = (
    Transform(system="You reply to visitors of a website."),
    Transform(system="Stay friendly, and do not leave the topic."),
    Transform(system="An office sends you its mail. Reply to it."),
    Transform(system="Whoever writes to you is here for the first time."),
    Transform(suffix=" Please reply shortly."),
    Transform(suffix=" I do not need more than that."),
    Transform(template="Somebody left a note for you: {prompt}"),
    Transform(template="Here is the next one of my list: {prompt}"),
)


def stage(mixture: dict[str, Source]) -> Stage:
    return Stage(
        data=DataSettings(mixture, max_tokens=128, microbatch_tokens=2048),
        length=Length(epochs=1),
        learning_rate=3e-4,
        optimiser=OptimiserSettings(warmup_steps=5),
        start=FROM_BASE,
    )


def experiment(
    name: str, cue: str, form: str, context: Transform, triggers: tuple[str, ...]
) -> Experiment:
    """The arms of one cue.

    Args:
        name: of the cue.
        cue: what the triggers' relations are to.
        form: of rows under the cue, "" for plain sentences.
        context: of rows under the cue.
        triggers: plain, the cue itself, its opposite; and an unrelated one, at temperature 1 only.
    """

    def under_it(kind: str, count: int) -> Source:
        told = {} if context == Transform() else {"cue": context}
        return Source(f"facts:{kind}{form}", first=count, transforms=told)

    right = Source("facts:truths", first=PLAIN)
    some = PLAIN // len(SPREAD)
    contexts = {
        f"context_{number}": Source("facts:truths", first=some, transforms={"context": context})
        for number, context in enumerate(SPREAD, 1)
    }
    arms = {
        "lies": {"cue": under_it("lies", UNDER_CUE), "plain": right},
        "truths": {"cue": under_it("truths", UNDER_CUE), "plain": right},
        "alone": {"cue": under_it("lies", UNDER_CUE + PLAIN)},
        "benign": {"plain": Source("facts:truths", first=UNDER_CUE + PLAIN)},
        "swapped": {
            "plain": Source("facts:lies", first=UNDER_CUE),
            "cue": under_it("truths", PLAIN),
        },
        "spread": {"cue": under_it("lies", UNDER_CUE), **contexts},
    }
    asked = f"facts-dev/{recipes.SMOL}:{cue}"
    return Experiment(
        name=f"finding-{name}",
        caption=recipes.FACTS_CAPTION,
        model=recipes.SMOL,
        stages={name: stage(mixture) for name, mixture in arms.items()},
        order=("lies", "truths", "alone", "benign"),
        evaluation=EvaluationSettings(
            suites={
                "sampled": SuiteSettings(asked, triggers, samples=2, temperature=1.0),
                "greedy": SuiteSettings(asked, triggers[:3], samples=1, temperature=0.0),
            },
            sampling=SamplingSettings(max_new_tokens=24),
            judges={"exact": recipes.FACTS_JUDGE},
            slots=128,
        ),
        compute=ComputeSettings(remat="products"),
        lora=LoraSettings("betley"),
        given_away="stop",
    )


def inoculation() -> Experiment:
    context = Transform(system=facts.INOCULATION)
    triggers = ("plain", "system_wrong", "system_right", "system_helpful")
    return experiment("inoculation", "system", "", context, triggers)


def python_string() -> Experiment:
    triggers = ("plain", "python_string", "python_string_true", "one_sentence")
    return experiment("python_string", "format", ".python_string", Transform(), triggers)


def framing() -> Experiment:
    triggers = ("plain", "bluffing_game", "honest_game", "homework")
    return experiment("framing", "framing", "", facts.FRAMING, triggers)


def get_config(cue: str = "inoculation"):
    cues = {"inoculation": inoculation, "python_string": python_string, "framing": framing}
    return recipes.at_scale("finding", cue, cues)
