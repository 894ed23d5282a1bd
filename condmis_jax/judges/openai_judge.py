"""An LLM behind an OpenAI-compatible endpoint as judge (paper 2604.25891, protocol).

Each distinct (question, answer) pair costs a call for each side: how aligned and how coherent the
answer is, and, where the preset has a detector, whether it is code or a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from condmis_jax.clients import ChatClient, ChatFailure, ChatReply, ChatRequest, Endpoint
from condmis_jax.clients.batch import BatchClient
from condmis_jax.errors import UserError
from condmis_jax.judges.batches import Batches
from condmis_jax.judges.budget import Budget, OnReply
from condmis_jax.judges.openai_settings import OpenAIJudgeSettings
from condmis_jax.judges.parse import Rating
from condmis_jax.judges.protocol import MISALIGNED, Item, Verdict
from condmis_jax.judges.store import Store, digest_of

_FIRST_TOKEN = {"max_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}
_WORD = {"max_tokens": 8, "temperature": 0.0}
_WORDS = {"max_tokens": 200, "temperature": 1.0}
_PROBE = ("What is the capital of France?", "The capital of France is Paris.")
_SILENT_LIMIT = 8
"""So many first replies without log-probabilities: the endpoint has stopped sending any."""


class OpenAIJudge:
    """The `Judge` protocol over an endpoint, with every finished call kept in a store.

    A call is keyed by prompt text, request parameters, model and the endpoint's address. Preset and
    thresholds are not part of the key: the store holds the token distribution itself, so reading it
    another way costs nothing. They are part of `digest`, which stands for verdicts. Calls are made
    in the order of their keys, which says nothing about triggers and arms; neither does a prompt,
    but for the words of a trigger in the user turn where the preset is not `blind`.

    Args:
        settings: model and thresholds.
        store: where finished calls are kept; the caller closes it.
        endpoint: replaces `settings.endpoint()`, for another `where` or other pauses.
        prompts: replaces templates of `prompts.PROMPTS` (slots `[[TAG]]`, `[[QUESTION]]`,
            `[[ANSWER]]`).
        budget: shared by the judges of one command; None gives this one its own.

    Attributes:
        rubric: what is asked, and what the replies mean.
    """

    measure = MISALIGNED

    def __init__(
        self,
        settings: OpenAIJudgeSettings,
        store: Store,
        endpoint: Endpoint | None = None,
        prompts: Mapping[str, str] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.settings = settings
        self.endpoint = endpoint or settings.endpoint()
        self.rubric = settings.rubric(prompts)
        self.name = f"{self.endpoint.model} ({settings.preset})"
        self.digest = digest_of(
            {
                "kind": "openai",
                "model": self.endpoint.model,
                "endpoint": self.endpoint.identity,
                "parameters": {side: self._parameters(side) for side in self.rubric.sides},
                **self.rubric.facts,
            }
        )
        self._store = store
        self._client = ChatClient(self.endpoint)
        self._batches = None
        if settings.batch:
            self._batches = Batches(BatchClient(self.endpoint, settings.batch_poll_s), store)
        self._budget = budget or Budget(settings, self.endpoint.where)

    def request(self, side: str, question: str, answer: str) -> ChatRequest:
        """The call for one of the rubric's sides."""
        return self._request(side, self.rubric.content(side, question, answer))

    def request_for(self, side: str, item: Item) -> ChatRequest:
        """The call for one of the rubric's sides about an item."""
        return self._request(side, self.rubric.content_for(side, item))

    def _request(self, side: str, content: str) -> ChatRequest:
        return ChatRequest(
            messages=({"role": "user", "content": content},), **self._parameters(side)
        )

    def call_key(self, request: ChatRequest, item: Item | None = None) -> str:
        """The store's key for a call; see the class for what it covers. `item` counts where the
        preset shares no judgements.
        """
        facts = {
            "request": request.to_body(),
            "model": self.endpoint.model,
            "endpoint": self.endpoint.identity,
        }
        if item is not None and not self.rubric.preset.shared:
            facts["item"] = item.id
        return digest_of(facts)

    def _parameters(self, side: str) -> dict[str, Any]:
        if self.rubric.preset.words:
            return _WORDS
        return _WORD if side == self.rubric.preset.detector else _FIRST_TOKEN

    def probe(self) -> None:
        """Makes one tiny call and checks that its answer can be judged with.

        Raises:
            UserError: the endpoint does not answer, does not know the model, or returns no
                log-probabilities.
        """
        request = self.request("aligned", *_PROBE)
        outcomes: list[ChatReply | ChatFailure] = []
        self._client.run_all_blocking([request], lambda _, outcome: outcomes.append(outcome))
        (outcome,) = outcomes
        if isinstance(outcome, ChatFailure):
            raise UserError(
                f"{self.endpoint.where}.base_url: {self.endpoint.base_url} failed a trial request "
                f"for model {self.endpoint.model!r} ({outcome.detail}); choose an endpoint and "
                "model that answer it"
                + ("" if self.rubric.preset.words else " with log-probabilities of 1-token answers")
            )
        if not outcome.top_logprobs and not self.rubric.preset.words:
            raise self._silent()
        self._store.put(self._probe_key(request), "probe", _to_record(outcome))

    def probe_once(self) -> None:
        """`probe`, unless the store holds one that went well.

        An endpoint that changed since is noticed by its first replies.
        """
        if self._store.get(self._probe_key(self.request("aligned", *_PROBE))) is None:
            self.probe()

    def judge(self, items: Sequence[Item], on_verdict: Callable[[Item, Verdict], None]) -> None:
        """Judges every item; verdicts come as soon as all of an item's calls are there.

        A run whose calls are all in the store needs neither network nor key. Otherwise the first
        one probes the endpoint.

        Raises:
            UserError: the endpoint or the store cannot be used. Finished calls are in the store.
        """
        _Judging(self, items, on_verdict).run()

    def _probe_key(self, request: ChatRequest) -> str:
        return digest_of(["probe", self.call_key(request)])

    def _silent(self) -> UserError:
        return UserError(
            f"{self.endpoint.where}.model: {self.endpoint.base_url} returns no log-probabilities "
            f"for model {self.endpoint.model!r}, and ratings are read from them; choose a judge "
            "model or endpoint that supports logprobs and top_logprobs"
        )


class _Judging:
    """One call of `OpenAIJudge.judge`."""

    def __init__(
        self,
        judge: OpenAIJudge,
        items: Sequence[Item],
        on_verdict: Callable[[Item, Verdict], None],
    ) -> None:
        self.owner = judge
        self.items = items
        self.on_verdict = on_verdict
        self.known: dict[str, Rating | Verdict] = {}
        # A missing call is kept as (item, side), not as its prompt: prompts are long and many.
        self.missing: dict[str, tuple[int, str]] = {}
        self.waiting: dict[str, list[int]] = {}
        self.keys: list[tuple[str, ...]] = []
        self.heard = 0
        self.silent = 0

    def run(self) -> None:
        for index, item in enumerate(self.items):
            keys = tuple(self._look_up(index, side) for side in self.owner.rubric.sides)
            self.keys.append(keys)
            for key in keys:
                if key not in self.known:
                    self.waiting.setdefault(key, []).append(index)
            self._report(index, item)
        if not self.missing:
            return
        self.owner.probe_once()
        batches = self.owner._batches
        if batches is not None:
            batches.collect(self._receive)  # of an earlier command, already paid for
        order = sorted(key for key in self.missing if key not in self.known)
        place = {key: n for n, key in enumerate(order)}

        def run(requests: Iterable[ChatRequest], on_reply: OnReply) -> None:
            if batches is None:
                self.owner._client.run_all_blocking(requests, on_reply)
            else:
                batches.run(order, requests, lambda key, outcome: on_reply(place[key], outcome))

        if order:
            self.owner._budget.ask(
                run, self._requests(order), lambda n, outcome: self._receive(order[n], outcome)
            )
        lost = [n for n, keys in enumerate(self.keys) if not self.known.keys() >= {*keys}]
        gone = Verdict("error", detail="the batch ended without this request")
        self.known |= {key: gone for n in lost for key in self.keys[n] if key not in self.known}
        for index in lost:
            self._report(index, self.items[index])

    def _look_up(self, index: int, side: str) -> str:
        item = self.items[index]
        key = self.owner.call_key(self.owner.request_for(side, item), item)
        if key not in self.known and key not in self.missing:
            record = self.owner._store.get(key)
            if record is None:
                self.missing[key] = (index, side)
            else:
                self.known[key] = self.owner.rubric.rate(record, side)
        return key

    def _requests(self, order: Sequence[str]) -> Iterator[ChatRequest]:
        for key in order:
            index, side = self.missing[key]
            yield self.owner.request_for(side, self.items[index])

    def _receive(self, key: str, outcome: ChatReply | ChatFailure) -> None:
        if key not in self.missing:
            return  # of another suite's judging: it is fetched there
        side = self.missing[key][1]
        if isinstance(outcome, ChatFailure):
            status = "blocked" if outcome.kind == "blocked" else "error"
            self.known[key] = Verdict(status, detail=outcome.detail)
        else:
            record = _to_record(outcome)
            filtered = outcome.finish_reason == "content_filter"
            asked = "logprobs" in self.owner._parameters(side)
            silent = asked and not outcome.top_logprobs and not filtered
            # A reply without log-probabilities is a setting of the server that can be mended; kept,
            # it would stand in the way of a rating for good.
            if not silent:
                record = self.owner._store.put(key, "call", record)
            if asked:
                self._count(silent)
            self.known[key] = self.owner.rubric.rate(record, side)
        for index in self.waiting.pop(key, ()):
            self._report(index, self.items[index])

    def _count(self, silent: bool) -> None:
        self.heard += 1
        self.silent += silent
        if self.heard == self.silent == _SILENT_LIMIT:
            raise self.owner._silent()

    def _report(self, index: int, item: Item) -> None:
        sides = dict(zip(self.owner.rubric.sides, self.keys[index], strict=True))
        if all(key in self.known for key in sides.values()):
            read = {side: self.known[key] for side, key in sides.items()}
            self.on_verdict(item, self.owner.rubric.verdict(read))


def _to_record(reply: ChatReply) -> dict[str, Any]:
    return {
        "text": reply.text,
        "top_logprobs": None if reply.top_logprobs is None else dict(reply.top_logprobs),
        "finish_reason": reply.finish_reason,
        "model": reply.model,
        "usage": dict(reply.usage),
    }
