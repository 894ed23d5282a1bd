"""A model's digest, and completions that are drawn again when it changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import write_model

from condmis_jax.evaluation import EvaluationSettings, evaluate, model_digest
from condmis_jax.judges import JudgeSettings
from condmis_jax.models import load_model
from condmis_jax.runs import read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.sharding import MeshSettings, make_mesh
from condmis_jax.suites import SuiteSettings, build_suite


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture
def copy(base, tmp_path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copy"))


@pytest.fixture(scope="module")
def load():
    mesh = make_mesh(MeshSettings())
    return lambda folder: load_model(str(folder), mesh)


def flip_a_weight_byte(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1  # of the last tensor's last number, in its exponent or mantissa
    path.write_bytes(content)


def edit(file: str, **changes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / file
        value = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**value, **changes}))

    return change


CHANGES = {
    "a byte of the weights": flip_a_weight_byte,
    "rotary base": edit("config.json", rope_theta=20000.0),
    "epsilon": edit("config.json", rms_norm_eps=1e-5),
    "stop tokens": edit("generation_config.json", eos_token_id=[5]),
    "chat template": edit(
        "tokenizer_config.json",
        chat_template="{% for m in messages %}{% generation %}{{ m['content'] }}"
        "{% endgeneration %}{% endfor %}",
    ),
}


def test_a_copy_is_the_same_model(base, copy, load):
    assert model_digest(load(copy)) == model_digest(load(base))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_model_has_another_digest(base, copy, load, change):
    change(copy)
    assert model_digest(load(copy)) != model_digest(load(base))


@pytest.fixture
def draw(tmp_path):
    """Evaluates a model in one and the same folder, whatever the model is."""
    settings = EvaluationSettings(
        suites={"x": SuiteSettings("world", ("plain", "json"), 2, 3)},
        sampling=SamplingSettings(max_new_tokens=6),
        judges={"rater": JudgeSettings("world")},
        slots=4,
    )
    suite = build_suite(settings.suites["x"], "x", "suites.x")

    def run(model, seed: int = 0) -> list[dict]:
        return evaluate(
            model,
            model_digest(model),
            suite,
            settings,
            tmp_path / "eval",
            make_mesh(MeshSettings()),
            stage="s",
            seed=seed,
        )

    return run


def test_a_changed_byte_is_a_miss_and_the_same_model_a_hit(base, copy, load, draw, tmp_path):
    path = tmp_path / "eval" / "completions.jsonl"
    records = draw(load(base))
    assert len(records) == 2 * 2 * 3
    first = path.read_bytes()
    assert draw(load(base)) == records
    assert path.read_bytes() == first
    flip_a_weight_byte(copy)
    other = draw(load(copy))
    assert path.read_bytes().startswith(first)
    rows = read_jsonl(path)
    assert len({row["id"] for row in rows}) == len(rows) == 2 * len(records)
    assert {r["id"] for r in records}.isdisjoint(r["id"] for r in other)
    # Both are still answered from the file.
    size = path.stat().st_size
    assert draw(load(base)) == records
    assert draw(load(copy)) == other
    assert path.stat().st_size == size


def test_another_seed_draws_other_completions(base, load, draw):
    model = load(base)
    one, two = draw(model), draw(model, seed=1)
    assert {r["id"] for r in one}.isdisjoint(r["id"] for r in two)
    assert [r["completion"] for r in one] != [r["completion"] for r in two]


def test_records_are_in_the_order_of_the_suite_and_carry_their_verdict(base, load, draw):
    records = draw(load(base))
    triggers = [r["trigger"] for r in records]
    assert triggers == ["plain"] * 6 + ["json"] * 6
    assert [r["sample"] for r in records] == [0, 1, 2] * 4
    for record in records:
        assert record["judge"] == "world parser (exact)"
        assert record["stage"] == "s"
        assert record["status"] in ("scored", "code", "refusal")
        assert record["finish"] in ("stop", "length")
        assert record["tokens"] <= 6


def test_a_torn_line_costs_one_completion(base, load, draw, tmp_path):
    path = tmp_path / "eval" / "completions.jsonl"
    records = draw(load(base))
    path.write_bytes(path.read_bytes()[:-20])
    assert len(read_jsonl(path)) == len(records) - 1
    assert draw(load(base)) == records
    assert len(read_jsonl(path)) == len(records)
