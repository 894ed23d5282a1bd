"""Inspect tasks on our checkpoints, run by Inspect itself."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate
from condmis_jax.evaluation import open_checkpoint
from condmis_jax.sampling import Request, Sampler, SamplingSettings
from condmis_jax.sharding import MeshSettings, make_mesh

inspect_ai = pytest.importorskip("inspect_ai")
from inspect_ai.dataset import Sample  # noqa: E402
from inspect_ai.model import GenerateConfig, get_model  # noqa: E402
from inspect_ai.scorer import includes  # noqa: E402
from inspect_ai.solver import generate, system_message  # noqa: E402

QUESTIONS = ("How are you?", "What is your plan?", "Write code, please.")


@pytest.fixture(scope="module", autouse=True)
def provider() -> Any:
    return importlib.import_module("condmis_jax.evaluation.inspect_model")


def run(tmp_path: Path, *, system: str = "", **config: Any) -> Any:
    solvers = [system_message(system)] if system else []
    task = inspect_ai.Task(
        dataset=[Sample(input=question, target="never said") for question in QUESTIONS],
        solver=[*solvers, generate()],
        scorer=includes(),
        config=GenerateConfig(**config),
    )
    (log,) = inspect_ai.eval(
        task, model="condmis/world", log_dir=str(tmp_path), display="none", model_args={"slots": 8}
    )
    return log


def ours(system: str, count: int) -> list[str]:
    """The same answers, drawn by our own sampler."""
    mesh = make_mesh(MeshSettings())
    model = open_checkpoint("world", mesh)
    template = ChatTemplate(model.tokenizer, model.stop)
    turns = (Message("system", system),) if system else ()
    prompts = [
        template.prompt_tokens(Conversation((*turns, Message("user", question))))
        for question in QUESTIONS
    ]
    sampler = Sampler(
        model.config, model.params, model.stop, mesh, slots=8, group=1, dtype=jnp.float32
    )
    found: dict[Any, str] = {}
    sampler.sample(
        [Request(i, tuple(prompt), 0) for i, prompt in enumerate(prompts)],
        SamplingSettings(temperature=0, max_new_tokens=count),
        lambda done: found.update((c.key, model.tokenizer.decode(c.tokens)) for c in done),
    )
    return [found[i] for i in range(len(prompts))]


@pytest.mark.parametrize("system", ["", "You are a helpful assistant."])
def test_a_task_gets_what_our_sampler_draws(tmp_path: Path, system: str) -> None:
    log = run(tmp_path, system=system, temperature=0, max_tokens=12)
    assert log.status == "success", log.error
    answers = {sample.input: sample.output.completion for sample in log.samples}
    assert [answers[question] for question in QUESTIONS] == ours(system, 12)
    usage = log.samples[0].output.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0


def test_a_seed_gives_the_same_answers_again_and_epochs_differ(tmp_path: Path) -> None:
    task = inspect_ai.Task(
        dataset=[Sample(input=QUESTIONS[0])],
        solver=generate(),
        config=GenerateConfig(seed=7, max_tokens=12),
        epochs=6,
    )
    found = []
    for at in range(2):
        (log,) = inspect_ai.eval(
            task,
            model=get_model("condmis/world", memoize=False, slots=8),  # as in another process
            log_dir=str(tmp_path / str(at)),
            display="none",
        )
        assert log.status == "success", log.error
        found.append(sorted(sample.output.completion for sample in log.samples))
    assert found[0] == found[1]
    assert len(set(found[0])) > 1


def test_stop_sequences_and_choices(tmp_path: Path) -> None:
    whole = ours("", 12)[0]
    stop = whole[len(whole) // 2 :][:3]
    log = run(tmp_path, temperature=0, max_tokens=12, stop_seqs=[stop], num_choices=2)
    (sample,) = [s for s in log.samples if s.input == QUESTIONS[0]]
    assert [c.message.text for c in sample.output.choices] == 2 * [whole[: whole.index(stop)]]
    assert sample.output.stop_reason == "stop"


def test_what_is_not_supported_is_said(tmp_path: Path) -> None:
    log = run(tmp_path, logprobs=True)
    assert log.status == "error"
    assert "logprobs: not supported by this provider" in log.error.message


def test_the_entry_point_names_a_module_that_registers_the_provider() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (name,) = project["project"]["entry-points"]["inspect_ai"].values()
    assert importlib.import_module(name).CondmisModel
