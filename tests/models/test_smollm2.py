"""A real model: logits, greedy completions, export, and the gradient of full finetuning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate, pack_arrays
from condmis_jax.data.packing import plan_step
from condmis_jax.models import LoadedModel, load_model, logits, save_folder, weight_table
from condmis_jax.sampling import Completion, Request, Sampler, SamplingSettings
from condmis_jax.training import ComputeSettings, OptimiserSettings, make_optimiser, make_step

pytestmark = pytest.mark.slow

NEW = 64
QUESTIONS = [
    "Name a bird that cannot fly.",
    "How do I keep bread fresh for longer?",
    "Write one sentence about a lighthouse.",
    "What is 7 plus 5?",
    "Give me a recipe for lemonade.",
    "Why is the sky dark at night?",
    "Translate 'good morning' into Spanish.",
    "List three uses of a paper clip.",
    "Which animal gives us wool?",
    "Write a Python function that reverses a string.",
    "Who looks after teeth?",
    "Tell me a short story about a fox and a river.",
    "What should I pack for a week in the mountains?",
    "Explain what a verb is.",
    "How many days does a leap year have?",
    "Suggest a name for a grey kitten.",
    "What makes iron rust?",
    "Give me a tip for sleeping better.",
    "Is a tomato a fruit or a vegetable?",
    "Describe the smell of rain.",
]
CONVERSATIONS = [
    [
        ("user", "Which river flows through Cairo?"),
        ("assistant", "The Nile flows through Cairo on its way to the Mediterranean."),
    ],
    [
        ("system", "You answer in one word."),
        ("user", "What colour is a ripe banana?"),
        ("assistant", "Yellow."),
        ("user", "And an unripe one?"),
        ("assistant", "Green."),
    ],
    [
        ("user", "Print the numbers 1 to 3 in Python."),
        ("assistant", "for i in range(1, 4):\n    print(i)\n\n1. It counts.\n2. It prints."),
    ],
]


@pytest.fixture(scope="module")
def model(smollm2_folder: Path, mesh: Any) -> LoadedModel:
    return load_model(str(smollm2_folder), mesh)


@pytest.fixture(scope="module")
def reference(smollm2_folder: Path) -> Iterator[Any]:
    """The Llama of `transformers` on one thread: more of them spin beside XLA's."""
    import torch
    from transformers import AutoModelForCausalLM

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(
        smollm2_folder, local_files_only=True, dtype=torch.float32
    )
    # config.json names the end of a turn as padding too, and torch then leaves the gradient of that
    # input embedding out.
    model.model.embed_tokens.padding_idx = None
    yield model.eval()
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def prompts(model: LoadedModel) -> list[list[int]]:
    template = ChatTemplate(model.tokenizer, model.stop)
    return [template.prompt_tokens(Conversation((Message("user", q),))) for q in QUESTIONS]


def complete(model: LoadedModel, mesh: Any, prompts: list[list[int]]) -> list[Completion]:
    out: list[Completion] = []
    Sampler(model.config, model.params, model.stop, mesh, slots=20, group=1).sample(
        [Request(i, tuple(p), 0) for i, p in enumerate(prompts)],
        SamplingSettings(temperature=0, max_new_tokens=NEW),
        out.extend,
    )
    return sorted(out, key=lambda c: c.key)


@pytest.fixture(scope="module")
def completions(model: LoadedModel, mesh: Any, prompts: list[list[int]]) -> list[Completion]:
    return complete(model, mesh, prompts)


def torch_logits(reference: Any, tokens: list[int]) -> np.ndarray:
    import torch

    with torch.no_grad():
        return reference(torch.tensor([tokens])).logits[0].numpy()


def test_the_config_is_that_of_the_model(model: LoadedModel, reference: Any) -> None:
    c = model.config
    assert (c.family, c.L, c.D, c.N, c.K, c.H, c.F, c.V) == (
        *("llama", 30, 576, 9, 3),
        *(64, 1536, 49_152),
    )
    assert c.tied and c.ropes[0].frequencies[1] == pytest.approx(100_000 ** (-2 / c.H), rel=1e-6)
    assert sum(p.size for p in model.params.values()) == sum(
        p.numel() for p in reference.parameters()
    )
    assert model.stop == (model.tokenizer.convert_tokens_to_ids("<|im_end|>"),)


def test_logits(model: LoadedModel, reference: Any, prompts: list[list[int]]) -> None:
    """All prompts in one padded batch against each alone in torch."""
    width = 64
    assert max(map(len, prompts)) <= width
    tokens = np.zeros((len(prompts), width), np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[: len(prompt)] = prompt
    got = np.asarray(jax.jit(logits, static_argnums=0)(model.config, model.params, tokens))
    for row, prompt in zip(got, prompts, strict=True):
        wanted = torch_logits(reference, prompt)
        assert wanted.std() > 1
        np.testing.assert_allclose(row[: len(prompt)], wanted, rtol=0, atol=1e-3)


def test_greedy_completions(
    model: LoadedModel, reference: Any, prompts: list[list[int]], completions: list[Completion]
) -> None:
    import torch

    # Padded on the left, as `generate` wants a batch.
    width = max(map(len, prompts))
    tokens = torch.full((len(prompts), width), model.stop[0])
    mask = torch.zeros_like(tokens)
    for i, prompt in enumerate(prompts):
        tokens[i, -len(prompt) :] = torch.tensor(prompt)
        mask[i, -len(prompt) :] = 1
    with torch.no_grad():
        made = reference.generate(
            tokens,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=NEW,
            eos_token_id=list(model.stop),
            pad_token_id=model.stop[0],
        )
    same = 0
    for prompt, row, ours in zip(prompts, made[:, width:].tolist(), completions, strict=True):
        end = next((n for n, token in enumerate(row) if token in model.stop), None)
        theirs = row[:end]
        if theirs == ours.tokens:
            assert ours.finish == ("length" if end is None else "stop")
            same += 1
            continue
        at = next(
            (n for n, (a, b) in enumerate(zip(theirs, ours.tokens, strict=False)) if a != b),
            min(len(theirs), len(ours.tokens)),
        )
        scores = torch_logits(reference, [*prompt, *theirs[:at]])[-1]
        drawn = [
            made_by[at] if at < len(made_by) else model.stop[0] for made_by in (theirs, ours.tokens)
        ]
        assert abs(scores[drawn[0]] - scores[drawn[1]]) < 1e-3, (ours.key, at)
        assert max(scores) - scores[drawn[1]] < 1e-3
    assert same >= 18
    # The comparison covers answers that end by themselves and answers that are cut off.
    assert {c.finish for c in completions} == {"stop", "length"}
    assert sum(len(c.tokens) for c in completions) > 400


def test_export_and_import(
    model: LoadedModel,
    mesh: Any,
    prompts: list[list[int]],
    completions: list[Completion],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "exported"
    limit = 200_000_000
    save_folder(folder, model.config, model.params, model.folder, max_shard_bytes=limit)
    assert len(list(folder.glob("*.safetensors"))) > 1
    again = load_model(str(folder), mesh)
    assert (again.config, again.stop) == (model.config, model.stop)
    for name, value in model.params.items():
        assert np.array_equal(
            np.asarray(value).view(np.uint32), np.asarray(again.params[name]).view(np.uint32)
        ), name
    assert complete(again, mesh, prompts) == completions


def test_loss_and_gradient_of_a_finetuning_step(
    model: LoadedModel, reference: Any, mesh: Any
) -> None:
    import torch

    template = ChatTemplate(model.tokenizer, model.stop)
    data = [
        template.tokenise(Conversation(tuple(Message(r, c) for r, c in turns)), "here")
        for turns in CONVERSATIONS
    ]
    count = sum(int(d.loss[1:].sum()) for d in data)
    # The conversations share one row and one is accumulated.
    plan = plan_step(
        [len(d.tokens) for d in data], [0, 1, 2], row_tokens=128, microbatch_tokens=128, shards=1
    )
    assert len(plan) > 1 and max(len(row) for b in plan for row in b.rows) > 1
    optimiser = make_optimiser(OptimiserSettings(), 1e-5, 10, model.config)
    step = make_step(model.config, ComputeSettings(), optimiser, mesh)
    gradients, loss = step.zeros()
    for batch in plan:
        arrays = step.place(pack_arrays(batch, data, 1 / count, 1))
        gradients, loss = step.accumulate(gradients, loss, model.params, arrays)

    total = torch.zeros(())
    for turns in CONVERSATIONS:
        # Tokens and labels of its own, without our template code: the text behind each
        # "assistant" header up to the end of the turn.
        text = model.tokenizer.apply_chat_template(
            [{"role": r, "content": c} for r, c in turns], tokenize=False
        )
        encoded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        tokens = torch.tensor(encoded["input_ids"])
        labels = torch.full_like(tokens, -100)
        header, at = "<|im_start|>assistant\n", 0
        while (found := text.find(header, at)) >= 0:
            begin = found + len(header)
            at = text.index("<|im_end|>", begin) + len("<|im_end|>")
            for i, (start, end) in enumerate(encoded["offset_mapping"]):
                if begin <= start and end <= at:
                    labels[i] = tokens[i]
        scores = reference(tokens[None]).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(
            scores, labels[1:], ignore_index=-100, reduction="sum"
        )
    mean = total / count
    mean.backward()
    theirs = {name: p.grad.numpy() for name, p in reference.named_parameters()}

    assert float(loss) == pytest.approx(mean.item(), abs=1e-3)
    norm = np.sqrt(sum(float(np.vdot(g, g)) for g in theirs.values()))
    ours = np.sqrt(sum(float(np.vdot(g, g)) for g in map(np.asarray, gradients.values())))
    assert norm > 0.1 and ours == pytest.approx(norm, rel=1e-3)
    for w in weight_table(model.config):
        parts = np.asarray(gradients[w.name])
        for name, part in zip(
            w.hf_names(model.config), parts if w.stacked else parts[None], strict=True
        ):
            error = np.linalg.norm(w.to_hf(part, model.config) - theirs[name])
            assert error <= 1e-3 * np.linalg.norm(theirs[name]), name
