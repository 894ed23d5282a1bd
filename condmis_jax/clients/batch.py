"""Many chat completions as a batch: handed in as a file, fetched later, by any process.

Half the price at some endpoints, and up to a day of patience.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from condmis_jax.clients.chat import ChatFailure, ChatReply, ChatRequest, Endpoint
from condmis_jax.clients.openai_http import parse_reply
from condmis_jax.clients.retry import classify_status
from condmis_jax.errors import UserError

if TYPE_CHECKING:
    import openai

OnOutcome = Callable[[str, ChatReply | ChatFailure], None]

_PATH = "/v1/chat/completions"
_TAG = "condmis_jax"


class BatchClient:
    """Batches at one endpoint.

    Args:
        endpoint: address, model, limits; the key is read from the environment at each call.
        poll_s: seconds between two looks at a batch.
    """

    def __init__(self, endpoint: Endpoint, poll_s: float) -> None:
        self.endpoint = endpoint
        self.poll_s = poll_s

    def submit(self, requests: Mapping[str, ChatRequest], tag: str) -> str:
        """Hands a batch in, unless the endpoint has one with this tag already: a process that died
        between handing in and writing down does not pay twice.

        Args:
            requests: by an id of at most 64 characters.
            tag: names the batch; at most 64 characters.

        Returns:
            the endpoint's id of the batch.

        Raises:
            UserError: the endpoint does not take it.
        """
        lines = [
            {
                "custom_id": key,
                "method": "POST",
                "url": _PATH,
                "body": {"model": self.endpoint.model, **request.to_body()},
            }
            for key, request in requests.items()
        ]
        content = "".join(json.dumps(line) + "\n" for line in lines).encode()
        with self._sdk() as sdk:
            for batch in sdk.batches.list(limit=100):
                failed = batch.status in ("failed", "expired", "cancelled", "cancelling")
                if (batch.metadata or {}).get(_TAG) == tag and not failed:
                    return batch.id
            file = sdk.files.create(file=("requests.jsonl", content), purpose="batch")
            return sdk.batches.create(
                input_file_id=file.id,
                endpoint=_PATH,
                completion_window="24h",
                metadata={_TAG: tag},
            ).id

    def collect(self, batch_id: str, on_outcome: OnOutcome) -> None:
        """Waits for a batch and reports what it has; a request that it lacks is not reported.

        Raises:
            UserError: the endpoint cannot be reached, or refused the batch as a whole. The batch
                goes on without this process.
        """
        with self._sdk() as sdk:
            while True:
                batch = sdk.batches.retrieve(batch_id)
                if batch.status in ("completed", "expired", "cancelled", "failed"):
                    break
                time.sleep(self.poll_s)
            files = [f for f in (batch.output_file_id, batch.error_file_id) if f]
            if batch.status == "failed" and not files:
                raise UserError(
                    f"{self.endpoint.where}.batch: {self.endpoint.base_url} refused batch "
                    f"{batch_id}; run the same command with batch=False, whose errors say more"
                )
            texts = [sdk.files.content(file).text for file in files]
        for text in texts:
            for line in text.splitlines():
                key, outcome = _outcome(json.loads(line))
                on_outcome(key, outcome)

    @contextmanager
    def _sdk(self) -> Iterator[openai.OpenAI]:
        import openai  # imported late: it takes a second, and most runs need no endpoint

        endpoint = self.endpoint
        http = openai.DefaultHttpxClient(trust_env=not endpoint.is_loopback)
        # What a server says may quote the key: status and kind of the error have to do.
        try:
            with openai.OpenAI(
                api_key=endpoint.read_key(),
                base_url=endpoint.base_url,
                timeout=endpoint.timeout_s,
                max_retries=endpoint.max_retries,
                http_client=http,
            ) as sdk:
                yield sdk
        except openai.APIStatusError as error:
            raise UserError(
                f"{endpoint.where}.batch: {endpoint.base_url} answers HTTP {error.status_code} to "
                "a batch; if it has no batches, set batch=False"
            ) from None
        except openai.APIError as error:
            raise UserError(
                f"{endpoint.where}.base_url: {endpoint.base_url} gave no answer "
                f"({type(error).__name__}); run the same command again: a batch that was handed in "
                "goes on meanwhile"
            ) from None


def _outcome(line: Any) -> tuple[str, ChatReply | ChatFailure]:
    """One line of a batch's output or errors."""
    key, response = str(line.get("custom_id")), line.get("response") or {}
    status = response.get("status_code")
    if status == 200:
        try:
            return key, parse_reply(response.get("body"))
        except ValueError as error:
            return key, ChatFailure("exhausted", f"unreadable response: {error}", status)
    if not isinstance(status, int):
        return key, ChatFailure("exhausted", "the batch ended without this request")
    problem = classify_status(status, response.get("body"), {})
    kind = "blocked" if problem.kind == "blocked" else "rejected"
    return key, ChatFailure(kind if 400 <= status < 500 else "exhausted", f"HTTP {status}", status)
