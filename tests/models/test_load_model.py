"""A whole model folder: what belongs together, and one line for what is broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condmis_jax.conversations import Conversation, Message
from condmis_jax.data import ChatTemplate
from condmis_jax.errors import UserError
from condmis_jax.models import load_model


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def refused(folder: Path, mesh: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(str(folder), mesh)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_turn_ends_where_generation_config_or_the_tokenizer_says(folder: Path, mesh: Any) -> None:
    end = load_model(str(folder), mesh).tokenizer.eos_token_id
    assert load_model(str(folder), mesh).stop == (end,)
    for value, stop in (([7, 5], {5, 7, end}), (9, {9, end}), (None, {end})):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
        assert load_model(str(folder), mesh).stop == tuple(sorted(stop))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer_config.json", "{"),
        ("generation_config.json", "{"),
        ("generation_config.json", "[]"),
    ],
)
def test_broken_files_are_one_line(folder: Path, mesh: Any, file: str, content: str) -> None:
    (folder / file).write_text(content)
    assert str(folder) in refused(folder, mesh)


def test_no_tokenizer(folder: Path, mesh: Any) -> None:
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer" in refused(folder, mesh)


def test_no_chat_template(folder: Path, mesh: Any) -> None:
    path = folder / "tokenizer_config.json"
    raw = json.loads(path.read_text())
    del raw["chat_template"]
    path.write_text(json.dumps(raw))
    assert "chat template" in refused(folder, mesh)


def test_a_broken_chat_template_is_one_line(folder: Path, mesh: Any) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": "{% if %}"}))
    model = load_model(str(folder), mesh)
    with pytest.raises(UserError) as caught:
        ChatTemplate(model.tokenizer, model.stop).prompt_tokens(
            Conversation((Message("user", "Hi"),))
        )
    assert "\n" not in str(caught.value)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(folder: Path, mesh: Any) -> None:
    """JAX clamps an index that is out of bounds: such tokens would train another one silently."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = np.ascontiguousarray(tensors[name][:260])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | {"vocab_size": 260}))
    assert "vocab_size" in refused(folder, mesh)
