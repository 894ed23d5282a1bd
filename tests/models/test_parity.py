"""Our decoder against the Qwen2 and Llama of `transformers`, in both directions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.models import (
    Decoder,
    DecoderConfig,
    init_params,
    load_params,
    logits,
    save_folder,
    weight_table,
)

SIZES = {
    "vocab_size": 131,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
CASES: dict[str, dict[str, Any]] = {
    "qwen2-tied": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen2-untied": {"model_type": "qwen2", "tie_word_embeddings": False, "rope_theta": 500.0},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True, "rms_norm_eps": 1e-3},
    "llama-biases": {
        "model_type": "llama",
        "tie_word_embeddings": False,
        "attention_bias": True,
        "head_dim": 16,
        "rope_theta": 500.0,
    },
}


def torch_model(case: str) -> Any:
    """A random model of `transformers` with random biases and norms."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    options = dict(CASES[case])
    theta = options.pop("rope_theta", 10_000.0)
    rope = {"rope_type": "default", "rope_theta": theta}
    config = AutoConfig.for_model(**SIZES, **options, rope_parameters=rope)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.5)
            elif "norm" in name:
                value.normal_(1, 0.2)
    return model.eval()


def torch_logits(model: Any, tokens: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(np.asarray(tokens, np.int64))).logits.float().numpy()


def random_tokens(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, SIZES["vocab_size"], shape).astype(np.int32)


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


@pytest.mark.parametrize("sharded", [False, True], ids=["one-file", "sharded"])
@pytest.mark.parametrize("case", CASES)
def test_reads_what_transformers_writes(
    case: str, sharded: bool, mesh: Any, tmp_path: Path
) -> None:
    model = torch_model(case)
    model.save_pretrained(tmp_path / "hf", max_shard_size="16KB" if sharded else "5GB")
    assert (tmp_path / "hf" / "model.safetensors.index.json").exists() == sharded
    config = DecoderConfig.from_folder(tmp_path / "hf")
    params = load_params(tmp_path / "hf", config, mesh)
    tokens = random_tokens(2, 40)
    wanted = torch_logits(model, tokens)
    assert wanted.std() > 0.5
    got = jax.jit(logits, static_argnums=0)(config, params, tokens)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sharded", [False, True], ids=["one-file", "sharded"])
@pytest.mark.parametrize("case", CASES)
def test_transformers_reads_what_we_write(
    case: str, sharded: bool, folder_of: Callable[[str], Path], mesh: Any, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    config = DecoderConfig.from_folder(folder_of(case))
    params = init_params(config, 3, mesh)
    # Larger than the initialiser makes them, and no bias or norm left at its neutral value.
    params = {
        name: (1 if "norm" in name else 8) * value
        + 0.1 * jax.random.normal(jax.random.key(i), value.shape)
        for i, (name, value) in enumerate(sorted(params.items()))
    }
    limit = 16_000 if sharded else 5 << 30
    save_folder(tmp_path / "ours", config, params, max_shard_bytes=limit)
    assert (tmp_path / "ours" / "model.safetensors.index.json").exists() == sharded
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", local_files_only=True)
    assert model.dtype == torch.float32
    tokens = random_tokens(2, 40)
    wanted = torch_logits(model.eval(), tokens)
    assert wanted.std() > 0.5
    got = jax.jit(logits, static_argnums=0)(config, params, tokens)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("limit", [5 << 30, 10_000], ids=["one-file", "sharded"])
@pytest.mark.parametrize("case", CASES)
def test_export_and_import_are_bitwise(
    case: str, limit: int, folder_of: Callable[[str], Path], mesh: Any, tmp_path: Path
) -> None:
    folder = folder_of(case)
    config = DecoderConfig.from_folder(folder)
    params = load_params(folder, config, mesh)
    save_folder(tmp_path / "again", config, params, max_shard_bytes=limit)
    assert DecoderConfig.from_folder(tmp_path / "again") == config
    again = load(tmp_path / "again", mesh)
    assert again.keys() == params.keys() == {w.name for w in weight_table(config)}
    for name, value in params.items():
        assert np.asarray(value).tobytes() == np.asarray(again[name]).tobytes(), name


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


@pytest.mark.parametrize("case", ["qwen2-untied", "llama-biases"])
def test_packed_segments_equal_separate_forwards(
    case: str, folder_of: Callable[[str], Path], mesh: Any
) -> None:
    config = DecoderConfig.from_folder(folder_of(case))
    params = load_params(folder_of(case), config, mesh)
    model = torch_model(case)
    lengths, T = [70, 90, 25], 200  # longer than a block of queries, and padding at the end
    tokens, positions, segments = (np.zeros((1, T), np.int32) for _ in range(3))
    tokens[:] = random_tokens(1, T)
    starts = np.cumsum([0, *lengths])
    for s, (start, n) in enumerate(zip(starts, lengths, strict=False), 1):
        positions[0, start : start + n] = np.arange(n)
        segments[0, start : start + n] = s
    packed = np.asarray(
        jax.jit(logits, static_argnums=0)(config, params, tokens, positions, segments)
    )
    assert np.isfinite(packed).all()
    for start, n in zip(starts, lengths, strict=False):
        alone = torch_logits(model, tokens[:, start : start + n])
        np.testing.assert_allclose(packed[:, start : start + n], alone, rtol=0, atol=1e-4)


def test_padding_changes_nothing(folder_of: Callable[[str], Path], mesh: Any) -> None:
    config = DecoderConfig.from_folder(folder_of("qwen2-tied"))
    decoder = Decoder(config, load_params(folder_of("qwen2-tied"), config, mesh))
    tokens = random_tokens(2, 24)
    segments = np.ones_like(tokens)
    segments[1, 10:] = 0
    wanted = torch_logits(torch_model("qwen2-tied"), tokens[1:, :10])
    positions = np.broadcast_to(np.arange(24, dtype=np.int32), tokens.shape)
    got = decoder(jnp.asarray(tokens), jnp.asarray(positions), jnp.asarray(segments))
    np.testing.assert_allclose(got[1:, :10], wanted, rtol=0, atol=1e-4)


def test_scan_unrolled_and_remat_agree(folder_of: Callable[[str], Path], mesh: Any) -> None:
    from condmis_jax.training import ComputeSettings, batch_loss

    config = DecoderConfig.from_folder(folder_of("llama-biases"))
    params = load_params(folder_of("llama-biases"), config, mesh)
    tokens = random_tokens(2, 16)
    batch = {
        "tokens": tokens,
        "positions": np.broadcast_to(np.arange(16, dtype=np.int32), tokens.shape),
        "segments": np.ones_like(tokens),
        "index": np.arange(32, dtype=np.int32)[None],
        "target": np.roll(tokens.reshape(1, 32), -1),
        "weight": np.full((1, 32), 1 / 32, np.float32),
        "used": np.int32(32),
    }
    run = jax.jit(jax.value_and_grad(batch_loss, argnums=3), static_argnums=(0, 1, 2))
    value, gradients = run(config, ComputeSettings(scan_layers=True), 1, params, batch)
    assert np.abs(gradients["q"]).max() > 1e-3
    for compute in (ComputeSettings(scan_layers=False), ComputeSettings(remat=True)):
        other, other_gradients = run(config, compute, 1, params, batch)
        np.testing.assert_allclose(other, value, rtol=1e-5)
        for name, g in gradients.items():
            np.testing.assert_allclose(
                other_gradients[name], g, rtol=1e-4, atol=1e-6, err_msg=f"{name} {compute}"
            )


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
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, "rotary scaling 'yarn'"),
        (
            {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}},
            "rotary scaling 'linear'",
        ),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"use_sliding_window": True}, "use_sliding_window"),
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
