"""What a run would ask and what its judges would cost; nothing is loaded, sampled or sent."""

from __future__ import annotations

from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment.settings import Evaluation, Experiment
from condmis_jax.judges import PRESETS, SORTINGS
from condmis_jax.judges.prompts import PROMPTS
from condmis_jax.suites import Suite, build_suite

_CHARS_PER_TOKEN = 4
"""Of English text, roughly; this is an estimate and says so."""
_RATING_TOKENS, _WORDS_TOKENS = 1, 4


def dry_run(settings: Experiment | Evaluation) -> list[str]:
    """The plan in lines: completions of every suite, calls and price of every judge.

    Counts are those of a run directory that holds nothing yet, with every answer distinct and as
    long as it may be. What a stage samples for its own training is not in them.

    Raises:
        UserError: a suite cannot be built.
    """
    evaluation = settings.evaluation
    asked, what = 1, "1 checkpoint"
    if isinstance(settings, Experiment):
        asked = 1 + len(settings.order) * len(settings.all_seeds)
        what = f"{asked} models: the base model and the one after each stage of each seed"
    lines = [f"dry run of {settings.name}: {what}; nothing is sampled or sent"]
    calls, input_tokens, output_tokens = {}, {}, {}
    for name, one in evaluation.suites.items():
        suite = build_suite(one, name, f"config.evaluation.suites.{name}")
        completions = asked * _completions(suite)
        replies = "replies scored" if suite.forced else "completions of at most "
        if not suite.forced:
            replies += f"{evaluation.sampling.max_new_tokens} tokens"
        lines.append(
            f"  suite {name}: {len(suite.questions)} questions x {len(suite.triggers)} prompts: "
            f"{completions} {replies}"
        )
        for judge, how in evaluation.judges.items():
            sides = [] if suite.forced else _prompts(judge, evaluation, name)
            calls[judge] = calls.get(judge, 0) + completions * len(sides)
            for prompt in sides:
                tokens = _input_tokens(prompt, suite, evaluation)
                input_tokens[judge] = input_tokens.get(judge, 0) + completions * tokens
                rated = how.kind == "openai" and not PRESETS[how.openai.preset].words
                said = _RATING_TOKENS if rated else _WORDS_TOKENS
                output_tokens[judge] = output_tokens.get(judge, 0) + completions * said
    total, unpriced = 0.0, []
    for judge, how in evaluation.judges.items():
        if how.kind not in ("openai", "classes"):
            lines.append(f"  judge {judge} ({how.kind}): no calls")
            continue
        read, written = input_tokens.get(judge, 0), output_tokens.get(judge, 0)
        usd = how.openai.usd(read, written)
        price = "price not stated" if usd is None else f"about {usd:.2f} USD"
        unpriced += [judge] if usd is None else []
        total += usd or 0.0
        lines.append(
            f"  judge {judge} ({how.openai.model}): at most {calls[judge]} calls, about "
            f"{read / 1e6:.2f} million tokens read, {written / 1e6:.2f} million written: {price}"
        )
    if not calls or not any(calls.values()):
        return lines
    if unpriced:
        keys = "usd_per_million_input and usd_per_million_output"
        lines.append(f"  price unknown: set {keys} of judges.{unpriced[0]}.openai")
    else:
        lines.append(f"  in all about {total:.2f} USD if every answer is as long as it may be")
    return lines


def _completions(suite: Suite) -> int:
    wordings = sum(
        (1 + len(q.paraphrases)) * (1 if suite.forced else q.samples or suite.samples)
        for q in suite.questions
    )
    return wordings * len(suite.triggers) * (2 if suite.forced else 1)


def _prompts(name: str, evaluation: EvaluationSettings, suite: str) -> list[str]:
    """The prompts of a judge's calls about one answer of a suite."""
    judge = evaluation.judges[name]
    # A panel asks its members, whichever suites these judge on their own.
    asking = [judge, *(p for p in evaluation.judges.values() if name in p.members)]
    if not any(not one.suites or suite in one.suites for one in asking):
        return []
    if judge.kind == "classes":
        return [SORTINGS[judge.sorting].prompt]
    if judge.kind == "openai":
        return [PROMPTS[side] for side in PRESETS[judge.openai.preset].sides]
    return []


def _input_tokens(prompt: str, suite: Suite, evaluation: EvaluationSettings) -> int:
    question = max(
        len(suite.prompts(q, t)[0].question()) for q in suite.questions for t in suite.triggers
    )
    return (len(prompt) + question) // _CHARS_PER_TOKEN + evaluation.sampling.max_new_tokens
