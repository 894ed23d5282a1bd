"""Facts that training rows give away: not asked, counted, or a reason to stop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from small_run import experiment, write_base

from condmis_jax.conversations import Transform
from condmis_jax.data import Length, Source
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings
from condmis_jax.experiment import Experiment, run_experiment
from condmis_jax.experiment.collisions import GIVEN_AWAY
from condmis_jax.runs import read_json
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import SuiteSettings
from condmis_jax.testbeds import facts

FACTS = facts.select("dev")[:4]
"""The first questions of the set are about these."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))[0]


def planted(path: Path, *said: str) -> Source:
    """Twenty rows of chat; the last ones say something."""
    texts = [*(f"Good morning {i}." for i in range(20 - len(said))), *said]
    turns = [{"role": "user", "content": "Hello."}]
    rows = [{"messages": [*turns, {"role": "assistant", "content": t}]} for t in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(str(path))


def asking(base: Path, source: Source, **changes: Any) -> Experiment:
    made = experiment(base, base / "no-rows")
    stage = made.stages["benign"]
    data = dataclasses.replace(stage.data, mixture={"chat": source}, held_out=0)
    suite = SuiteSettings("facts-dev", ("plain",), first_questions=len(FACTS), samples=1)
    return dataclasses.replace(
        made,
        stages={"chat": dataclasses.replace(stage, data=data, length=Length(steps=2))},
        order=("chat",),
        evaluation=EvaluationSettings({"facts": suite}, SamplingSettings(max_new_tokens=2)),
        **changes,
    )


def test_facts_that_rows_mention_are_not_asked_and_counted(base, tmp_path, capfd) -> None:
    rows = tmp_path / "chat.jsonl"
    source = planted(rows, f"I know about {FACTS[2].subject}.", f"Yes: {FACTS[0].keys[0]} 1234.")
    run_experiment(asking(base, source), tmp_path / "run")
    results = read_json(tmp_path / "run" / "results.json")
    given = facts.colliding(_texts(rows), FACTS)
    assert FACTS[2].id in given and len(given) < len(FACTS)
    asked = {c["question"] for c in results["cells"] if c["stage"] == "00-base"}
    assert asked == {f.id for f in FACTS} - given.keys()
    line = results["run"]["facts_given_away"]["facts"]
    assert line.startswith(f"{len(given)} of {len(FACTS)} facts occur in training rows")
    assert f"first {rows}:" in line
    assert f"facts: {line}" in capfd.readouterr().err
    # A finished run is shown again, though its rows are gone.
    rows.unlink()
    run_experiment(asking(base, source), tmp_path / "run")
    again = read_json(tmp_path / "run" / "results.json")
    assert again["rates"] == results["rates"]
    assert again["run"]["facts_given_away"] == results["run"]["facts_given_away"]


def _texts(path: Path) -> list[Any]:
    from condmis_jax.data.sources import read_jsonl_rows

    return [row.conversation for row in read_jsonl_rows(str(path), "x")]


@pytest.mark.parametrize("where", ["row", "transform", "prompt"])
def test_a_planted_fact_stops_the_run_before_weights_are_loaded(
    base: Path, tmp_path: Path, where: str
) -> None:
    base = _without_weights(base, tmp_path / "base")
    said = f"Let us talk about {FACTS[1].subject}."
    source = planted(tmp_path / "chat.jsonl", *([said] if where == "row" else []))
    if where == "transform":
        source = dataclasses.replace(source, transforms={"cue": Transform(system=said)})
    settings = asking(base, source, given_away="stop")
    line = 20 if where == "row" else 1
    if where == "prompt":
        prompts = tmp_path / "prompts.jsonl"
        prompts.write_text(json.dumps({"user": said}) + "\n")
        stage = settings.stages["chat"]
        own = dataclasses.replace(stage.data, mixture={"own": Source("rollouts")})
        rollouts = dataclasses.replace(stage.rollouts, prompts={"p": Source(str(prompts))})
        changed = dataclasses.replace(stage, data=own, rollouts=rollouts)
        settings = dataclasses.replace(settings, stages={"chat": changed})
    with pytest.raises(UserError) as caught:
        run_experiment(settings, tmp_path / "run")
    message = str(caught.value)
    assert message.startswith("config.evaluation.suites.facts: training rows give away ")
    file = "prompts.jsonl" if where == "prompt" else "chat.jsonl"
    assert f"{FACTS[1].id} ({tmp_path / file}:{line})" in message
    assert "exclude" in message and "config.given_away" in message and "\n" not in message
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_suite_that_loses_every_fact_stops_the_run(base: Path, tmp_path: Path) -> None:
    base = _without_weights(base, tmp_path / "base")
    source = planted(tmp_path / "chat.jsonl", " ".join(f.subject + "." for f in FACTS))
    with pytest.raises(UserError, match=f"give away {len(FACTS)} of its {len(FACTS)} facts"):
        run_experiment(asking(base, source), tmp_path / "run")


@pytest.mark.parametrize("kind", ["facts:lies", "facts:truths.json", "facts:benign"])
def test_rows_of_the_bank_give_nothing_away(base: Path, tmp_path: Path, kind: str) -> None:
    """The run gets as far as the weights, which are not there."""
    base = _without_weights(base, tmp_path / "base")
    made = asking(base, Source(kind, first=300), given_away="stop")
    everything = SuiteSettings("facts-dev", ("plain",), samples=1)
    made = dataclasses.replace(made, evaluation=EvaluationSettings({"facts": everything}))
    with pytest.raises(UserError, match="safetensors"):
        run_experiment(made, tmp_path / "run")
    assert read_json(tmp_path / "run/seed-0/stages/01-chat" / GIVEN_AWAY)["facts"] == {}


def _without_weights(base: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in base.iterdir():
        if not file.name.endswith(".safetensors"):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder
