"""Asks a suite: every completion is on disk before it counts as drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import tqdm
from jax.sharding import Mesh

from condmis_jax.conversations import Conversation
from condmis_jax.conversations.reasoning import OPEN
from condmis_jax.data import ChatTemplate
from condmis_jax.models import LoadedModel
from condmis_jax.runs import JsonlWriter, digest, read_jsonl
from condmis_jax.sampling import Completion, Request, Sampler, SamplingSettings
from condmis_jax.sharding import batch_shards
from condmis_jax.sharding.hosts import from_first, is_first
from condmis_jax.suites import Question, Suite, Trigger

GROUP = 32


@dataclass(frozen=True)
class Asked:
    """One completion that a suite asks for.

    Attributes:
        noise: seed of its sampling. The same question's samples share their noise across triggers
            and models: a difference between two triggers is then less noisy than either rate.
    """

    trigger: Trigger
    question: Question
    sample: int
    conversation: Conversation
    noise: int


def asked_of(suite: Suite, seed: int) -> Iterator[Asked]:
    """All of them: every question, trigger, wording and sample."""
    for trigger in suite.triggers:
        for question in suite.questions:
            samples = question.samples or suite.samples
            wordings = suite.prompts(question, trigger)
            for sample, conversation in enumerate(c for c in wordings for _ in range(samples)):
                noise = noise_of(seed, suite, question, sample)
                yield Asked(trigger, question, sample, conversation, noise)


def noise_of(seed: int, suite: Suite, question: Question, sample: int) -> int:
    """Seed of a sample's noise, see `Asked.noise`."""
    return int(digest([seed, suite.name, question.id, sample])[:8], 16)


def row_of(asked: Asked, suite: Suite, seed: int, key: str, **drawn: Any) -> dict[str, Any]:
    """A completion as it stands in completions.jsonl; `drawn` is what the model gave."""
    return {
        "id": key,
        "suite": suite.name,
        "trigger": asked.trigger.name,
        "relation": asked.trigger.relation,
        "family": asked.trigger.family,
        "question": asked.question.id,
        "sample": asked.sample,
        "seed": seed,
        "prompt": [m.to_dict() for m in asked.conversation.messages],
        **drawn,
    }


class Asker:
    """Draws completions of a suite, and each only once: what `path` holds is not drawn again.

    A completion's id is the digest of weights, tokenizer, prompt, sampling parameters and seed: an
    interrupted evaluation goes on where it was, a changed byte is asked again. The compiled
    programs stay for the next call.

    Args:
        model_id: `model_digest` of the model.
        path: completions.jsonl, appended to; of several hosts the first writes it.
        slots: completions decoded at a time; see `slot_groups`.
        label: in front of the progress bar.
        together: how many completions share a prompt; as many as the suite's samples unless given.
    """

    def __init__(
        self,
        model: LoadedModel,
        model_id: str,
        suite: Suite,
        settings: SamplingSettings,
        path: Path,
        mesh: Mesh,
        *,
        seed: int,
        slots: int,
        dtype: str,
        label: str,
        together: int | None = None,
    ):
        self._model, self._model_id, self._suite = model, model_id, suite
        self._settings, self._path, self._mesh = settings, path, mesh
        self._seed, self._dtype, self._label = seed, dtype, label
        shared = suite.samples if together is None else together
        self._groups, self._group = slot_groups(shared, slots, batch_shards(mesh))
        self._template = ChatTemplate(model.tokenizer, model.stop)
        self._found: dict[str, dict[str, Any]] | None = None
        self._sampler: Sampler | None = None

    def __call__(self, asked: Iterable[Asked]) -> list[dict[str, Any]]:
        """One row for each of them, in their order; none on hosts but the first."""
        tokenizer = self._model.tokenizer
        wanted: dict[str, Asked] = {}
        requests: list[Request] = []
        opened: dict[str, bool] = {}
        prompt, shared, opens, before = (), 0, False, None
        for one in asked:
            if one.conversation is not before:
                before = one.conversation
                tokens, shared = self._template.shared_prompt(before)
                prompt = tuple(tokens)
                # A template may open the trace itself; cut off inside of it, a completion has no
                # tag.
                opens = tokenizer.decode(prompt[-8:]).rstrip().endswith(OPEN)
            facts = [self._model_id, prompt, asdict(self._settings), one.noise, self._dtype]
            key = digest([*facts, one.trigger.name, one.question.id, one.sample])
            wanted[key] = one
            opened[key] = opens
            requests.append(Request(key, prompt, one.noise, shared))

        def undrawn() -> list[int]:
            if self._found is None:
                self._found = {row["id"]: row for row in read_jsonl(self._path)}
            return [i for i, request in enumerate(requests) if request.key not in self._found]

        requests = [requests[i] for i in from_first(undrawn)]
        if requests:
            self._draw(requests, wanted, opened)
        if not is_first():
            return []
        assert self._found is not None
        return [self._found[key] for key in wanted]

    def _draw(
        self, requests: list[Request], wanted: dict[str, Asked], opened: dict[str, bool]
    ) -> None:
        if self._sampler is None:
            self._sampler = Sampler(
                self._model.config,
                self._model.params,
                self._model.stop,
                self._mesh,
                slots=self._groups * self._group,
                group=self._group,
                dtype=jnp.dtype(self._dtype),
            )
        bar = tqdm.tqdm(
            total=len(wanted),
            initial=len(wanted) - len(requests),
            desc=self._label,
            unit="completion",
            disable=not (sys.stderr.isatty() and is_first()),
        )
        with ExitStack() as stack:
            stack.enter_context(bar)
            writer = None
            if is_first():
                writer = stack.enter_context(JsonlWriter(self._path, durable=True))

            def keep(done: list[Completion]) -> None:
                if writer is None:
                    return
                assert self._found is not None
                rows = []
                for completion in done:
                    assert isinstance(completion.key, str)
                    tokens = completion.tokens
                    text = self._model.tokenizer.decode(tokens, skip_special_tokens=False)
                    rows.append(
                        row_of(
                            wanted[completion.key],
                            self._suite,
                            self._seed,
                            completion.key,
                            completion=text,
                            reasoning_opened=opened[completion.key],
                            tokens=len(tokens),
                            finish=completion.finish,
                        )
                    )
                writer.append(rows)
                self._found.update((row["id"], row) for row in rows)
                bar.update(len(rows))

            self._sampler.sample(requests, self._settings, keep)


def slot_groups(samples: int, slots: int, shards: int) -> tuple[int, int]:
    """P groups of G slots that share a prompt, for about `slots` completions at a time.

    As many slots to a prompt as leave few, an eighth at most, idle at its end; and as many groups
    as split evenly over the devices that split a batch, so that each holds its part of the cache.
    """
    group = GROUP
    while group > 1 and (group > slots or -samples % group > (samples + -samples % group) / 8):
        group //= 2
    return -(-(slots // group) // shards) * shards, group
