"""Adapters against peft: forward, import, export, merging; what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from condmis_jax.errors import UserError
from condmis_jax.models import (
    Base,
    LoadedModel,
    Lora,
    LoraSettings,
    init_params,
    load_model,
    logits,
    model_digest,
    new_adapters,
    save_adapter,
    save_folder,
    weight_table,
)
from condmis_jax.models.lora import LINEAR, PRESETS, TARGETS
from condmis_jax.models.registry import split_adapter

HF = {t: f"{t}_proj" for t in LINEAR} | {"unembed": "lm_head"}
CASES: dict[str, dict[str, Any]] = {
    "all-linear": {"rank": 4, "alpha": 8, "targets": LINEAR},
    "rslora": {"rank": 4, "alpha": 3, "rslora": True, "targets": ("q", "v", "down")},
    "with-unembedding": {"rank": 3, "alpha": 6, "targets": TARGETS},
    "unembedding-alone": {"rank": 2, "alpha": 2, "targets": ("unembed",)},
}


@pytest.fixture(scope="module", params=["untied", "tied"])
def folder(request: Any, tiny_folder: Path, tmp_path_factory: Any) -> Path:
    """A base model with a tokenizer, its embeddings tied or not."""
    if request.param == "untied":
        return tiny_folder
    from transformers import AutoModelForCausalLM

    out = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("tied") / "model"))
    model = AutoModelForCausalLM.from_pretrained(tiny_folder)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.lm_head.weight = model.model.embed_tokens.weight
    model.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def base(folder: Path, mesh: Any) -> LoadedModel:
    return load_model(str(folder), mesh)


def peft_model(folder: Path, case: dict[str, Any]) -> Any:
    """An adapted model of peft with random A and B."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(
            r=case["rank"],
            lora_alpha=case["alpha"],
            use_rslora=case.get("rslora", False),
            target_modules=[HF[t] for t in case["targets"]],
            task_type="CAUSAL_LM",
        ),
    )
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.normal_(0, 0.3)
    return model.eval()


def torch_logits(model: Any, tokens: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(tokens.astype(np.int64))).logits.numpy()


TOKENS = np.random.default_rng(0).integers(0, 300, (2, 40)).astype(np.int32)
run = jax.jit(logits, static_argnums=0)


@pytest.mark.parametrize("name", CASES)
def test_peft_folders_in_and_out(
    name: str, folder: Path, base: LoadedModel, mesh: Any, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    case = CASES[name]
    theirs = peft_model(folder, case)
    wanted = torch_logits(theirs, TOKENS)
    plain = np.asarray(run(base.config, base.params, TOKENS))
    assert np.abs(wanted - plain).max() > 0.5
    theirs.save_pretrained(tmp_path / "theirs")

    ours = load_model(str(tmp_path / "theirs"), mesh)
    assert ours.config.lora == Lora(**case) and ours.base is not None
    assert ours.base.digest == model_digest(base) != model_digest(ours)
    np.testing.assert_allclose(run(ours.config, ours.params, TOKENS), wanted, rtol=0, atol=2e-4)

    save_adapter(tmp_path / "ours", ours.config, ours.params, str(folder))
    loaded = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder), str(tmp_path / "ours")
    )
    np.testing.assert_allclose(torch_logits(loaded, TOKENS), wanted, rtol=0, atol=1e-5)
    again = load_model(f"{folder}+{tmp_path / 'ours'}", mesh)
    assert model_digest(again) == model_digest(ours)

    save_folder(tmp_path / "merged", ours.config, ours.params, ours.folder)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    np.testing.assert_allclose(torch_logits(merged, TOKENS), wanted, rtol=0, atol=2e-4)


def test_new_adapters_change_nothing_and_are_drawn_as_peft_draws_them(
    base: LoadedModel, folder: Path, mesh: Any
) -> None:
    lora = Lora(8, 16, targets=TARGETS)
    model = new_adapters(base, lora, Base("x", model_digest(base)), mesh, seed=3)
    np.testing.assert_array_equal(
        run(model.config, model.params, TOKENS), run(base.config, base.params, TOKENS)
    )
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    theirs = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder),
        LoraConfig(r=8, target_modules=list(HF.values())),
    )
    drawn = {n.replace(".default", ""): p for n, p in theirs.named_parameters()}
    for w in weight_table(model.config):
        if w.name.endswith(".a"):
            ours = np.asarray(model.params[w.name])
            reference = np.stack([drawn[n].detach().numpy() for n in w.hf_names(model.config)])
            for x in (ours, reference):
                assert np.abs(x).max() <= w.fan_in(model.config) ** -0.5
            assert ours.std() == pytest.approx(reference.std(), rel=0.1), w.name
            assert len(np.unique(ours)) > 0.99 * ours.size
    other = new_adapters(base, lora, Base("x", model_digest(base)), mesh, seed=4)
    assert model_digest(other) != model_digest(model)


def test_gradients_and_optimiser_state_exist_for_adapters_only(
    base: LoadedModel, mesh: Any
) -> None:
    from condmis_jax.data import Tokenised, pack_arrays
    from condmis_jax.data.packing import Microbatch
    from condmis_jax.training import ComputeSettings, OptimiserSettings, make_optimiser, make_step

    model = new_adapters(base, PRESETS["reasoning"], Base("x", "y"), mesh, seed=0)
    optimiser = make_optimiser(OptimiserSettings(weight_decay=0.1), 1e-2, 3, model.config)
    step = make_step(model.config, ComputeSettings(), optimiser, mesh)
    state = step.init_optimiser(model.params)
    adapters = {w.name for w in weight_table(model.config) if w.adapts}
    sizes = sum(model.params[n].size for n in adapters)
    # Two moments of every adapter, and counters.
    assert 0 <= sum(x.size for x in jax.tree.leaves(state)) - 2 * sizes < 10
    gradients, loss = step.zeros()
    assert gradients.keys() == adapters
    data = [Tokenised(TOKENS[0], np.ones(40, bool))]
    arrays = step.place(pack_arrays(Microbatch(((0,),), 64), data, 1 / 39, 1))
    before = {n: np.array(p) for n, p in model.params.items()}
    gradients, loss = step.accumulate(gradients, loss, model.params, arrays)
    after, _, norm = step.update(model.params, state, gradients)
    assert float(norm) > 0 and after.keys() == before.keys()
    for name, value in before.items():
        # At the first step B is 0, so A's gradient is 0 too; A only decays.
        assert np.array_equal(value, after[name]) == (name not in adapters), name


PLAIN = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "init_lora_weights": True}


@pytest.fixture(scope="module")
def adapter(tiny_model: LoadedModel, mesh: Any, tmp_path_factory: Any) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "a"
    model = new_adapters(tiny_model, Lora(4, 8), Base("x", "y"), mesh, seed=0)
    save_adapter(out, model.config, model.params, str(tiny_model.folder))
    return out


def refused(model: str, mesh: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(model, mesh)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("bias", "lora_only"),
        ("layers_to_transform", [0]),
        ("rank_pattern", {"q_proj": 2}),
        ("alpha_pattern", {"q_proj": 2}),
        ("init_lora_weights", "pissa"),
        ("target_parameters", ["mlp.experts.gate_up_proj"]),
        ("trainable_token_indices", [1]),
        ("lora_bias", True),
        ("some_later_method", {"x": 1}),
        ("peft_type", "ADALORA"),
    ],
)
def test_settings_beyond_plain_lora_are_refused(
    adapter: Path, mesh: Any, tmp_path: Path, key: str, value: Any
) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "a"))
    path = copy / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    message = refused(str(copy), mesh)
    assert message.startswith(f"{path}: {key} = ") and "merge" in message


def damaged(adapter: Path, out: Path, change: Any) -> Path:
    from safetensors.numpy import load_file, save_file

    copy = Path(shutil.copytree(adapter, out / "a"))
    tensors = load_file(copy / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, copy / "adapter_model.safetensors")
    return copy


NAME = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


def test_tensors_that_do_not_fit_are_named(adapter: Path, mesh: Any, tmp_path: Path) -> None:
    def of(number: int, change: Any) -> str:
        return refused(str(damaged(adapter, tmp_path / str(number), change)), mesh)

    assert "layers" in of(0, lambda t: t.pop(NAME)) and NAME in of(1, lambda t: t.pop(NAME))
    wrong = of(2, lambda t: t.update({NAME: np.zeros((4, 31), np.float32)}))
    assert NAME in wrong and "(4, 31)" in wrong and "(4, 32)" in wrong
    surplus = NAME.replace("q_proj", "z_proj")
    assert surplus in of(3, lambda t: t.update({surplus: np.zeros(3, np.float32)}))
    assert "holds no adapter" in of(4, lambda t: t.clear())


def test_an_adapter_whose_base_is_not_there(adapter: Path, mesh: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "a"))
    path = copy / "adapter_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"base_model_name_or_path": None}))
    assert f"BASE+{copy}" in refused(str(copy), mesh)
    path.write_text(json.dumps(settings | {"base_model_name_or_path": "some/model"}))
    assert "tools/fetch_model.py some/model" in refused(str(copy), mesh)


def test_the_revision_of_a_base_model_of_a_hub_is_kept(
    tiny_model: LoadedModel, mesh: Any, tmp_path: Path
) -> None:
    model = new_adapters(tiny_model, Lora(4, 8), Base("x", "y"), mesh, seed=0)
    for base, names in (
        ("some/model@v2", ("some/model", "v2")),
        ("smollm2-135m-q4", ("smollm2-135m-q4", None)),
        (str(tiny_model.folder), (str(tiny_model.folder), None)),
    ):
        save_adapter(tmp_path / "a", model.config, model.params, base)
        kept = json.loads((tmp_path / "a/adapter_config.json").read_text())
        assert (kept["base_model_name_or_path"], kept.get("revision")) == names
        assert split_adapter(str(tmp_path / "a")) == (base, tmp_path / "a")


def test_a_copy_of_the_unembedding_that_differs_is_refused(
    adapter: Path, mesh: Any, tmp_path: Path
) -> None:
    name = "base_model.model.lm_head.base_layer.weight"
    change = lambda t: t.update({name: np.zeros((300, 32), np.float32)})  # noqa: E731
    assert name in refused(str(damaged(adapter, tmp_path, change)), mesh)


def test_a_bfloat16_base_is_another_model(tiny_folder: Path, adapter: Path, mesh: Any) -> None:
    half = load_model(str(tiny_folder), mesh, dtype="bfloat16")
    assert {str(p.dtype) for p in half.params.values()} == {"bfloat16"}
    full = load_model(str(tiny_folder), mesh)
    assert model_digest(half) != model_digest(full)
    model = load_model(str(adapter), mesh, dtype="bfloat16")
    assert model.config.lora is not None and model.config.lora.base_dtype == "bfloat16"
    for w in weight_table(model.config):
        assert model.params[w.name].dtype == w.dtype == ("float32" if w.adapts else "bfloat16")
    made = init_params(model.config, 0, mesh)
    assert {n: p.dtype for n, p in made.items()} == {n: p.dtype for n, p in model.params.items()}


def test_presets_and_what_differs_from_them() -> None:
    assert LoraSettings().resolve() is None
    assert LoraSettings("betley").resolve() == Lora(32, 64, True, 0.0, LINEAR)
    reasoning = LoraSettings("reasoning").resolve()
    assert reasoning is not None and (reasoning.rank, reasoning.targets) == (32, TARGETS)
    found = LoraSettings("betley", rank=8, targets=("all-linear", "unembed")).resolve()
    assert found == Lora(8, 64, True, 0.0, TARGETS)
    assert Lora(32, 64, True).scale == pytest.approx(64 / 32**0.5)
    assert Lora(32, 64).scale == 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rank": 8}, "rank is set, but preset is 'none'"),
        ({"preset": "betley", "rank": 0}, "rank must be"),
        ({"preset": "betley", "alpha": -1.0}, "alpha must be"),
        ({"preset": "betley", "dropout": 1.0}, "dropout must be"),
        ({"preset": "betley", "targets": ()}, "targets must be"),
        ({"preset": "betley", "targets": ("q", "q")}, "targets must be"),
        ({"preset": "betley", "targets": ("q_proj",)}, "got 'q_proj'"),
    ],
)
def test_impossible_settings(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LoraSettings(**values)
