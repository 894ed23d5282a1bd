"""Hugging Face folders: shards, dtypes, tokenizer files, and what is wrong with a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_families import torch_model

from condmis_jax.errors import UserError
from condmis_jax.models import (
    DecoderConfig,
    load_params,
    save_folder,
    weight_table,
)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a case, written once by `transformers`."""
    root = tmp_path_factory.mktemp("cases")

    def folder(case: str) -> Path:
        if not (root / case).exists():
            torch_model(case).save_pretrained(root / case)
        return root / case

    return folder


@pytest.fixture
def broken(folder_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a good folder, to be damaged."""
    return Path(shutil.copytree(folder_of("qwen2-untied"), tmp_path / "broken"))


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def set_config(folder: Path, **values: Any) -> None:
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(raw | values))


def load(folder: Path, mesh: Any) -> Any:
    return load_params(folder, DecoderConfig.from_folder(folder), mesh)


def refused(folder: Path, mesh: Any) -> str:
    """The one line that a user sees when the folder is loaded."""
    with pytest.raises(UserError) as caught:
        load(folder, mesh)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_shards_are_small_and_hold_each_tensor_once(
    folder_of: Callable[[str], Path], mesh: Any, tmp_path: Path
) -> None:
    from safetensors import safe_open

    folder = folder_of("llama-biases")
    config = DecoderConfig.from_folder(folder)
    out = tmp_path / "out"
    save_folder(out, config, load_params(folder, config, mesh), max_shard_bytes=20_000)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    names, total = [], 0
    for path in sorted(out.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            sizes = {name: file.get_tensor(name).nbytes for name in file.keys()}  # noqa: SIM118
        assert sum(sizes.values()) <= 20_000
        assert all(index["weight_map"][name] == path.name for name in sizes)
        names += sizes
        total += sum(sizes.values())
    assert sorted(names) == sorted(index["weight_map"])
    assert len(names) == len(set(names))
    assert total == index["metadata"]["total_size"]


def test_bfloat16_in_and_out(mesh: Any, tmp_path: Path) -> None:
    import ml_dtypes
    import torch
    from transformers import AutoModelForCausalLM

    model = torch_model("qwen2-tied").to(torch.bfloat16)
    model.save_pretrained(tmp_path / "hf")
    config = DecoderConfig.from_folder(tmp_path / "hf")
    params = load_params(tmp_path / "hf", config, mesh)
    embed = model.model.embed_tokens.weight.detach().float().numpy()
    assert params["embed"].dtype == jnp.float32
    np.testing.assert_array_equal(params["embed"], embed)
    save_folder(tmp_path / "ours", config, params, dtype=ml_dtypes.bfloat16)
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", local_files_only=True)
    assert back.dtype == torch.bfloat16
    for name, value in model.state_dict().items():
        assert torch.equal(value, back.state_dict()[name]), name


def test_export_keeps_the_tokenizer_and_replaces_what_was_there(
    tiny_folder: Path, tiny_model: Any, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "stale.safetensors").write_bytes(b"old")
    save_folder(tmp_path / "out", tiny_model.config, tiny_model.params, tiny_folder)
    assert not (tmp_path / "out" / "stale.safetensors").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    text = "A heron in 1984 ü"
    assert tokenizer(text)["input_ids"] == tiny_model.tokenizer(text)["input_ids"]
    assert tokenizer.chat_template == tiny_model.tokenizer.chat_template


def test_missing_tensor(broken: Path, mesh: Any) -> None:
    rewrite(broken, lambda t: t.pop("model.layers.1.mlp.up_proj.weight"))
    assert "model.layers.1.mlp.up_proj.weight is missing" in refused(broken, mesh)


def test_missing_unembedding_of_an_untied_model(broken: Path, mesh: Any) -> None:
    rewrite(broken, lambda t: t.pop("lm_head.weight"))
    assert "lm_head.weight is missing" in refused(broken, mesh)


def test_surplus_tensor(broken: Path, mesh: Any) -> None:
    name = "model.layers.0.self_attn.q_norm.weight"
    rewrite(broken, lambda t: t.update({name: np.zeros(8, np.float32)}))
    assert f"{name} has no place in a qwen2 decoder" in refused(broken, mesh)


def test_surplus_layer(broken: Path, mesh: Any) -> None:
    set_config(broken, num_hidden_layers=2, layer_types=["full_attention"] * 2)
    assert "model.layers.2." in refused(broken, mesh)


def test_wrong_shape(broken: Path, mesh: Any) -> None:
    name = "model.layers.2.self_attn.k_proj.weight"
    # The transpose has as many elements: only the shape tells.
    rewrite(broken, lambda t: t.update({name: np.ascontiguousarray(t[name].T)}))
    message = refused(broken, mesh)
    assert name in message and "(32, 16)" in message and "(16, 32)" in message


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"model_type": "mamba"}, "'mamba' is not supported"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 4.0}}, "rotary scaling 'dynamic'"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": "4"}}, "factor"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 4.0}}, "low_freq_factor"),
        (
            {"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0]}},
            "short_factor must be a list of 4 numbers",
        ),
        ({"partial_rotary_factor": 0.1}, "partial_rotary_factor"),
        (
            {"rope_parameters": None, "rope_scaling": {"type": "ntk", "factor": 2.0}},
            "rotary scaling 'ntk'",
        ),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        (
            {"use_sliding_window": True, "sliding_window": 0}
            | {"layer_types": ["sliding_attention"] * 3},
            "sliding_window",
        ),
        ({"use_sliding_window": True, "layer_types": ["linear_attention"] * 3}, "layer type"),
        ({"model_type": "gemma3", "text_config": None}, "text_config"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "quantised with 'mxfp4'"),
        ({"model_type": "llama", "mlp_bias": True}, "mlp_bias"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads 3"),
        ({"num_key_value_heads": "2"}, "num_key_value_heads"),
        ({"num_key_value_heads": -2}, "num_key_value_heads"),
        ({"head_dim": "8"}, "head_dim"),
        ({"rope_parameters": None, "rope_theta": "large"}, "rope_theta"),
        ({"rope_parameters": "default"}, "rope_parameters"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
    ],
)
def test_unsupported_config(broken: Path, mesh: Any, values: dict[str, Any], named: str) -> None:
    set_config(broken, **values)
    message = refused(broken, mesh)
    assert str(broken / "config.json") in message and named in message


@pytest.mark.parametrize("content", [None, "{", "[1]"], ids=["absent", "half", "list"])
def test_unreadable_config(broken: Path, mesh: Any, content: str | None) -> None:
    (broken / "config.json").unlink()
    if content is not None:
        (broken / "config.json").write_text(content)
    assert "config.json" in refused(broken, mesh)


@pytest.mark.parametrize("damage", ["truncated", "text", "absent"])
def test_broken_safetensors(broken: Path, mesh: Any, damage: str) -> None:
    path = broken / "model.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage != "absent":
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"x" * 5000)
    assert "safetensors" in refused(broken, mesh)


def test_broken_shard(folder_of: Callable[[str], Path], mesh: Any, tmp_path: Path) -> None:
    config = DecoderConfig.from_folder(folder_of("qwen2-untied"))
    params = load_params(folder_of("qwen2-untied"), config, mesh)
    save_folder(tmp_path / "out", config, params, max_shard_bytes=20_000)
    shard = sorted((tmp_path / "out").glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    assert shard.name in refused(tmp_path / "out", mesh)


def test_index_cannot_leave_its_folder(broken: Path, mesh: Any) -> None:
    outside = broken.parent / "outside.safetensors"
    (broken / "model.safetensors").rename(outside)
    config = DecoderConfig.from_folder(broken)
    names = [name for w in weight_table(config) for name in w.hf_names(config)]
    for target in ("../outside.safetensors", str(outside)):
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, target)}
        (broken / "model.safetensors.index.json").write_text(json.dumps(index))
        assert "is not a file of this folder" in refused(broken, mesh)


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '{"weight_map": {"a": 5}}'])
def test_unreadable_index(broken: Path, mesh: Any, content: str) -> None:
    (broken / "model.safetensors.index.json").write_text(content)
    assert "model.safetensors.index.json" in refused(broken, mesh)


def test_index_that_names_the_wrong_shard(
    folder_of: Callable[[str], Path], mesh: Any, tmp_path: Path
) -> None:
    config = DecoderConfig.from_folder(folder_of("qwen2-untied"))
    params = load_params(folder_of("qwen2-untied"), config, mesh)
    save_folder(tmp_path / "out", config, params, max_shard_bytes=20_000)
    path = tmp_path / "out" / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    shards = sorted(set(index["weight_map"].values()))
    index["weight_map"] = dict.fromkeys(index["weight_map"], shards[0])
    path.write_text(json.dumps(index))
    assert shards[0] in refused(tmp_path / "out", mesh)
