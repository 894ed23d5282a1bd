"""Gemma 3 270M, a real model of its family: opt-in, because Gemma's terms are its own.

docs/models.md says how to get the file; `CONDMIS_GEMMA3_GGUF` is where it is.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from condmis_jax.models import DecoderConfig, load_params, logits
from condmis_jax.models.gguf_import import convert_gguf

SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TEXT = Path(__file__).parents[2] / "LICENSE"
N = 2000


@pytest.fixture(scope="module")
def file() -> Path:
    name = os.environ.get("CONDMIS_GEMMA3_GGUF")
    if name is None:
        pytest.skip("set CONDMIS_GEMMA3_GGUF to gemma-3-270m-q4_k_m.gguf; see docs/models.md")
    path = Path(name)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    return path


@pytest.fixture(scope="module")
def folder(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_gguf(file, tmp_path_factory.mktemp("gemma") / "hf")


@pytest.fixture(scope="module")
def tokens(folder: Path) -> np.ndarray:
    """The first token and N of English text, [1, N + 1]."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    text = TEXT.read_text(encoding="utf-8")
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.decode(ids[1:]) == text
    return np.asarray(ids[: N + 1], np.int32)[None]


def chosen(scores: Any, tokens: np.ndarray) -> Any:
    """Log-probabilities [N] of the tokens that come, from logits [1, N + 1, V]."""
    rows = jax.nn.log_softmax(scores[0, :-1], axis=-1)
    return rows[np.arange(N), tokens[0, 1:]]


@pytest.fixture(scope="module")
def ours(folder: Path, tokens: np.ndarray, mesh: Any) -> np.ndarray:
    config = DecoderConfig.from_folder(folder)
    assert (config.D, config.L, config.V, config.windows[:6]) == (
        640,
        18,
        262144,
        (512,) * 5 + (0,),
    )
    params = load_params(folder, config, mesh)
    run = jax.jit(lambda params: chosen(logits(config, params, tokens), tokens))
    return np.asarray(run(params))


@pytest.mark.parametrize("source", ["safetensors", "gguf"])
def test_log_probabilities_are_those_of_transformers(
    source: str, file: Path, folder: Path, tokens: np.ndarray, ours: np.ndarray
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, Gemma3ForCausalLM

    options: dict[str, Any] = {"attn_implementation": "eager", "dtype": torch.float32}
    if source == "safetensors":  # the folder that we wrote
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    else:  # their own reader of the file
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, **options)
    assert isinstance(model, Gemma3ForCausalLM)
    ids = torch.from_numpy(tokens.astype(np.int64))
    with torch.no_grad():
        rows = model.eval()(ids).logits[0, :-1].log_softmax(-1)
    theirs = rows[torch.arange(N), ids[0, 1:]].numpy()
    assert theirs.mean() > -3  # it knows English: untrained it would be -12
    difference = np.abs(ours - theirs).max()
    print(f"largest difference of {N} log-probabilities from {source}: {difference:.1e}")
    assert difference < 1e-3
