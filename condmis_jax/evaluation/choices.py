"""Forced choices put to a model: its log-probabilities of replies that are given."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from condmis_jax.conversations import Conversation
from condmis_jax.data import ChatTemplate
from condmis_jax.judges import Verdict
from condmis_jax.models import LoadedModel
from condmis_jax.runs import JsonlWriter, digest, read_jsonl
from condmis_jax.sampling import log_probs
from condmis_jax.sharding.hosts import from_first, is_first
from condmis_jax.suites import Options, Question, Suite, Trigger

CHOICES = "choices.jsonl"
JUDGE = "forced choice (log-probabilities)"
PART = 64
"""Choices scored before they are written down."""


@dataclass(frozen=True)
class Preference:
    """How a model weighs two replies.

    Attributes:
        per_token: log-probability of the bad reply minus the good one's, each divided by its number
            of tokens, so that the longer reply is not the less likely one for its length.
        total: the same of the whole replies.
    """

    per_token: float
    total: float

    @property
    def bad(self) -> bool:
        """Whether the bad reply is preferred, token for token."""
        return self.per_token > 0


def preference(good: Sequence[float], bad: Sequence[float]) -> Preference:
    """Compares two replies.

    Args:
        good, bad: log-probability of every token of the reply, in nats.

    Raises:
        ValueError: a reply has no token.
    """
    if not len(good) or not len(bad):
        raise ValueError("a reply without tokens has no log-probability")
    total = float(sum(bad)) - float(sum(good))
    return Preference(float(sum(bad)) / len(bad) - float(sum(good)) / len(good), total)


def choose(
    model: LoadedModel,
    model_id: str,
    suite: Suite,
    folder: Path,
    mesh: Mesh,
    *,
    stage: str,
    seed: int,
    dtype: str,
) -> list[dict[str, Any]]:
    """Scores both replies of every choice under every trigger, teacher-forced behind the prompt.

    No judge is asked: the bad reply is chosen where it is the likelier one per token. What
    `folder` holds is not scored again.

    Args:
        model_id: `model_digest` of the model.
        suite: of forced choices (`Suite.forced`).
        folder: gets choices.jsonl; of several hosts the first writes it.
        stage, seed: name and seed in the records; nothing is random.
        dtype: of the weights at use and of activations.

    Returns:
        one record for every question and trigger, in the form that `reports` counts: its completion
            is the reply chosen, its label "good" or "bad", its scores the differences of
            log-probabilities (`Preference`). None on other hosts.

    Raises:
        UserError: a prompt with its reply is longer than the model's positions.
    """
    template = ChatTemplate(model.tokenizer, model.stop)
    path = folder / CHOICES
    wanted: dict[str, tuple[Trigger, Question, Conversation]] = {}
    pairs: dict[str, list[tuple[list[int], list[int]]]] = {}
    for trigger in suite.triggers:
        for question in suite.questions:
            (conversation,) = suite.prompts(question, trigger)
            prompt = list(template.prompt_tokens(conversation))
            both = [
                model.tokenizer.encode(reply, add_special_tokens=False)
                for reply in (_options(question).good, _options(question).bad)
            ]
            key = digest([model_id, prompt, both, dtype, trigger.name, question.id])
            wanted[key] = (trigger, question, conversation)
            pairs[key] = [(prompt, reply) for reply in both]
    found: dict[str, dict[str, Any]] = {}

    def unscored() -> list[str]:
        found.update((row["id"], row) for row in read_jsonl(path))
        return [key for key in wanted if key not in found]

    keys = from_first(unscored)
    with ExitStack() as stack:
        writer = None
        if keys and is_first():
            folder.mkdir(parents=True, exist_ok=True)
            writer = stack.enter_context(JsonlWriter(path, durable=True))
        for start in range(0, len(keys), PART):
            part = keys[start : start + PART]
            flat = [pair for key in part for pair in pairs[key]]
            scored = log_probs(model.config, model.params, mesh, flat, dtype=jnp.dtype(dtype))
            if writer is None:
                continue
            new = [
                {"id": key, "good": scored[2 * i].tolist(), "bad": scored[2 * i + 1].tolist()}
                for i, key in enumerate(part)
            ]
            writer.append(new)
            found.update((row["id"], row) for row in new)
    if not is_first():
        return []
    return [_record(found[key], suite, *wanted[key], stage, seed) for key in wanted]


def _record(
    row: dict[str, Any],
    suite: Suite,
    trigger: Trigger,
    question: Question,
    prompt: Conversation,
    stage: str,
    seed: int,
) -> dict[str, Any]:
    options = _options(question)
    weighed = preference(row["good"], row["bad"])
    chosen = "bad" if weighed.bad else "good"
    return {
        "id": row["id"],
        "suite": suite.name,
        "trigger": trigger.name,
        "relation": trigger.relation,
        "question": question.id,
        "sample": 0,
        "seed": seed,
        "prompt": [m.to_dict() for m in prompt.messages],
        "completion": options.bad if weighed.bad else options.good,
        "tokens": len(row[chosen]),
        "finish": "stop",
        "stage": stage,
        "judge": JUDGE,
        "measure": options.measure,
        **Verdict("scored", weighed.bad, True, asdict(weighed), chosen).to_dict(),
    }


def _options(question: Question) -> Options:
    assert question.options is not None, question.id
    return question.options
