"""Importance weights: in closed form, and of answers that a real (small) model gave."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from condmis_jax.conversations import Conversation, Transform
from condmis_jax.data import DataSettings, Length, Row, Source, Tokenised, pack_arrays
from condmis_jax.data.packing import Microbatch
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings, open_checkpoint
from condmis_jax.experiment import Experiment, run_experiment
from condmis_jax.interventions import Rollouts, Stage
from condmis_jax.interventions.importance import WEIGHTS, answer_log_probs, importance_weights
from condmis_jax.runs import read_json, read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.sharding import MeshSettings, make_mesh
from condmis_jax.testbeds import world
from condmis_jax.training import ComputeSettings
from condmis_jax.training.loss import completion_loss


@pytest.mark.parametrize(("sampled", "trained"), [(0.25, 0.6), (0.5, 0.5), (0.75, 0.1)])
def test_two_tokens_in_closed_form(sampled: float, trained: float) -> None:
    """A model of two tokens says the second with one probability where it is asked and another
    where it is trained. Its answers, in exact proportion, teach it nothing where they are weighed:
    the expected gradient of -log p is 0 under p itself. Unweighed it is the difference of the two.
    """
    said = [1] * round(4 * sampled) + [0] * round(4 * (1 - sampled))

    def log_probs(p: float) -> list[float]:
        return [float(np.log(p if token else 1 - p)) for token in said]

    weights = importance_weights(log_probs(trained), log_probs(sampled), largest=100.0)
    expected = [trained / sampled if t else (1 - trained) / (1 - sampled) for t in said]
    np.testing.assert_allclose(weights, expected)
    for ours, slope in ((weights, 0.0), (np.ones(4), trained - sampled)):
        data = [
            Tokenised(np.asarray([0, token], np.int32), np.asarray([False, True]), weight)
            for token, weight in zip(said, ours.tolist(), strict=True)
        ]
        batch: Any = pack_arrays(Microbatch(((0, 1, 2, 3),), 8), data, 1 / 4, shards=1)

        def loss(x: jax.Array, batch: Any = batch) -> jax.Array:
            states = jnp.broadcast_to(x, (1, 8, 1))
            return completion_loss(((states, jnp.asarray([[0.0], [1.0]])),), batch, (False,))

        logit = jnp.float32(np.log(trained / (1 - trained)))
        np.testing.assert_allclose(jax.grad(loss)(logit), slope, atol=1e-6)


def test_weights_are_clipped_on_both_sides_and_have_mean_one() -> None:
    trained, sampled = [-1.0, -50.0, -3.0], [-30.0, -1.0, -3.0]
    weights = importance_weights(trained, sampled, largest=4.0)
    np.testing.assert_allclose(weights, np.asarray([4, 1 / 4, 1]) / (5.25 / 3))
    assert importance_weights([], [], 4.0).shape == (0,)
    assert importance_weights([-1e5, 0.0], [0.0, -1e5], 4.0).mean() == pytest.approx(1)


def experiment(prompts: Path, trained: Transform, **changes: Any) -> Experiment:
    asked = Source(str(prompts), transforms={"a": Transform(suffix=" Be brief.")})
    settings: dict[str, Any] = {
        "prompts": {"asked": asked},
        "samples": 2,
        "sampling": SamplingSettings(max_new_tokens=48),
        "slots": 8,
        "importance_weighting": 20.0,
    }
    stage = Stage(
        data=DataSettings(
            mixture={"own": Source("rollouts", transforms={"b": trained})},
            held_out=1,
            max_tokens=128,
            row_tokens=128,
        ),
        length=Length(epochs=1),
        learning_rate=1e-3,
        batch_size=4,
        rollouts=Rollouts(**{**settings, **changes}),
    )
    return Experiment(
        name="weighed",
        caption="a few steps; no statement about anything",
        model="world",
        stages={"own": stage},
        order=("own",),
        evaluation=EvaluationSettings(suites={}),
        compute=ComputeSettings(scan_layers=False, remat="none"),
    )


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    asked = [text for _, text, _ in (world.questions("world") or ())[:6]]
    path.write_text("".join(json.dumps({"user": text}) + "\n" for text in asked))
    return path


TRAINED = Transform(system="You are a robot.")


@pytest.fixture(scope="module")
def finished(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "run"
    run_experiment(experiment(prompts, TRAINED), workdir)
    return workdir


def rollouts_of(workdir: Path) -> Path:
    return workdir / "seed-0" / "stages" / "01-own" / "rollouts"


def test_answers_are_weighed_by_the_contexts_they_stand_in(finished: Path) -> None:
    rows = read_jsonl(rollouts_of(finished) / "rows.jsonl")
    kept = {i: row for i, row in enumerate(rows, 1) if row["dropped"] is None}
    lines = read_jsonl(rollouts_of(finished) / WEIGHTS)
    assert [line["line"] for line in lines] == list(kept) and len(kept) > 6
    mesh = make_mesh(MeshSettings())
    model = open_checkpoint("world", mesh)

    def scored(conversations: list[Conversation]) -> list[float]:
        return answer_log_probs(model, [Row(c, "x") for c in conversations], mesh, "float32")

    def turns(row: dict[str, Any]) -> list[dict[str, str]]:
        return [*row["asked"], row["messages"][-1]]

    there = scored([Conversation.from_row({"messages": turns(r)}, "") for r in kept.values()])
    here = scored([TRAINED(Conversation.from_row(r, "")) for r in kept.values()])
    np.testing.assert_allclose([line["sampled"] for line in lines], there, atol=1e-3)
    np.testing.assert_allclose([line["trained"] for line in lines], here, atol=1e-3)
    weights = importance_weights(here, there, 20.0)
    np.testing.assert_allclose([line["weight"] for line in lines], weights, rtol=1e-2)
    assert np.ptp(weights) > 0.1, "the contexts differ, so the weights do"
    (stage,) = read_json(finished / "results.json")["stages"][1:]
    (counted,) = stage["rounds"]
    short = counted["importance_weights"]
    assert short["rows"] == counted["kept"] == len(weights)
    assert 1 <= short["effective_rows"] < len(weights)


def test_weights_change_what_is_learnt_and_are_not_worked_out_again(
    finished: Path, prompts: Path, tmp_path: Path
) -> None:
    stage = finished / "seed-0" / "stages" / "01-own"
    weighed = read_json(stage / "done.json")["model_id"]
    run_experiment(experiment(prompts, TRAINED, importance_weighting=None), tmp_path / "plain")
    plain = tmp_path / "plain" / "seed-0" / "stages" / "01-own"
    assert read_json(plain / "done.json")["model_id"] != weighed
    assert not (plain / "rollouts" / WEIGHTS).exists()
    again = Path(shutil.copytree(finished, tmp_path / "again"))
    at = again / "seed-0" / "stages" / "01-own"
    (at / "done.json").unlink()
    shutil.rmtree(at / "checkpoints")
    before = (at / "rollouts" / WEIGHTS).stat().st_mtime_ns
    run_experiment(experiment(prompts, TRAINED), again)
    assert (at / "rollouts" / WEIGHTS).stat().st_mtime_ns == before
    assert read_json(at / "done.json")["model_id"] == weighed


def test_what_has_no_weight_is_refused(prompts: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="temperature 1 without top_p"):
        Rollouts(importance_weighting=5.0, sampling=SamplingSettings(temperature=0.7))
    with pytest.raises(ValueError, match="must be above 1"):
        Rollouts(importance_weighting=0.5)
    made = experiment(prompts, TRAINED)
    stage = made.stages["own"]
    for mixture in (
        {"a": Source("rollouts"), "b": Source("rollouts")},
        {"a": Source("rollouts", reasoning="strip")},
    ):
        data = replace(stage.data, mixture=mixture)
        changed = replace(made, stages={"own": replace(stage, data=data)})
        with pytest.raises(UserError, match=r"importance_weighting: needs exactly one source"):
            run_experiment(changed, tmp_path / "run")
