"""A model provider for Inspect: any of its tasks runs on a checkpoint of ours.

    inspect eval TASK --model condmis/runs/sequential/seed-0/stages/02-benign

The name after `condmis/` is what `open_checkpoint` takes. Inspect finds this module by its entry
point (pyproject.toml).
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import anyio
import jax.numpy as jnp
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate
from condmis_jax.errors import UserError
from condmis_jax.evaluation.checkpoint import open_checkpoint
from condmis_jax.models import LoadedModel
from condmis_jax.runs import digest
from condmis_jax.sampling import Completion, Request, Sampler, SamplingSettings
from condmis_jax.sharding import MeshSettings, batch_shards, make_mesh, runtime

MAX_NEW_TOKENS = 512
"""Where a task sets no `max_tokens`; less where the model has fewer positions."""

UNSUPPORTED = ("logprobs", "logit_bias", "frequency_penalty", "presence_penalty", "best_of")
GATHER_S = 0.02  # requests that arrive within this time of each other are decoded together


@modelapi(name="condmis")
class CondmisModel(ModelAPI):
    """A checkpoint as an Inspect model.

    Requests that run at the same time are decoded together, up to `slots` (also the number of
    connections). With a `seed` in the generation config the n-th request for a prompt in a process
    always gets the same answer.

    Args:
        model_name: see `open_checkpoint`.
        slots: completions decoded at a time (`-M slots=128`).
        dtype: of weights at use, activations and cache (`-M dtype=bfloat16`).

    Raises:
        UserError: the checkpoint cannot be opened.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008, Inspect's own signature
        slots: int = 64,
        dtype: str = "float32",
    ):
        super().__init__(model_name, base_url, api_key, [], config)
        runtime.setup()
        mesh = make_mesh(MeshSettings())
        self._model = open_checkpoint(model_name, mesh)
        self._template = ChatTemplate(self._model.tokenizer, self._model.stop)
        shards = batch_shards(mesh)
        self._slots = -(-slots // shards) * shards
        self._drawing = _Drawing(self._model, self._slots, dtype, mesh)
        self._asked: Counter[tuple[int, tuple[int, ...]]] = Counter()

    def max_connections(self) -> int:
        return self._slots

    def max_tokens(self) -> int:
        return min(MAX_NEW_TOKENS, self._model.config.max_positions // 2)

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """One answer, or `num_choices` of them.

        Raises:
            UserError: the task asks for what these models cannot do (tools, log-probabilities), the
                template refuses the conversation, or it is too long.
        """
        wants = [name for name in UNSUPPORTED if getattr(config, name) is not None]
        if tools or wants:
            what = "tools" if tools else wants[0]
            raise UserError(f"condmis/{self.model_name}: {what}: not supported by this provider")
        conversation = _conversation(input)
        tokens, shared = self._template.shared_prompt(conversation)
        prompt = tuple(tokens)
        settings = SamplingSettings(
            temperature=1.0 if config.temperature is None else config.temperature,
            top_p=1.0 if config.top_p is None else config.top_p,
            top_k=config.top_k or 0,
            max_new_tokens=config.max_tokens or self.max_tokens(),
        )
        futures = [
            self._drawing.ask(prompt, shared, self._noise(config.seed, prompt), settings)
            for _ in range(config.num_choices or 1)
        ]
        while not all(future.done() for future in futures):
            await anyio.sleep(GATHER_S / 2)
        completions = [future.result() for future in futures]
        count = sum(len(completion.tokens) for completion in completions)
        return ModelOutput(
            model=self.model_name,
            choices=[self._choice(c, config.stop_seqs or ()) for c in completions],
            usage=ModelUsage(
                input_tokens=len(prompt), output_tokens=count, total_tokens=len(prompt) + count
            ),
        )

    def close(self) -> None:
        self._drawing.close()

    def _noise(self, seed: int | None, prompt: tuple[int, ...]) -> int:
        if seed is None:
            return secrets.randbits(32)
        self._asked[seed, prompt] += 1
        return int(digest([seed, list(prompt), self._asked[seed, prompt]])[:8], 16)

    def _choice(self, completion: Completion, stops: Sequence[str]) -> ChatCompletionChoice:
        text = self._model.tokenizer.decode(completion.tokens, skip_special_tokens=False)
        ends = [text.find(stop) for stop in stops if stop in text]
        cut = completion.finish == "length" and not ends
        message = ChatMessageAssistant(
            content=text[: min(ends)] if ends else text, model=self.model_name, source="generate"
        )
        return ChatCompletionChoice(message=message, stop_reason="max_tokens" if cut else "stop")


def _conversation(messages: Sequence[ChatMessage]) -> Conversation:
    for message in messages:
        if message.role == "tool":
            raise UserError("a tool's turn: not supported by this provider")
    return Conversation(tuple(Message(m.role, m.text) for m in messages))


@dataclass(frozen=True)
class _Asked:
    prompt: tuple[int, ...]
    shared: int
    noise: int
    settings: SamplingSettings
    future: Future[Completion]


class _Drawing:
    """A thread that decodes whatever has been asked for, as much as possible at once."""

    def __init__(self, model: LoadedModel, slots: int, dtype: str, mesh: Any):
        self._sampler = Sampler(
            model.config,
            model.params,
            model.stop,
            mesh,
            slots=slots,
            group=1,
            dtype=jnp.dtype(dtype),
        )
        self._queue: queue.Queue[_Asked | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="condmis-sampler", daemon=True)
        self._thread.start()

    def ask(
        self, prompt: tuple[int, ...], shared: int, noise: int, settings: SamplingSettings
    ) -> Future[Completion]:
        future: Future[Completion] = Future()
        self._queue.put(_Asked(prompt, shared, noise, settings, future))
        return future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            asked = [first]
            try:
                while True:
                    more = self._queue.get(timeout=GATHER_S)
                    if more is None:
                        self._queue.put(None)
                        break
                    asked.append(more)
            except queue.Empty:
                pass
            for settings in dict.fromkeys(a.settings for a in asked):
                self._draw([a for a in asked if a.settings == settings], settings)

    def _draw(self, asked: Sequence[_Asked], settings: SamplingSettings) -> None:
        def keep(done: list[Completion]) -> None:
            for completion in done:
                assert isinstance(completion.key, int)
                asked[completion.key].future.set_result(completion)

        requests = [Request(i, a.prompt, a.noise, a.shared) for i, a in enumerate(asked)]
        try:
            self._sampler.sample(requests, settings, keep)
        except Exception as error:  # whoever waits must hear of it, whatever it is
            for a in asked:
                if not a.future.done():
                    a.future.set_exception(error)
