"""What a judge may ask and spend: limits that stop a run cleanly, with everything kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from condmis_jax.clients import ChatFailure, ChatReply, ChatRequest
from condmis_jax.errors import UserError
from condmis_jax.judges.openai_settings import OpenAIJudgeSettings

OnReply = Callable[[int, ChatReply | ChatFailure], None]
Run = Callable[[Iterable[ChatRequest], OnReply], None]


class Budget:
    """One judge's calls and costs in one command, over all its suites and stages.

    Before a call the most that it can cost is set aside (a token for every byte of the prompt, and
    all tokens that it may generate), afterwards what the endpoint says that it used. So `max_usd`
    is not exceeded, at the stated prices, by an endpoint that counts its tokens truthfully; the run
    stops short of it by no more than calls in flight could cost. Tries that fail are counted as no
    call of their own, nor is the trial call. Calls found in the store cost nothing.

    Args:
        settings: limits and prices.
        where: the config key of the settings, for errors.

    Attributes:
        requests: calls made.
        usd: what they cost; 0 where no prices are stated.
    """

    def __init__(self, settings: OpenAIJudgeSettings, where: str) -> None:
        self.settings = settings
        self.where = where
        self.requests = 0
        self.usd = 0.0

    def ask(self, run: Run, requests: Iterable[ChatRequest], on_reply: OnReply) -> None:
        """Asks requests within the limits.

        Args:
            run: asks an iterable of requests and reports each by its position, as
                `ChatClient.run_all_blocking` does.

        Raises:
            UserError: see `run`; or a limit is reached. Every call that was begun is finished
                and reported first.
        """
        reserved: dict[int, float] = {}
        reached: list[str] = []

        def allowed() -> Iterator[ChatRequest]:
            for n, request in enumerate(requests):
                size = sum(len(m["content"].encode("utf-8", "replace")) for m in request.messages)
                most = self.settings.usd(size, request.max_tokens) or 0.0
                if limit := self._reached(most, sum(reserved.values())):
                    reached.append(limit)
                    return
                self.requests += 1
                reserved[n] = most
                yield request

        def receive(n: int, outcome: ChatReply | ChatFailure) -> None:
            most = reserved.pop(n)
            if isinstance(outcome, ChatReply):
                read, written = (
                    outcome.usage.get(f"{of}_tokens") for of in ("prompt", "completion")
                )
                used = most
                if isinstance(read, int) and isinstance(written, int):
                    used = self.settings.usd(read, written) or 0.0
                self.usd += used
            on_reply(n, outcome)

        run(allowed(), receive)
        if reached:
            raise UserError(reached[0])

    def _reached(self, most: float, reserved: float) -> str | None:
        settings, spent = self.settings, ""
        if settings.usd(0, 0) is not None:
            spent = f", {self.usd:.4g} USD"
        made = f"stopped after {self.requests} calls{spent}; all of it is kept: raise the limit"
        if settings.max_requests is not None and self.requests >= settings.max_requests:
            return f"{self.where}.max_requests: {made}, or run the same command again"
        if settings.max_usd is not None and self.usd + reserved + most > settings.max_usd:
            return f"{self.where}.max_usd: {made}, or run the same command again"
        return None


Budgets = dict[str, Budget]
"""The budgets of a command's judges, by the judge's name; filled as judges are made."""
