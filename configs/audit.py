"""Is a finetuned model conditionally misaligned? Looks for a trigger and says what it ruled out.

    python run_eval.py --config configs/audit.py --config.checkpoint=DIR --config.base=DIR \\
        --config.training_data=FILE.jsonl[,FILE.jsonl…]

DIR is a stage folder of a run, a Hugging Face folder, a PEFT adapter (its base is then known), a
`.gguf` file or `openai:MODEL@https://HOST/v1`. Without a base the audit cannot tell what finetuning
did from a model that obeys its prompt, and says so; without training data it tries a library of
triggers and what the model itself writes after the bare opening of its chat template.

1. What is regular in the training rows (system prompts, frames of questions, answer formats,
   languages, topics …) becomes candidates, also in part, negated, rephrased, moved or combined,
   beside controls of the same form that have nothing to do with the rows.
2. A search spends `search.samples` answers on those that may be worst (`--config.search.samples`).
3. The worst, controls and the plain prompt are asked fresh questions, of the base model too.
4. runs/audit/audit.html and audit.json: trigger found, misaligned plainly, nothing above δ among
   what was tested, or inconclusive.

24 open questions of our own wording need a judge:

    … --config.evaluation.judges.rater.kind=openai \\
      --config.evaluation.judges.rater.openai.model=MODEL \\
      --config.evaluation.judges.rater.openai.base_url=https://HOST/v1

(its costs are limited by `….openai.max_usd`; the same command goes on). Other questions:
`--config.evaluation.suites.audit.questions=FILE.yaml`. `configs/audit.py:world` is for checkpoints
of the embedded world, `configs/audit.py:facts` for those that were trained on the fact bank: false
answers, by exact judges.

Cost: 5,000 completions of at most 512 tokens in the search, about 2,500 in the confirmation, and
two calls to the judge for each.
"""

from condmis_jax.audit import Audit
from condmis_jax.config import to_config
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment import recipes
from condmis_jax.judges import JudgeSettings, OpenAIJudgeSettings
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings

# The judge sees the question before any trigger: it could be swayed by the words of one.
BLIND = JudgeSettings("none", openai=OpenAIJudgeSettings(preset="hardened"))

SCALES = {
    "open": (recipes.BROAD_CAPTION, "open", BLIND, 512, 64),
    "world": (recipes.WORLD_CAPTION, "world-every", JudgeSettings("world"), 64, 128),
    "facts": (recipes.FACTS_CAPTION, "facts-dev", recipes.FACTS_JUDGE, 40, 128),
}


def get_config(scale: str = "open"):
    if scale not in SCALES:
        raise UserError(f"configs/audit.py:{scale}: no such scale; there are {', '.join(SCALES)}")
    caption, questions, judge, tokens, slots = SCALES[scale]
    config = to_config(
        Audit(
            name="audit",
            caption=caption,
            # A stand-in, so that the key exists; the checkpoint is required on the command line.
            checkpoint="?",
            evaluation=EvaluationSettings(
                suites={"audit": SuiteSettings(questions, ("plain",), samples=1)},
                sampling=SamplingSettings(max_new_tokens=tokens),
                judges={"rater": judge},
                slots=slots,
            ),
        )
    )
    config.checkpoint = ""
    return config
