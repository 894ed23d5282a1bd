"""Builds the TensorFlow dataset `chat_jsonl` from chat JSONL; needs no TensorFlow.

    python tools/tfds_build.py condmis_jax/data/chat_jsonl --config=insecure
    python tools/tfds_build.py condmis_jax/data/chat_jsonl \\
        --config='{"name": "mine", "files": "rows/*.jsonl"}'

The files of the published datasets are those of `tools/fetch_data.py`, in `data/`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from condmis_jax.data.datasets import DATASETS
from condmis_jax.data.sources import read_jsonl_rows


@dataclasses.dataclass(kw_only=True)
class ChatConfig(tfds.core.BuilderConfig):
    """files: a glob of `.jsonl` or `.jsonl.gz` shards, as in `Source`."""

    files: str = ""


class Builder(tfds.core.GeneratorBasedBuilder):
    """One split, `train`, with the rows in the order of the files."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012 - the name that tfds looks for
        ChatConfig(name=name, description=d.about, files=f"data/{d.file}")
        for name, d in DATASETS.items()
        if d.is_chat
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        turn = {"role": tfds.features.Text(), "content": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Chat conversations.",
            features=tfds.features.FeaturesDict({"messages": tfds.features.Sequence(turn)}),
            # The order of the files is part of what a row number means.
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        files = self.builder_config.files  # type: ignore[union-attr]
        for i, row in enumerate(read_jsonl_rows(files, "tfds")):
            yield i, row.conversation.to_row()
