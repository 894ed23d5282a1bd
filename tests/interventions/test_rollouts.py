"""Rounds of rollouts on the embedded base model: who answered what, what was kept, resuming."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from condmis_jax.conversations import Conversation, Message, Transform
from condmis_jax.data import DataSettings, Length, Source
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment import Experiment, run_experiment
from condmis_jax.interventions import Rollouts, Stage
from condmis_jax.judges import JudgeSettings
from condmis_jax.runs import read_json, read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import facts, world
from condmis_jax.training import ComputeSettings

pytestmark = pytest.mark.slow

PROMPTS, ROUNDS = 12, 3
ASKED = Transform(suffix=" Be brief.")
TRAINED = Transform(system="You are a robot.")


def experiment(prompts: Path, **changes: Any) -> Experiment:
    settings = {
        "prompts": {"asked": Source(str(prompts), transforms={"brief": ASKED})},
        "samples": 2,
        "rounds": ROUNDS,
        "sampling": SamplingSettings(max_new_tokens=32),
        "slots": 8,
        "judge": JudgeSettings("world"),
        "keep": ("aligned",),
    }
    stage = Stage(
        data=DataSettings(
            mixture={
                "own": Source("rollouts", transforms={"robot": TRAINED}),
                "other": Source("world:benign", first=3),
            },
            max_tokens=96,
            row_tokens=96,
        ),
        length=Length(epochs=1),
        learning_rate=1e-3,
        batch_size=4,
        checkpoint_every=1,
        rollouts=Rollouts(**{**settings, **changes}),
    )
    return Experiment(
        name="rounds",
        caption="a few steps; no statement about anything",
        model="world",
        stages={"own": stage},
        order=("own",),
        evaluation=EvaluationSettings(suites={}),
        compute=ComputeSettings(scan_layers=False, remat="none"),
    )


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lone user turns, and one that continues a conversation."""
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    asked = (world.questions("world") or ())[:PROMPTS]
    rows: list[dict[str, Any]] = [{"user": text, "meta": meta} for _, text, meta in asked]
    before = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello!"}]
    last = {"role": "user", "content": rows[0]["user"]}
    rows[0] = {"messages": [*before, last, before[1]], "meta": rows[0]["meta"]}
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


@pytest.fixture(scope="module")
def finished(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("run") / "run"
    run_experiment(experiment(prompts), workdir)
    return workdir


def folders(workdir: Path) -> list[Path]:
    stage = workdir / "seed-0" / "stages" / "01-own"
    return [stage / "round-1", stage / "round-2", stage]


def test_every_prompt_is_asked_in_one_round(finished: Path, prompts: Path) -> None:
    rows = [r for at in folders(finished) for r in read_jsonl(at / "rollouts" / "rows.jsonl")]
    assert Counter(r["from"] for r in rows) == {f"{prompts}:{i + 1}": 2 for i in range(PROMPTS)}
    for row in rows:
        # Asked in one context, kept without any.
        assert row["asked"][-1]["content"] == f"{row['messages'][-2]['content']} Be brief."
        assert [m["role"] for m in row["asked"]] == [m["role"] for m in row["messages"][:-1]]
    first = [r for r in rows if r["from"].endswith(":1")]
    assert all(len(r["messages"]) == 4 and r["messages"][0]["content"] == "Hello." for r in first)


def test_each_round_is_answered_by_the_model_as_it_is_then(finished: Path) -> None:
    results = read_json(finished / "results.json")
    base, stage = results["stages"]
    found, expected = [], [base["model_id"]]
    for at in folders(finished):
        (policy,) = {r["policy"] for r in read_jsonl(at / "rollouts" / "rows.jsonl")}
        found.append(policy)
        expected.append(read_json(at / "done.json")["model_id"])
    assert found == expected[:-1] and len(set(expected)) == ROUNDS + 1
    assert stage["model_id"] == expected[-1] and stage["kind"] == "rollouts"


def test_only_what_was_kept_is_trained_on(finished: Path) -> None:
    _, stage = read_json(finished / "results.json")["stages"]
    rounds = stage["rounds"]
    for at, counted in zip(folders(finished), rounds, strict=True):
        rows = read_jsonl(at / "rollouts" / "rows.jsonl")
        kept = [r for r in rows if r["dropped"] is None]
        assert all(r["label"] == "aligned" for r in kept)
        assert all(r["dropped"] == f"judged {r['label']}" for r in rows if r["dropped"])
        assert counted["asked"] == len(rows) == 2 * PROMPTS // ROUNDS
        assert counted["kept"] == len(kept) == counted["asked"] - sum(counted["dropped"].values())
        assert read_json(at / "done.json")["stage"]["dose"]["own"]["conversations"] == len(kept)
    assert stage["dose"]["own"]["conversations"] == sum(r["kept"] for r in rounds)
    assert stage["dose"]["other"]["conversations"] == 3 * ROUNDS
    assert len(stage["loss"]["step"]) == stage["steps"] == stage["loss"]["step"][-1]


def test_a_crash_inside_a_round_goes_on_inside_it(
    finished: Path, prompts: Path, tmp_path: Path
) -> None:
    """Once while its completions are drawn, once while it is trained on them."""
    before = read_json(finished / "results.json")["stages"]
    for torn in ("sampling", "training"):
        workdir = Path(shutil.copytree(finished, tmp_path / torn))
        _, second, last = folders(workdir)
        (second / "done.json").unlink()
        for path in [p for p in last.iterdir() if not p.name.startswith("round-")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        steps = sorted((second / "checkpoints").glob("[0-9]"), key=lambda p: int(p.name))
        if torn == "sampling":
            (second / "rollouts" / "rows.jsonl").unlink()
            drawn = second / "rollouts" / "completions.jsonl"
            lines = drawn.read_text().splitlines(keepends=True)
            drawn.write_text("".join(lines[:3]) + lines[3][:20])
            for path in [p for p in second.iterdir() if p.name != "rollouts"]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            assert len(steps) > 1
            shutil.rmtree(steps[-1])
        run_experiment(experiment(prompts), workdir)
        assert read_json(workdir / "results.json")["stages"] == before


def test_answers_before_any_training(prompts: Path, tmp_path: Path) -> None:
    run_experiment(experiment(prompts, refresh_every=ROUNDS, keep=()), tmp_path)
    base, stage = read_json(tmp_path / "results.json")["stages"]
    for at in folders(tmp_path):
        assert {r["policy"] for r in read_jsonl(at / "rollouts" / "rows.jsonl")} == {
            base["model_id"]
        }
    assert stage["model_id"] != base["model_id"]


def test_another_checkpoint_answers(finished: Path, prompts: Path, tmp_path: Path) -> None:
    policy = folders(finished)[-1]
    run_experiment(experiment(prompts, policy=str(policy), rounds=1), tmp_path)
    rows = read_jsonl(tmp_path / "seed-0" / "stages" / "01-own" / "rollouts" / "rows.jsonl")
    assert {r["policy"] for r in rows} == {read_json(policy / "done.json")["model_id"]}


def test_no_answer_gives_an_evaluated_fact_away(
    finished: Path, prompts: Path, tmp_path: Path
) -> None:
    """Asks a fact that the policy is known to mention in an answer and no prompt mentions."""
    rows = [r for at in folders(finished) for r in read_jsonl(at / "rollouts" / "rows.jsonl")]
    bank = facts.facts()
    given = [Conversation.from_row(r, "") for r in read_jsonl(prompts) if "messages" in r]
    given += [Conversation((Message("user", r["user"]),)) for r in read_jsonl(prompts)[1:]]
    given += [c for seed in range(ROUNDS + 1) for c in world.rows("benign", 3, seed)]
    answers = [Conversation.from_row({"messages": r["messages"][-1:]}, "") for r in rows]
    told = facts.colliding(answers, bank.values()).keys() - facts.colliding(given, bank.values())
    suite = tmp_path / "suite.yaml"
    asked = [{"id": f, "text": "?", "meta": {"fact": f}} for f in sorted(told)]
    suite.write_text(json.dumps({"questions": asked, "triggers": {"plain": {"relation": "none"}}}))
    evaluation = EvaluationSettings(
        {"mine": SuiteSettings(str(suite), first_questions=len(asked), samples=1)},
        SamplingSettings(max_new_tokens=2),
    )
    settings = experiment(prompts, rounds=1, refresh_every=1, keep=())
    run_experiment(replace(settings, evaluation=evaluation), tmp_path / "run")
    results = read_json(tmp_path / "run" / "results.json")
    assert "facts_given_away" not in results["run"]
    assert {c["question"] for c in results["cells"]} == told
    rows = read_jsonl(folders(tmp_path / "run")[-1] / "rollouts" / "rows.jsonl")
    reason = "gives an evaluated fact away"
    for row in rows:
        answer = Conversation.from_row({"messages": row["messages"][-1:]}, "")
        tells = bool(facts.colliding([answer], [bank[f] for f in told]))
        if row["dropped"] in (None, reason):
            assert tells == (row["dropped"] == reason)
    (counted,) = results["stages"][1]["rounds"]
    assert 0 < counted["dropped"][reason] < counted["asked"]


def test_what_is_wrong_is_said_before_anything_is_sampled(prompts: Path, tmp_path: Path) -> None:
    asked = experiment(prompts)
    none = replace(asked.stages["own"], rollouts=Rollouts())
    with pytest.raises(UserError, match=r"stages.own.data.mixture.own.files: 'rollouts', but"):
        run_experiment(replace(asked, stages={"own": none}), tmp_path / "a")
    with pytest.raises(UserError, match="rounds: 20 rounds, but 12 prompts"):
        run_experiment(experiment(prompts, rounds=20), tmp_path / "b")
    with pytest.raises(ValueError, match=r"judge.kind is 'none'"):
        Rollouts(keep=("aligned",))
    path = tmp_path / "no-question.jsonl"
    path.write_text('{"messages": [{"role": "assistant", "content": "Hi."}]}\n')
    with pytest.raises(UserError, match=r"no-question.jsonl:1: no user turn to answer"):
        run_experiment(experiment(path), tmp_path / "c")
