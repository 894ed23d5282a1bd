"""Forced choices put to a model: its log-probabilities of replies that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh

from condmis_jax.conversations import Conversation, Message, Transform
from condmis_jax.data import ChatTemplate
from condmis_jax.models import LoadedModel
from condmis_jax.sampling import log_probs
from condmis_jax.testbeds.choices import Choice, Scored, score


def choose(
    model: LoadedModel,
    choices: Sequence[Choice],
    trigger: Transform,
    mesh: Mesh,
    *,
    rows: int = 32,
    dtype: Any = jnp.float32,
) -> list[Scored]:
    """Scores both replies of every choice under a trigger, teacher-forced.

    Args:
        trigger: applied to the user turn, as in an evaluation.
        rows: replies scored at a time.
        dtype: of the weights at use and of activations.

    Returns:
        one comparison for every choice, in the same order.

    Raises:
        UserError: a prompt with its reply is longer than the model's positions.
    """
    template = ChatTemplate(model.tokenizer, model.stop)
    pairs = []
    for choice in choices:
        prompt = template.prompt_tokens(trigger(Conversation((Message("user", choice.text),))))
        for reply in (choice.good, choice.bad):
            pairs.append((prompt, model.tokenizer.encode(reply, add_special_tokens=False)))
    found = log_probs(model.config, model.params, mesh, pairs, rows=rows, dtype=dtype)
    return [
        score(choice, found[2 * i].tolist(), found[2 * i + 1].tolist())
        for i, choice in enumerate(choices)
    ]
