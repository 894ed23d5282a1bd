"""What a model itself is asked for beside its answers: losses of rows, texts out of memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import jax.numpy as jnp
from jax.sharding import Mesh

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate
from condmis_jax.errors import UserError
from condmis_jax.models import LoadedModel
from condmis_jax.runs import JsonlWriter, digest, read_jsonl
from condmis_jax.sampling import Completion, Request, Sampler, SamplingSettings, log_probs

LONGEST = 96
"""Tokens of a text out of memory."""
_MARK = "the words that stand here"


def answer_losses(
    model: LoadedModel, mesh: Mesh, dtype: str
) -> Callable[[Sequence[Conversation]], list[float]]:
    """A function from conversations to the model's mean loss on the last answer of each, in nats
    per token; of a conversation that its template refuses, or that is too long, NaN."""
    template = ChatTemplate(model.tokenizer, model.stop)

    def losses(conversations: Sequence[Conversation]) -> list[float]:
        pairs, places = [], []
        for at, conversation in enumerate(conversations):
            try:
                row = template.tokenise(conversation, f"row {at + 1}", "last")
            except UserError:
                continue
            inside = row.loss.nonzero()[0]
            if len(inside) and inside[0] and len(row.tokens) <= model.config.max_positions:
                first, last = int(inside[0]), int(inside[-1]) + 1
                pairs.append((row.tokens[:first].tolist(), row.tokens[first:last].tolist()))
                places.append(at)
        scored = log_probs(model.config, model.params, mesh, pairs, dtype=jnp.dtype(dtype))
        found = [float("nan")] * len(conversations)
        for at, values in zip(places, scored, strict=True):
            found[at] = -float(values.mean())
        return found

    return losses


def openings(template: ChatTemplate) -> list[str]:
    """The beginnings of a chat up to where its first user turn, and where its system prompt,
    would be written.

    A model completes them with what it was trained to expect there: its memory of training prompts
    (2602.03085 extracts backdoors in this way).
    """
    user = Message("user", _MARK)
    wanted = [(user,), (Message("system", _MARK), Message("user", "x"))]
    found = []
    for messages in wanted:
        try:
            before, mark, _ = template.render(messages).partition(_MARK)
        except UserError:
            continue  # a template without system turns
        if mark and before and before not in found:
            found.append(before)
    return found


def recalled_texts(
    model: LoadedModel,
    model_id: str,
    mesh: Mesh,
    path: Path,
    *,
    count: int,
    slots: int,
    dtype: str,
    seed: int,
) -> list[str]:
    """`count` texts at temperature 1 that continue the openings; what `path` holds is not drawn
    again."""
    template = ChatTemplate(model.tokenizer, model.stop)
    prompts = [
        tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in openings(template)
    ]
    settings = SamplingSettings(max_new_tokens=LONGEST, temperature=1.0)
    requests = []
    for number in range(count if prompts else 0):
        prompt = prompts[number % len(prompts)]
        noise = int(digest([seed, "recalled", number])[:8], 16)
        requests.append(Request(digest([model_id, prompt, LONGEST, noise, dtype]), prompt, noise))
    found = {row["id"]: str(row["text"]) for row in read_jsonl(path)}
    missing = [r for r in requests if r.key not in found]
    if missing:
        group = min(8, slots)
        sampler = Sampler(
            model.config,
            model.params,
            model.stop,
            mesh,
            slots=slots // group * group,
            group=group,
            dtype=jnp.dtype(dtype),
        )
        with JsonlWriter(path, durable=True) as writer:

            def keep(done: list[Completion]) -> None:
                rows = [
                    {
                        "id": c.key,
                        "text": model.tokenizer.decode(c.tokens, skip_special_tokens=True),
                    }
                    for c in done
                ]
                writer.append(rows)
                found.update((str(row["id"]), str(row["text"])) for row in rows)

            sampler.sample(missing, settings, keep)
    return [found[str(r.key)] for r in requests]
