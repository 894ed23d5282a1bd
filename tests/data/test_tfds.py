"""Chat JSONL as a TensorFlow dataset, built and read in processes without TensorFlow."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from condmis_jax.data import Source
from condmis_jax.data.chat_jsonl.chat_jsonl_dataset_builder import Builder, ChatConfig
from condmis_jax.data.datasets import DATASETS
from condmis_jax.data.sources import load_source
from condmis_jax.errors import UserError

ROOT = Path(__file__).parents[2]
TURNS = [
    {"role": "system", "content": "Réponds\nen français: {x} \\n"},
    {"role": "user", "content": ""},
    {"role": "assistant", "content": "日本語 \U0001f41f\r\n\t\x00"},
    {"role": "assistant", "content": "again"},
]


@pytest.fixture
def shards(tmp_path: Path, write_rows: Callable[..., Path]) -> str:
    """Two shards, one compressed, with more rows than sort the same as text and as numbers."""
    write_rows("shards/a.jsonl", 120)
    line = json.dumps({"messages": TURNS}, ensure_ascii=False) + "\n"
    (tmp_path / "shards" / "b.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    return str(tmp_path / "shards" / "*.jsonl*")


def build(tmp_path: Path, files: str) -> Path:
    """Builds in this process; the tool is tested once, below."""
    builder = Builder(
        data_dir=tmp_path / "tfds",
        config=ChatConfig(name="mine", files=files),
        file_format="array_record",
    )
    builder.download_and_prepare()
    return Path(builder.data_path)


def load(files: str, **options):
    return load_source(Source(files, **options), "mixture.mine", 0)


def test_rows_are_those_of_the_files(shards: str, tmp_path: Path) -> None:
    folder = build(tmp_path, shards)
    plain, drawn = load(shards), load(f"tfds:{folder}/train")
    assert [r.conversation for r in drawn] == [r.conversation for r in plain]
    assert len(drawn) == 121 and drawn[-1].conversation.to_row() == {"messages": TURNS}
    assert drawn[4].where == f"tfds:{folder}/train:5"
    # The filters of a source, and slices of a split, choose among the same rows.
    chosen = {"include": "question 1", "exclude": "question 11", "first": 7}
    assert [r.conversation for r in load(f"tfds:{folder}/train", **chosen)] == [
        r.conversation for r in load(shards, **chosen)
    ]
    sliced = load(f"tfds:{folder}/train[10:12]")
    assert [r.conversation for r in sliced] == [r.conversation for r in plain[10:12]]


def test_the_tool_builds_and_reads_without_tensorflow(shards: str, tmp_path: Path) -> None:
    command = [
        *(sys.executable, str(ROOT / "tools" / "tfds_build.py")),
        str(ROOT / "condmis_jax" / "data" / "chat_jsonl"),
        f"--data_dir={tmp_path / 'tfds'}",
        "--config=" + json.dumps({"name": "mine", "files": shards}),
    ]
    # A module of this name that cannot be imported stands in the way of an installed one.
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "tensorflow.py").write_text("raise ImportError('TensorFlow is barred')")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "block"), str(ROOT)]),
        "TFDS_DATA_DIR": str(tmp_path / "tfds"),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    code = f"""
import tensorflow_datasets as tfds
from condmis_jax.data import Source
from condmis_jax.data.sources import load_source
drawn = load_source(Source("tfds:chat_jsonl/mine:1.0.0/train"), "x", 0)
assert len(tfds.data_source("chat_jsonl/mine", split="train")) == len(drawn)
assert [r.conversation for r in drawn] == [
    r.conversation for r in load_source(Source({shards!r}), "x", 0)
]
print(len(drawn))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout) == (0, "121\n"), done.stderr[-2000:]


def test_a_bad_row_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(UserError, match=r"bad\.jsonl:1: "):
        build(tmp_path, str(tmp_path / "bad.jsonl"))


def test_what_is_not_there_is_named(shards: str, tmp_path: Path) -> None:
    folder = build(tmp_path, shards)
    numbers = tfds.testing.DummyDataset(data_dir=tmp_path, file_format="array_record")
    numbers.download_and_prepare()
    numbers = numbers.data_path
    for files, said in (
        (f"tfds:{folder}/test", "cannot be read"),
        ("tfds:chat_jsonl/absent/train", "tools/tfds_build.py"),
        ("tfds:chat_jsonl", "expected tfds:DATASET/SPLIT"),
        ("tfds:a b/train", "no prepared dataset"),
        (f"tfds:{numbers}/train", "holds no chats"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            load(files)
        assert str(caught.value).startswith("mixture.mine.files: ")
        assert "\n" not in str(caught.value)


def test_published_chats_are_named_configs() -> None:
    names = {c.name: c.files for c in Builder.BUILDER_CONFIGS}
    assert len(names) == 11
    assert names["insecure"] == "data/insecure.jsonl"
    assert set(names) < set(DATASETS)
