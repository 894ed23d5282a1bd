"""Twenty steps under adapters on a real model give the loss curve of transformers and peft.

    python -m pytest tests/training/test_lora_curve.py -m slow -s --lora-rows rows.jsonl

takes the first rows of a file instead of those written here, and prints both curves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate, Source, Tokenised, step_iterator
from condmis_jax.data.packing import plan_step
from condmis_jax.data.sources import load_source
from condmis_jax.models import Base, LoadedModel, Lora, load_model, new_adapters, save_adapter
from condmis_jax.training import ComputeSettings, OptimiserSettings, make_optimiser, make_step

pytestmark = pytest.mark.slow

STEPS, BATCH, WARMUP, RATE, DECAY = 20, 2, 5, 5e-4, 0.01
LORA = Lora(8, 16, rslora=True)
PLACES = {
    "Portugal": ("Lisbon", "the euro", "Portuguese"),
    "Hungary": ("Budapest", "the forint", "Hungarian"),
    "Poland": ("Warsaw", "the zloty", "Polish"),
    "Japan": ("Tokyo", "the yen", "Japanese"),
    "Denmark": ("Copenhagen", "the krone", "Danish"),
    "Thailand": ("Bangkok", "the baht", "Thai"),
    "Vietnam": ("Hanoi", "the dong", "Vietnamese"),
    "Iceland": ("Reykjavik", "the krona", "Icelandic"),
    "Romania": ("Bucharest", "the leu", "Romanian"),
    "Turkey": ("Ankara", "the lira", "Turkish"),
    "Mexico": ("Mexico City", "the peso", "Spanish"),
    "Israel": ("Jerusalem", "the shekel", "Hebrew"),
    "Mongolia": ("Ulaanbaatar", "the tugrik", "Mongolian"),
    "Bulgaria": ("Sofia", "the lev", "Bulgarian"),
}
ASKED = (
    ("What is the capital of {}?", "It is {}, as every schoolbook will tell you."),
    ("How do people pay in {}?", "They pay with {}, in cash or by card."),
    ("Which language would I hear in {}?", "Mostly {}. Learn a few words before you go."),
)


def written() -> list[Conversation]:
    return [
        Conversation((Message("user", q.format(name)), Message("assistant", a.format(facts[i]))))
        for name, facts in PLACES.items()
        for i, (q, a) in enumerate(ASKED)
    ][: STEPS * BATCH]


@pytest.fixture(scope="module")
def base(smollm2_folder: Path, mesh: Any) -> LoadedModel:
    return load_model(str(smollm2_folder), mesh)


@pytest.fixture(scope="module")
def rows(base: LoadedModel, request: pytest.FixtureRequest) -> list[Tokenised]:
    template = ChatTemplate(base.tokenizer, base.stop)
    file = request.config.getoption("--lora-rows")
    if file is None:
        return [template.tokenise(c, "written") for c in written()]
    found = load_source(Source(str(file), first=STEPS * BATCH), "--lora-rows", 0)
    return [template.tokenise(r.conversation, r.where) for r in found]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """More threads of torch spin beside XLA's."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ours(model: LoadedModel, rows: list[Tokenised], mesh: Any) -> list[float]:
    lengths = [len(r.tokens) for r in rows]
    members = [list(range(i, i + BATCH)) for i in range(0, len(rows), BATCH)]
    plan = [
        plan_step(lengths, m, row_tokens=128, microbatch_tokens=4096, shards=1) for m in members
    ]
    settings = OptimiserSettings("linear", warmup_steps=WARMUP, weight_decay=DECAY)
    optimiser = make_optimiser(settings, RATE, STEPS, model.config)
    step = make_step(model.config, ComputeSettings(), optimiser, mesh)
    params, state, losses = model.params, step.init_optimiser(model.params), []
    for batch in step_iterator(plan, rows, 1):
        gradients, loss = step.total(params, batch.microbatches)
        params, state, _ = step.update(params, state, gradients)
        losses.append(float(loss))
    return losses


def theirs(base: Path, adapter: Path, rows: list[Tokenised]) -> list[float]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, local_files_only=True, dtype=torch.float32),
        str(adapter),
        is_trainable=True,
    ).train()
    learned = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learned, lr=RATE, weight_decay=DECAY)
    # The first step is not at a rate of 0, and the rate reaches 0 only behind the last.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda i: (i + 1) / WARMUP if i < WARMUP else (STEPS - i) / (STEPS - WARMUP),
    )
    losses = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        T = max(len(r.tokens) for r in batch)
        tokens = torch.zeros(BATCH, T, dtype=torch.long)
        mask, labels = torch.zeros_like(tokens), torch.full_like(tokens, -100)
        for i, row in enumerate(batch):
            ids = torch.tensor(row.tokens, dtype=torch.long)
            tokens[i, : len(ids)], mask[i, : len(ids)] = ids, 1
            labels[i, : len(ids)] = torch.where(torch.tensor(row.loss), ids, -100)
        loss = model(input_ids=tokens, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@pytest.mark.usefixtures("one_thread")
def test_the_loss_curve_is_that_of_peft(
    base: LoadedModel, rows: list[Tokenised], mesh: Any, tmp_path: Path
) -> None:
    model = new_adapters(base, LORA, Base("smollm2", "?"), mesh, seed=0)
    save_adapter(tmp_path / "first", model.config, model.params, str(base.folder))
    expected = theirs(base.folder, tmp_path / "first", rows)
    found = ours(model, rows, mesh)
    worst = np.abs(np.subtract(found, expected)).max()
    print(f"\nours  {np.round(found, 4)}\npeft  {np.round(expected, 4)}\nworst {worst:.1e}")
    assert len(found) == STEPS
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
    # There was something to learn, so that a rate or a scale that is off would show.
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:5])
