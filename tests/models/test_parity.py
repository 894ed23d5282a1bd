"""Our decoder against the model of `transformers`, for every family and in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from tiny_families import (
    CASES,
    SIZES,
    T,
    load_torch,
    random_tokens,
    rows,
    run,
    torch_logits,
    torch_model,
    worst,
)

from condmis_jax.errors import UserError
from condmis_jax.models import (
    DecoderConfig,
    Lora,
    init_params,
    load_params,
    save_folder,
    weight_table,
)
from condmis_jax.models.adapters import load_adapter, save_adapter
from condmis_jax.models.weights import adaptable, trained_names
from condmis_jax.sampling import Request, Sampler, SamplingSettings
from condmis_jax.training import ComputeSettings, batch_loss

Table = dict[str, dict[str, str]]


@dataclass
class Case:
    """One model, in torch and as we read it."""

    name: str
    torch: Any
    folder: Path
    config: DecoderConfig
    params: Any


@pytest.fixture(scope="module", params=CASES)
def case(request: Any, mesh: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    model = torch_model(request.param)
    folder = tmp_path_factory.mktemp(request.param) / "hf"
    model.save_pretrained(folder)
    config = DecoderConfig.from_folder(folder)
    return Case(request.param, model, folder, config, load_params(folder, config, mesh))


def test_reads_what_transformers_writes(case: Case, models_table: Table) -> None:
    difference = worst(case.config, case.params, case.torch)
    assert difference < 1e-4
    models_table.setdefault(case.name, {})["import"] = f"{difference:.1e}"


def test_transformers_reads_what_we_write(
    case: Case, mesh: Any, tmp_path: Path, models_table: Table
) -> None:
    import torch

    params = init_params(case.config, 3, mesh)
    # Larger than the initialiser makes them, and no bias or norm left at its neutral value.
    params = {
        name: (1 if "norm" in name else 8) * value
        + 0.1 * jax.random.normal(jax.random.key(i), value.shape)
        for i, (name, value) in enumerate(sorted(params.items()))
    }
    save_folder(tmp_path / "ours", case.config, params)
    model = load_torch(tmp_path / "ours")
    assert model.dtype == torch.float32
    difference = worst(case.config, params, model)
    assert difference < 1e-4
    models_table.setdefault(case.name, {})["export"] = f"{difference:.1e}"


@pytest.mark.parametrize("limit", [5 << 30, 10_000], ids=["one-file", "sharded"])
def test_export_and_import_are_bitwise(
    case: Case, limit: int, mesh: Any, tmp_path: Path, models_table: Table
) -> None:
    save_folder(tmp_path / "again", case.config, case.params, max_shard_bytes=limit)
    sharded = (tmp_path / "again" / "model.safetensors.index.json").exists()
    assert sharded == (limit == 10_000)
    config = DecoderConfig.from_folder(tmp_path / "again")
    assert config == case.config
    again = load_params(tmp_path / "again", config, mesh)
    assert again.keys() == case.params.keys() == {w.name for w in weight_table(config)}
    for name, value in case.params.items():
        assert np.asarray(value).tobytes() == np.asarray(again[name]).tobytes(), name
    models_table.setdefault(case.name, {})["bitwise"] = "bitwise"


def test_reads_the_shards_that_transformers_writes(case: Case, mesh: Any, tmp_path: Path) -> None:
    case.torch.save_pretrained(tmp_path, max_shard_size="16KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    again = load_params(tmp_path, DecoderConfig.from_folder(tmp_path), mesh)
    for name, value in case.params.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)


def loss_batch() -> dict[str, Any]:
    """`rows`, every token but the last of a conversation scored on the next one."""
    batch, places = rows()
    weight = np.zeros((2, T), np.float32)
    for row, start, n in places:
        weight[row, start : start + n - 1] = 1 / 100
    flat = np.arange(2 * T, dtype=np.int32)
    return batch | {
        "index": flat[None],
        "target": np.roll(batch["tokens"].reshape(1, -1), -1),
        "weight": weight.reshape(1, -1),
        "used": np.int32(2 * T),
    }


gradient = jax.jit(jax.value_and_grad(batch_loss, argnums=3), static_argnums=(0, 1, 2))


def gradients_of(model: Any) -> dict[str, np.ndarray]:
    """Gradients of a torch model under the names that its checkpoint has."""
    found = {name: p.grad.numpy() for name, p in model.named_parameters()}
    if model.config.model_type == "qwen3_moe":  # one tensor in memory, one an expert on disk
        for name in [n for n in found if ".experts." in n]:
            start, kind = name.rsplit(".", 1)
            for e, part in enumerate(found.pop(name)):
                if kind == "down_proj":
                    found[f"{start}.{e}.down_proj.weight"] = part
                else:
                    gate, up = np.split(part, 2)
                    found |= {
                        f"{start}.{e}.gate_proj.weight": gate,
                        f"{start}.{e}.up_proj.weight": up,
                    }
    return found


def test_gradients_are_those_of_torch(case: Case, models_table: Table) -> None:
    import torch

    batch, places = rows()
    total = torch.zeros(())
    for row, start, n in places:
        tokens = torch.from_numpy(batch["tokens"][row, start : start + n].astype(np.int64))
        scores = case.torch(tokens[None]).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(scores, tokens[1:], reduction="sum")
    case.torch.zero_grad()
    (total / 100).backward()

    value, ours = gradient(case.config, ComputeSettings(), 1, case.params, loss_batch())
    assert float(value) == pytest.approx(total.item() / 100, rel=1e-5)
    theirs, errors = gradients_of(case.torch), dict[str, float]()
    for w in weight_table(case.config):
        for name, index in w.places(case.config):
            part = w.to_hf(np.asarray(ours[w.name])[index], case.config)
            wanted = theirs[name][w.region(case.config, w.whole(case.config))]
            assert np.linalg.norm(wanted) > 0, name
            errors[name] = np.linalg.norm(part - wanted) / np.linalg.norm(wanted)
    assert max(errors.values()) < 1e-3, max(errors, key=errors.__getitem__)
    models_table.setdefault(case.name, {})["gradient"] = f"{max(errors.values()):.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama-biases", "gemma2", "gemma3"])
def test_scan_unrolled_and_remat_agree(name: str, mesh: Any, tmp_path: Path) -> None:
    torch_model(name).save_pretrained(tmp_path)
    config = DecoderConfig.from_folder(tmp_path)
    params, batch = load_params(tmp_path, config, mesh), loss_batch()
    plain = ComputeSettings(scan_layers=True, remat="none")
    value, gradients = gradient(config, plain, 1, params, batch)
    assert np.abs(gradients["q"]).max() > 1e-3
    for compute in (
        ComputeSettings(scan_layers=False, remat="none"),
        ComputeSettings(scan_layers=False, remat="layer"),
        ComputeSettings(scan_layers=True, remat="layer"),
        ComputeSettings(scan_layers=True, remat="products"),
    ):
        other, other_gradients = gradient(config, compute, 1, params, batch)
        np.testing.assert_allclose(other, value, rtol=1e-5)
        for weight, g in gradients.items():
            np.testing.assert_allclose(
                other_gradients[weight], g, rtol=1e-4, atol=1e-5, err_msg=f"{weight} {compute}"
            )


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_language_model_of_a_gemma_that_sees(prefix: str, mesh: Any, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig, Gemma3Config, Gemma3ForConditionalGeneration

    text = AutoConfig.for_model(**{**SIZES, **CASES["gemma3"]})
    sight = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    sight |= {"num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    torch.manual_seed(1)
    model = Gemma3ForConditionalGeneration._from_config(
        Gemma3Config(text_config=text, vision_config=sight, mm_tokens_per_image=4),
        attn_implementation="eager",
    ).eval()
    model.save_pretrained(tmp_path / "hf")
    # Published files have the first prefix, files of transformers 5 may have the second.
    file = tmp_path / "hf" / "model.safetensors"
    tensors = load_file(file)
    old, new = "language_model.model.", "model.language_model."
    named = {n.replace(old, prefix).replace(new, prefix): t for n, t in tensors.items()}
    assert sum(n.startswith(prefix) for n in named) > 30
    assert any("vision_tower" in n for n in named)
    save_file(named, file, metadata={"format": "pt"})

    config = DecoderConfig.from_folder(tmp_path / "hf")
    params = load_params(tmp_path / "hf", config, mesh)
    assert worst(config, params, model) < 1e-4
    # An export holds the language model alone.
    save_folder(tmp_path / "text", config, params)
    assert worst(config, params, load_torch(tmp_path / "text")) < 1e-4


NEW = 28
HEAD = 20  # tokens that all prompts begin with; read once, but for longrope


def test_greedy_sampling_is_generate(case: Case, mesh: Any, models_table: Table) -> None:
    # Beyond windows and original context lengths; for longrope once within it and once beyond.
    lengths = (40, 50) if case.name != "phi3-longrope" else (45, 52, 82, 100)
    tokens = random_tokens(len(lengths), max(lengths))
    tokens[:, :HEAD] = tokens[0, :HEAD]
    prompts = [tuple(row[:n].tolist()) for row, n in zip(tokens, lengths, strict=True)]
    sampler = Sampler(case.config, case.params, (), mesh, slots=2, group=1)
    found: dict[Any, list[int]] = {}
    sampler.sample(
        [Request(i, prompt, i, HEAD) for i, prompt in enumerate(prompts)],
        SamplingSettings(temperature=0, max_new_tokens=NEW),
        lambda done: found.update({c.key: c.tokens for c in done}),
    )
    for i, prompt in enumerate(prompts):
        theirs = greedy(case.torch, prompt)
        if found[i] != theirs:  # only where two tokens are as likely, to rounding
            at = next(n for n in range(NEW) if found[i][n] != theirs[n])
            scores = torch_logits(case.torch, np.asarray([[*prompt, *theirs[:at]]]))[0, -1]
            assert scores.max() - scores[found[i][at]] < 1e-4, (i, at)
        # Without a cache, in one forward pass.
        row = np.zeros((2, T), np.int32)
        row[0, : len(prompt) + NEW] = [*prompt, *found[i]]
        segments = (np.arange(T) < len(prompt) + NEW)[None].astype(np.int32).repeat(2, 0)
        positions = np.arange(T, dtype=np.int32)[None].repeat(2, 0)
        scores = np.asarray(run(case.config, case.params, row, positions, segments))[0]
        drawn = scores[len(prompt) - 1 : len(prompt) - 1 + NEW]
        picked = np.take_along_axis(drawn, np.asarray(found[i])[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(picked, drawn.max(axis=1), rtol=0, atol=1e-4)
    models_table.setdefault(case.name, {})["greedy"] = "equal"


def greedy(model: Any, prompt: Sequence[int]) -> list[int]:
    """What `generate` makes of a prompt."""
    import torch

    tokens = torch.tensor([prompt])
    with torch.no_grad():
        made = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            do_sample=False,
            max_new_tokens=NEW,
            pad_token_id=0,
        )
    return made[0, len(prompt) :].tolist()


def test_adapters_merged_and_through_peft(
    case: Case, mesh: Any, tmp_path: Path, models_table: Table
) -> None:
    from peft import PeftModel

    lora = Lora(rank=3, alpha=6, targets=adaptable(case.config))
    config = replace(case.config, lora=lora)
    drawn = init_params(config, 5, mesh, only=trained_names(config))
    adapters = {
        name: 0.1 * jax.random.normal(jax.random.key(i), value.shape)
        for i, (name, value) in enumerate(sorted(drawn.items()))
    }
    params = {**case.params, **adapters}
    batch, _ = rows()
    change = np.asarray(run(config, params, **batch)) - run(case.config, case.params, **batch)
    assert np.abs(change).max() > 0.1
    save_folder(tmp_path / "merged", config, params)
    merged = worst(config, params, load_torch(tmp_path / "merged"))
    assert merged < 2e-4
    cells = models_table.setdefault(case.name, {})
    cells["lora"] = f"{merged:.1e}"
    if case.config.fused:
        with pytest.raises(UserError, match="several linear maps in one matrix"):
            save_adapter(tmp_path / "adapter", config, params, str(case.folder))
        cells["peft"] = "refused: fused"
        return
    save_adapter(tmp_path / "adapter", config, params, str(case.folder))
    peft = PeftModel.from_pretrained(load_torch(case.folder), str(tmp_path / "adapter"))
    through = worst(config, params, peft.eval())
    assert through < 2e-4
    again, back = load_adapter(tmp_path / "adapter", case.config, case.params, mesh)
    assert again == config
    for name, value in adapters.items():
        np.testing.assert_array_equal(back[name], value, err_msg=name)
    cells["peft"] = f"{through:.1e}"
