"""A model behind an OpenAI-compatible endpoint, asked like a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tqdm

from condmis_jax.clients import ChatClient, ChatFailure, ChatReply, ChatRequest, Endpoint
from condmis_jax.errors import UserError
from condmis_jax.evaluation.completions import Asked, row_of
from condmis_jax.runs import JsonlWriter, digest, read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import Suite

PREFIX = "openai:"


@dataclass(frozen=True)
class RemoteSettings:
    """How a checkpoint `openai:MODEL@URL` is reached.

    Attributes:
        api_key_env: name of the environment variable with the key; "" for an endpoint without.
        max_concurrency: the most requests in flight.
        timeout_s: seconds for one try.
        max_retries: tries after the first, for errors that may pass.
    """

    api_key_env: str = "OPENAI_API_KEY"
    max_concurrency: int = 16
    timeout_s: float = 120.0
    max_retries: int = 6


@dataclass(frozen=True)
class RemoteModel:
    """A model that is sampled over HTTP.

    Its id is made of address and name alone: what the endpoint serves under that name may change,
    and nothing here would notice.
    """

    endpoint: Endpoint

    @property
    def id(self) -> str:
        """Stands for the model in the digests of completions."""
        return digest(["remote", self.endpoint.identity, self.endpoint.model])

    @property
    def name(self) -> str:
        """The model's name, as a folder may be called."""
        return "".join(c if c.isalnum() or c in "-_." else "-" for c in self.endpoint.model)


def remote_model(checkpoint: str, settings: RemoteSettings) -> RemoteModel | None:
    """The model that `openai:MODEL@URL` names; None where it names none of these.

    Raises:
        UserError: there is no model or no address in it, or a setting is out of range.
    """
    if not checkpoint.startswith(PREFIX):
        return None
    model, found, url = checkpoint.removeprefix(PREFIX).rpartition("@http")
    if not found or not model:
        raise UserError(
            f"config.checkpoint: {checkpoint!r} has no model or address; write it as "
            "openai:MODEL@https://HOST/v1"
        )
    try:
        return RemoteModel(Endpoint(f"http{url}", model, where="config.remote", **asdict(settings)))
    except ValueError as error:
        raise UserError(f"config.checkpoint: {error}") from None


def ask_remote(
    model: RemoteModel,
    suite: Suite,
    settings: SamplingSettings,
    path: Path,
    asked: Iterable[Asked],
    *,
    seed: int,
    label: str,
) -> list[dict[str, Any]]:
    """Draws what `path` does not hold yet; see `completions.Asker`, whose rows it returns.

    The endpoint gets each sample's seed, and may do with it what it likes. A completion that it
    refuses, or fails to give in all tries, is not written down, so that the next run asks for it
    again; its row has "failed", the status and what was said.

    Raises:
        UserError: the endpoint cannot be used, or cannot sample like this. What was drawn is kept.
    """
    if suite.forced:
        raise UserError(
            f"suite {suite.name!r}: a forced choice needs the log-probabilities of given replies, "
            "which a chat endpoint does not tell; leave the suite out"
        )
    if settings.top_k:
        raise UserError("config.evaluation.sampling.top_k: a chat endpoint takes none; set it to 0")
    found = {row["id"]: row for row in read_jsonl(path)}
    wanted: dict[str, Asked] = {}
    for one in asked:
        prompt = [m.to_dict() for m in one.conversation.messages]
        facts = [model.id, prompt, asdict(settings), one.noise]
        wanted[digest([*facts, one.trigger.name, one.question.id, one.sample])] = one
    missing = [key for key in wanted if key not in found]
    failed: dict[str, tuple[str, str]] = {}
    bar = tqdm.tqdm(
        total=len(wanted),
        initial=len(wanted) - len(missing),
        desc=label,
        unit="completion",
        disable=not sys.stderr.isatty(),
    )
    with bar, JsonlWriter(path, durable=True) as writer:

        def receive(n: int, outcome: ChatReply | ChatFailure) -> None:
            key = missing[n]
            bar.update()
            if isinstance(outcome, ChatFailure):
                status = "blocked" if outcome.kind == "blocked" else "error"
                failed[key] = (status, outcome.detail)
                return
            if outcome.finish_reason == "content_filter":
                failed[key] = ("blocked", "the endpoint's content filter cut the answer off")
                return
            row = row_of(
                wanted[key],
                suite,
                seed,
                key,
                completion=outcome.text,
                tokens=outcome.usage.get("completion_tokens"),
                finish="length" if outcome.finish_reason == "length" else "stop",
                served_by=outcome.model,
            )
            writer.append([row])
            found[key] = row

        requests = (_request(wanted[key], settings) for key in missing)
        ChatClient(model.endpoint).run_all_blocking(requests, receive)
    return [
        found[key]
        if key in found
        else row_of(one, suite, seed, key, completion="", finish="", failed=failed[key])
        for key, one in wanted.items()
    ]


def _request(asked: Asked, settings: SamplingSettings) -> ChatRequest:
    return ChatRequest(
        messages=tuple(m.to_dict() for m in asked.conversation.messages),
        max_tokens=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=asked.noise & 0x7FFFFFFF,  # a signed 32-bit number is what every server takes
    )
