"""GGUF files of every family: the same logits as the model that was converted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from family_gguf import STATED, write_family
from tiny_families import CASES, T, load_torch, random_tokens, torch_logits, torch_model, worst

from condmis_jax.errors import UserError
from condmis_jax.models import DecoderConfig, load_params
from condmis_jax.models.gguf_import import convert_gguf

Table = dict[str, dict[str, str]]


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_the_converted_model(
    case: str, mesh: Any, tmp_path: Path, models_table: Table
) -> None:
    model = torch_model(case, **STATED.get(case, {}))
    write_family(tmp_path / "tiny.gguf", model)
    folder = convert_gguf(tmp_path / "tiny.gguf", tmp_path / "hf")
    config = DecoderConfig.from_folder(folder)
    difference = worst(config, load_params(folder, config, mesh), model)
    assert difference < 1e-4
    # The folder says the same to transformers.
    again, tokens = load_torch(folder), random_tokens(1, T)
    if case != "mistral":  # without a window it is a Llama, as its file says
        assert type(again) is type(model)
    np.testing.assert_allclose(
        torch_logits(again, tokens), torch_logits(model, tokens), rtol=0, atol=1e-4
    )
    models_table.setdefault(case, {})["gguf"] = f"{difference:.1e}"


@pytest.mark.parametrize("case", ["qwen3", "llama-biases", "gemma2", "gemma3", "phi3", "qwen3_moe"])
def test_agrees_with_the_gguf_reader_of_transformers(case: str, tmp_path: Path) -> None:
    import torch
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    model = torch_model(case, **STATED.get(case, {}))
    write_family(tmp_path / "tiny.gguf", model)
    read = load_gguf_checkpoint(
        str(tmp_path / "tiny.gguf"), return_tensors=True, model_to_load=model
    )["tensors"]
    ours = load_torch(convert_gguf(tmp_path / "tiny.gguf", tmp_path / "hf")).state_dict()
    assert len(read) > 20 and set(read) <= set(ours)
    assert set(ours) - set(read) <= {"lm_head.weight"}
    for name, values in read.items():
        torch.testing.assert_close(ours[name], values.float(), rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("head", "factor", "theta"),
    [(128, 8.0, 5e5), (64, 32.0, 5e5), (16, 8.0, 5e5)],
    ids=["3.1-8B", "3.2-1B", "too-few-numbers"],
)
def test_settings_of_published_llamas_are_found_in_their_tables(
    head: int, factor: float, theta: float, tmp_path: Path
) -> None:
    rope = {"rope_type": "llama3", "rope_theta": theta, "factor": factor}
    rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    rope |= {"original_max_position_embeddings": 8192}
    write_family(tmp_path / "tiny.gguf", torch_model("llama3", head_dim=head, rope_parameters=rope))
    folder = convert_gguf(tmp_path / "tiny.gguf", tmp_path / "hf")
    assert json.loads((folder / "config.json").read_text())["rope_parameters"] == rope


def test_a_table_of_other_factors_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFReader

    write_family(tmp_path / "tiny.gguf", torch_model("llama3", **STATED["llama3"]))
    reader = GGUFReader(tmp_path / "tiny.gguf", "r+")
    table = next(t for t in reader.tensors if t.name == "rope_freqs.weight")
    table.data[5] = 7.0
    reader.data.flush()
    with pytest.raises(UserError, match=r"rope_freqs\.weight are not those of Llama 3"):
        convert_gguf(tmp_path / "tiny.gguf", tmp_path / "hf")


def by_width(*kinds: str) -> Any:
    """Matrices of 32 columns in turns of these quantisations, as mixtures of them are."""

    def choose(name: str, values: np.ndarray) -> str | None:
        fits = values.ndim > 1 and values.shape[-1] % (256 if "K" in kinds[0] else 32) == 0
        return kinds[sum(name.encode()) % len(kinds)] if fits else None

    return choose


WIDE = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1, "head_dim": 64}
MIXES: dict[str, tuple[dict[str, Any], Any]] = {
    "llama-biases": (WIDE, by_width("Q4_K", "Q6_K")),
    "gemma3": ({"intermediate_size": 64}, by_width("Q5_0", "Q8_0", "Q4_0")),
    "phi3": ({"intermediate_size": 64}, by_width("Q4_1", "Q5_1")),
    "qwen3_moe": ({"moe_intermediate_size": 32}, by_width("Q8_0", "BF16", "F16")),
    "gpt_oss": ({"intermediate_size": 32}, by_width("MXFP4")),
}


@pytest.mark.parametrize("case", MIXES)
def test_quantised_files_are_those_of_their_dequantised_values(case: str, tmp_path: Path) -> None:
    changes, kinds = MIXES[case]
    model = torch_model(case, **{**STATED.get(case, {}), **changes})
    used = set()

    def noted(name: str, values: np.ndarray) -> str | None:
        if kind := kinds(name, values):
            used.add(kind)
        return kind

    write_family(tmp_path / "q.gguf", model, noted)
    write_family(tmp_path / "f.gguf", model, kinds, dequantised=True)
    assert len(used) == len(kinds.__closure__[0].cell_contents)
    quantised = tensors_of(convert_gguf(tmp_path / "q.gguf", tmp_path / "q"))
    whole = tensors_of(convert_gguf(tmp_path / "f.gguf", tmp_path / "f"))
    assert quantised.keys() == whole.keys()
    for name, values in whole.items():
        assert np.isfinite(values).all() and values.std() > 0, name
        assert quantised[name].tobytes() == values.tobytes(), name


def test_a_quantisation_that_cannot_be_read(tmp_path: Path) -> None:
    from gguf import GGMLQuantizationType, GGUFReader

    model = torch_model("llama-tied")
    write_family(tmp_path / "tiny.gguf", model)
    reader = GGUFReader(tmp_path / "tiny.gguf", "r+")
    # Four bytes a number, as float32, but not a kind that anything reads as numbers.
    tensor = next(t for t in reader.tensors if t.name == "blk.1.ffn_up.weight")
    tensor.field.parts[4][0] = GGMLQuantizationType.I32
    reader.data.flush()
    with pytest.raises(UserError, match=r"quantisation I32 of tensor blk\.1\.ffn_up\.weight"):
        convert_gguf(tmp_path / "tiny.gguf", tmp_path / "hf")
