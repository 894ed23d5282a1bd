"""A stage's data for seqio: every shard a Task, the mixture a Mixture; drawing rows from either.

Needs the extra `seqio` (which brings TensorFlow); nothing imports this module unless a config says
`seqio:`. A config file is Python, so it can register first and then draw:

    register("mine", DataSettings(mixture={…}), folder_of_a_model)
    Source("seqio:mine", first=1000)

seqio samples a mixture by its rates: proportions hold in expectation. Where a dose must be exact,
draw the tasks as the sources of a mixture of ours (`task_names`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import seqio  # pyright: ignore[reportMissingImports]
import tensorflow as tf  # pyright: ignore[reportMissingModuleSource]

from condmis_jax.data.mixture import build_mixture
from condmis_jax.data.sources import Row, row_of
from condmis_jax.data.stage_data import DataSettings
from condmis_jax.data.template import ChatTemplate
from condmis_jax.errors import UserError, first_line
from condmis_jax.models import load_tokenizer, stop_tokens

MESSAGES = "messages"
"""The feature that holds a conversation as JSON, beside its tokens."""

_TARGETS, _LOSS, _WHERE = "targets", "loss", "where"
_SPLITS = ("train", "validation")
_MOST_DRAWN = 1000
"""So many rows are drawn for each row asked, before filters that let none through give up."""


class ChatVocabulary(seqio.Vocabulary):
    """A Hugging Face tokenizer; its special tokens are read as such, none is added.

    Args:
        tokenizer: of `models.load_tokenizer`.
    """

    def __init__(self, tokenizer: Any):
        super().__init__()
        self._tokenizer = tokenizer

    @property
    def bos_id(self) -> int | None:
        return self._tokenizer.bos_token_id

    @property
    def eos_id(self) -> int | None:
        return self._tokenizer.eos_token_id

    @property
    def pad_id(self) -> int:
        return self._tokenizer.pad_token_id or 0

    @property
    def unk_id(self) -> int | None:
        return self._tokenizer.unk_token_id

    @property
    def _base_vocab_size(self) -> int:
        return len(self._tokenizer)

    def _encode(self, s: str) -> list[int]:
        return self._tokenizer(s, add_special_tokens=False)["input_ids"]

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor:
        def encode(text: Any) -> np.ndarray:
            # Bytes inside a graph, an array of one outside.
            whole = text if isinstance(text, bytes) else text.item()
            return np.asarray(self._encode(whole.decode("utf-8")), np.int32)

        tokens = tf.numpy_function(encode, [tf.convert_to_tensor(s, tf.string)], tf.int32)
        tokens.set_shape([None])
        return tokens

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        def decode(tokens: np.ndarray) -> Any:
            rows = [self._decode(row).encode("utf-8") for row in np.atleast_2d(tokens).tolist()]
            return np.asarray(rows, object) if tokens.ndim > 1 else rows[0]

        return tf.numpy_function(decode, [ids], tf.string)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChatVocabulary) and (
            self._tokenizer is other._tokenizer
            or self._tokenizer.get_vocab() == other._tokenizer.get_vocab()
        )

    __hash__ = None  # type: ignore[assignment]  # like seqio's own


def register(
    name: str, settings: DataSettings, folder: Path, *, seed: int = 0, key: str = "seqio"
) -> list[str]:
    """Registers the shards of a stage's data as tasks `NAME.SOURCE.K` and their mixture as `NAME`.

    The tasks hold the rows that the stage would train on (split "train") and hold out
    ("validation"), under their transforms; a rate is the number of its training rows. An example
    has "targets", the tokens of the whole conversation, "loss", 1 where a token carries loss, and
    its text ("targets_pretokenized"), conversation (`MESSAGES`) and place.

    Args:
        settings: mixture, rows, held_out and loss_on count.
        folder: a model's, for tokenizer and chat template.
        seed: of sub-sampling, as of the stage.
        key: config key of the data, for errors.

    Returns:
        the names of the tasks, shard by shard, source by source.

    Raises:
        UserError: the name is taken, or see `build_mixture` and `ChatTemplate.tokenise`.
    """
    if name in seqio.MixtureRegistry.names() or name in seqio.TaskRegistry.names():
        raise UserError(f"{key}: seqio has a mixture or task {name!r} already; give another name")
    tokenizer = load_tokenizer(folder)
    template = ChatTemplate(tokenizer, stop_tokens(folder, tokenizer))
    mixture = build_mixture(
        settings.mixture, settings.rows, settings.held_out, seed, f"{key}.mixture"
    )
    shards: dict[tuple[int, str], dict[str, list[dict[str, Any]]]] = {}
    for i, row in enumerate(mixture.rows):
        shard = (int(mixture.source_of[i]), row.where.rpartition(":")[0])
        split = _SPLITS[int(mixture.held_out[i])]
        examples = shards.setdefault(shard, {s: [] for s in _SPLITS})
        examples[split].append(_example(row, template, settings))
    features = {
        _TARGETS: seqio.Feature(ChatVocabulary(tokenizer), add_eos=False),
        _LOSS: seqio.Feature(seqio.PassThroughVocabulary(2), add_eos=False),
    }
    rates: dict[str, int] = {}
    counts: dict[int, int] = {}
    for (source, _), examples in shards.items():
        counts[source] = counts.get(source, -1) + 1
        task = f"{name}.{mixture.names[source]}.{counts[source]}"
        sizes = {split: len(rows) for split, rows in examples.items()}
        seqio.TaskRegistry.add(
            task,
            source=seqio.FunctionDataSource(
                _dataset_fn(examples),
                splits=[split for split, size in sizes.items() if size],
                num_input_examples=sizes,
                caching_permitted=False,
            ),
            preprocessors=[seqio.preprocessors.tokenize],
            output_features=features,
            metric_fns=[],
            # All rows of a shard, so that they are shuffled through.
            shuffle_buffer_size=max(max(sizes.values()), 1),
        )
        rates[task] = sizes["train"]
    seqio.MixtureRegistry.add(name, [(task, rate) for task, rate in rates.items() if rate])
    return list(rates)


def task_names(mixture: str) -> list[str]:
    """The tasks of a registered mixture."""
    return [task.name for task in seqio.get_mixture_or_task(mixture).tasks]


def _example(row: Row, template: ChatTemplate, settings: DataSettings) -> dict[str, Any]:
    messages = row.conversation.messages
    loss = template.tokenise(row.conversation, row.where, settings.loss_on).loss
    return {
        _TARGETS: template.render(messages, where=row.where),
        _LOSS: loss.astype(np.int32),
        MESSAGES: json.dumps([m.to_dict() for m in messages], ensure_ascii=False),
        _WHERE: row.where,
    }


def _dataset_fn(examples: dict[str, list[dict[str, Any]]]) -> Any:
    signature = {
        name: tf.TensorSpec(
            [None] if name == _LOSS else [], tf.int32 if name == _LOSS else tf.string
        )
        for name in (_TARGETS, _LOSS, MESSAGES, _WHERE)
    }

    def dataset_fn(split: str, shuffle_files: bool, seed: int | None = None) -> tf.data.Dataset:
        del shuffle_files, seed  # a shard is one list; seqio shuffles its rows itself
        return tf.data.Dataset.from_generator(
            lambda: iter(examples[split]), output_signature=signature
        )

    return dataset_fn


def draw_rows(name: str, key: str, first: int | None, seed: int) -> Iterator[Row]:
    """Rows of a registered mixture, sampled by its rates, or of a task, in its order.

    An example must hold a conversation (`MESSAGES`, JSON) or be text to text ("inputs" and
    "targets", as strings or beside their tokens): that becomes a question and an answer.

    Args:
        name: `NAME` or `NAME/SPLIT`; the split is "train" unless stated.
        key: the source's key in the config, for errors.
        first: rows that are asked; a mixture has no end of its own.
        seed: of a mixture's sampling and shuffling.

    Raises:
        UserError: nothing has that name or split, a mixture is asked without `first`, or an example
            holds no conversation.
    """
    name, _, split = name.partition("/")
    split = split or _SPLITS[0]
    known = [*seqio.MixtureRegistry.names(), *seqio.TaskRegistry.names()]
    if name not in known:
        raise UserError(
            f"{key}.files: seqio has no mixture or task {name!r}; register it in the config file "
            f"(registered: {', '.join(sorted(known)) or 'none'})"
        )
    provider = seqio.get_mixture_or_task(name)
    if split not in provider.splits:
        raise UserError(f"{key}.files: seqio:{name} has no split {split!r}")
    if isinstance(provider, seqio.Mixture):
        if first is None:
            raise UserError(f"{key}.first: seqio:{name} is sampled without end: say how many rows")
        passed = [MESSAGES, "inputs_pretokenized", "targets_pretokenized"]
        dataset = provider.get_dataset(
            None, split, shuffle=True, seed=seed, num_epochs=None, passthrough_features=passed
        ).take(first * _MOST_DRAWN)
    else:
        dataset = provider.get_dataset(None, split, shuffle=False, num_epochs=1)
    for i, example in enumerate(dataset.as_numpy_iterator(), 1):
        yield row_of(_chat(example, f"{key}.files: seqio:{name}"), f"seqio:{name}/{split}:{i}")


def _chat(example: dict[str, Any], where: str) -> dict[str, Any]:
    if isinstance(example.get(MESSAGES), bytes):
        try:
            return {"messages": json.loads(example[MESSAGES])}
        except ValueError as error:
            raise UserError(f"{where}: {MESSAGES} is not JSON ({first_line(error)})") from None
    texts = []
    for feature in ("inputs", "targets"):
        text = example.get(f"{feature}_pretokenized", example.get(feature))
        if not isinstance(text, bytes):
            raise UserError(
                f"{where} holds no conversations: its examples need {MESSAGES!r} (JSON), or inputs "
                "and targets as text"
            )
        texts.append(text.decode("utf-8"))
    roles = zip(("user", "assistant"), texts, strict=True)
    return {"messages": [{"role": role, "content": text} for role, text in roles]}
