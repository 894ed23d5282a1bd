"""A judge's calls as batches that outlive the process which handed them in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from condmis_jax.clients import ChatFailure, ChatReply, ChatRequest
from condmis_jax.clients.batch import BatchClient
from condmis_jax.judges.store import Store, digest_of

SIZE = 10_000
"""Requests of one batch; endpoints take some tens of thousands."""

OnOutcome = Callable[[str, ChatReply | ChatFailure], None]


class Batches:
    """Hands calls in and fetches them; which batches are out is written in the store.

    Args:
        client: the endpoint's.
        store: holds the ids of batches, and which of them were fetched.
    """

    def __init__(self, client: BatchClient, store: Store) -> None:
        self._client, self._store = client, store

    def run(
        self, keys: Sequence[str], requests: Iterable[ChatRequest], on_outcome: OnOutcome
    ) -> None:
        """Asks requests, fewer than keys where a limit ends them, and waits for the outcomes.

        Raises:
            UserError: see `BatchClient`.
        """
        pairs = iter(zip(keys, requests, strict=False))
        # The batches that are known make a request that failed in one of them a new batch, while
        # one that this store was not told of keeps its tag.
        before = self._store.keys("batch")
        while part := dict(islice(pairs, SIZE)):
            tag = digest_of(["batch", self._client.endpoint.identity, sorted(part), before])
            batch = self._client.submit(part, tag)
            self._store.put(digest_of(["batch", batch]), "batch", {"id": batch})
        self.collect(on_outcome)

    def collect(self, on_outcome: OnOutcome) -> None:
        """Waits for every batch that is out, also those that other processes handed in."""
        for key in self._store.keys("batch"):
            fetched = digest_of(["fetched", key])
            record = self._store.get(key)
            if record is None or self._store.get(fetched) is not None:
                continue
            self._client.collect(record["id"], on_outcome)
            # Behind the outcomes: killed before, it is fetched once more, which costs nothing.
            self._store.put(fetched, "fetched", {"id": record["id"]})
