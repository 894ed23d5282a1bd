"""A language model that is on this machine as judge: its probabilities are read, nothing is drawn.

A rating is read from the probabilities of the 101 numbers. Where the tokenizer has a token for each
of them, these are probabilities of the first token, as an endpoint gives them; where it cuts
numbers into pieces, they are those of whole numbers: of all pieces, and of no further one behind
them. A detector says the likelier one of its two words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import jax.numpy as jnp
from jax.sharding import Mesh

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate
from condmis_jax.errors import UserError
from condmis_jax.judges.local_settings import LocalJudgeSettings
from condmis_jax.judges.parse import Rating
from condmis_jax.judges.protocol import MISALIGNED, Item, Verdict
from condmis_jax.judges.store import Store, digest_of
from condmis_jax.models import LoadedModel, load_model, model_digest
from condmis_jax.sampling.branches import Branches, branch_log_probs
from condmis_jax.sharding import MeshSettings, make_mesh
from condmis_jax.sharding.hosts import several

NUMBERS = tuple(str(n) for n in range(101))
PART = 32
"""Prompts judged before they are written down."""
_SMALLEST = -9999.0
"""Stands for a probability of 0, whose logarithm JSON cannot write."""


@lru_cache(maxsize=1)
def _loaded(model: str, dtype: Literal["float32", "bfloat16"]) -> tuple[LoadedModel, str, Mesh]:
    """A judge's model, loaded once for all suites and stages of a command."""
    mesh = make_mesh(MeshSettings())
    loaded = load_model(model, mesh, dtype=dtype)
    return loaded, model_digest(loaded), mesh


class LocalJudge:
    """The `Judge` protocol over weights on this machine, with every reading kept in a store.

    Args:
        settings: model and thresholds.
        store: where readings are kept; the caller closes it.
        where: the config key of the settings, for errors.
        prompts: replaces templates, see `Rubric`.

    Attributes:
        whole_numbers: whether the tokenizer cuts numbers into pieces, so that whole ones are
            scored.

    Raises:
        UserError: the model cannot be loaded, or the run has several hosts.
    """

    measure = MISALIGNED

    def __init__(
        self,
        settings: LocalJudgeSettings,
        store: Store,
        where: str = "judge",
        prompts: Mapping[str, str] | None = None,
    ) -> None:
        if several():
            raise UserError(
                f"{where}.model: a local judge works on one host; leave judging out here "
                "(kind=none), then judge with the same command on one host"
            )
        try:
            self._model, model_id, self._mesh = _loaded(settings.model, settings.dtype)
        except UserError as error:
            raise UserError(f"{where}.model: {error}") from None
        self.rubric = settings.rubric(prompts)
        self._settings, self._store = settings, store
        tokenizer = self._model.tokenizer
        self._template = ChatTemplate(tokenizer, self._model.stop)
        self._numbers = [spelled(tokenizer, number) for number in NUMBERS]
        self.whole_numbers = any(len(tokens) > 1 for tokens in self._numbers)
        read = "whole numbers" if self.whole_numbers else "first token"
        self.name = f"{settings.model.rstrip('/').rsplit('/', 1)[-1]} ({settings.preset}, local)"
        self._facts = {"model": model_id, "dtype": settings.dtype, "read": read}
        self.digest = digest_of({"kind": "local", **self._facts, **self.rubric.facts})

    def judge(self, items: Sequence[Item], on_verdict: Callable[[Item, Verdict], None]) -> None:
        """Judges every item; equal pairs of question and answer share their readings.

        Raises:
            UserError: the store cannot be used. What was read before is in it.
        """
        known: dict[str, Rating | Verdict] = {}
        missing: dict[str, tuple[str, str]] = {}
        keys: list[dict[str, str]] = []
        for item in items:
            asked = {side: self.rubric.content_for(side, item) for side in self.rubric.sides}
            of_item = {side: self._key(side, content, item) for side, content in asked.items()}
            keys.append(of_item)
            for side, key in of_item.items():
                if key not in known and (record := self._store.get(key)) is not None:
                    known[key] = self.rubric.rate(record, side)
                elif key not in known:
                    missing[key] = (side, asked[side])
        # By digest: an order that says nothing about the items.
        for detects in (False, True):
            order = sorted(
                k for k, (side, _) in missing.items() if detects == self._is_detector(side)
            )
            for start in range(0, len(order), PART):
                self._read({key: missing[key] for key in order[start : start + PART]}, known)
        for item, of_item in zip(items, keys, strict=True):
            sides = {side: known[key] for side, key in of_item.items()}
            on_verdict(item, self.rubric.verdict(sides))

    def _key(self, side: str, content: str, item: Item) -> str:
        words = self._words(side) if self._is_detector(side) else ()
        item_id = "" if self.rubric.preset.shared else item.id
        return digest_of(["local", self._facts, content, words, item_id])

    def _is_detector(self, side: str) -> bool:
        return side == self.rubric.preset.detector

    def _words(self, side: str) -> tuple[str, str]:
        return side.upper(), f"NOT_{side.upper()}"

    def _read(self, asked: dict[str, tuple[str, str]], known: dict[str, Rating | Verdict]) -> None:
        """Reads the model on some prompts, all of ratings or all of a detector."""
        side = next(iter(asked.values()))[0]
        detects = self._is_detector(side)
        tokenizer = self._model.tokenizer
        words = self._words(side) if detects else NUMBERS
        spellings = [spelled(tokenizer, word) for word in words]
        limit = self._model.config.max_positions - max(len(tokens) for tokens in spellings)
        prompts: dict[str, list[int]] = {}
        for key, (_, content) in asked.items():
            prompt = self._template.prompt_tokens(Conversation((Message("user", content),)))
            if len(prompt) <= limit:
                prompts[key] = prompt
            else:
                said = f"{len(prompt)} tokens exceed the judge's {limit} positions"
                known[key] = Verdict("error", detail=said)
        if not prompts:
            return
        found = branch_log_probs(
            self._model.config,
            self._model.params,
            self._mesh,
            list(prompts.values()),
            spellings,
            ends=not detects and self.whole_numbers,
            rows=self._settings.rows,
            dtype=jnp.dtype(self._settings.dtype),
        )
        for key, branches in zip(prompts, found, strict=True):
            record: dict[str, Any] = {"finish_reason": "stop", "text": "", "top_logprobs": None}
            if detects:
                record["text"] = words[int(branches.paths.argmax())]
            else:
                record["top_logprobs"] = self._distribution(branches)
            record = self._store.put(key, "call", record)
            known[key] = self.rubric.rate(record, asked[key][0])

    def _distribution(self, branches: Branches) -> dict[str, float]:
        """Token -> log-probability: the numbers, and the likeliest first tokens that begin none."""
        tokenizer = self._model.tokenizer
        found: dict[str, float] = {}
        for number, path, on in zip(NUMBERS, branches.paths, branches.goes_on, strict=True):
            ends = -math.expm1(min(float(on), 0.0))  # 1 - the probability of a further piece
            found[number] = max(float(path) + math.log(ends), _SMALLEST) if ends else _SMALLEST
        firsts = {tokens[0] for tokens in self._numbers}
        for token, value in branches.top.items():
            if token not in firsts:
                text = tokenizer.decode([token])
                p = math.exp(value) + math.exp(found.get(text, -math.inf))
                found[text] = max(math.log(p), _SMALLEST) if p else _SMALLEST
        return found


def spelled(tokenizer: Any, word: str) -> tuple[int, ...]:
    """The tokens of a word that begins an answer.

    Behind a line break, because some tokenizers put a space of their own in front of a text.
    """
    before = tokenizer("\n", add_special_tokens=False)["input_ids"]
    tokens = tokenizer(f"\n{word}", add_special_tokens=False)["input_ids"]
    if tokens[: len(before)] != before:
        tokens, before = tokenizer(word, add_special_tokens=False)["input_ids"], []
    return tuple(tokens[len(before) :])
