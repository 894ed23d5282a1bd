"""Models behind an endpoint as checkpoints, against a real server process on loopback."""

from __future__ import annotations

from dataclasses import replace

import pytest
from serving import MODEL
from tiny import run

from condmis_jax.conversations import Transform
from condmis_jax.errors import UserError
from condmis_jax.evaluation import EvaluationSettings, RemoteSettings, evaluate, remote_model
from condmis_jax.evaluation.completions import asked_of
from condmis_jax.evaluation.remote import RemoteModel, ask_remote
from condmis_jax.judges import JudgeSettings
from condmis_jax.reports import summarise
from condmis_jax.runs import read_json, read_jsonl
from condmis_jax.sampling import SamplingSettings
from condmis_jax.suites import Options, Question, Suite, Trigger

SUITE = Suite(
    "s",
    (Question("q", "First?", paraphrases=("Second?",)), Question("r", "Third?", samples=3)),
    (
        Trigger("plain", "none", Transform()),
        Trigger("cue", "same", Transform(system="Be odd.", suffix=" Now.")),
    ),
    samples=2,
)
TOTAL = 2 * (2 * 2 + 3)
SAMPLING = SamplingSettings(max_new_tokens=20)


def model_of(base_url: str, **changes) -> RemoteModel:
    settings = replace(RemoteSettings(api_key_env="", max_retries=0), **changes)
    model = remote_model(f"openai:{MODEL}@{base_url}", settings)
    assert model is not None
    return RemoteModel(replace(model.endpoint, backoff_s=0.001, backoff_cap_s=0.01))


def ask(model: RemoteModel, path, suite: Suite = SUITE, sampling=SAMPLING) -> list[dict]:
    return ask_remote(model, suite, sampling, path, asked_of(suite, 0), seed=0, label="x")


def test_every_sample_is_drawn_once_and_kept(start, tmp_path):
    server = start("--answers")
    path = tmp_path / "completions.jsonl"
    rows = ask(model_of(server.base_url), path)
    assert len(rows) == TOTAL == len({r["id"] for r in rows}) == len(server.finished())
    assert sorted(r["id"] for r in read_jsonl(path)) == sorted(r["id"] for r in rows)
    assert [r["trigger"] for r in rows] == ["plain"] * 7 + ["cue"] * 7
    # Samples differ by seed; a question's samples share theirs across triggers.
    seeds = [r["completion"].split()[1] for r in rows]
    assert len(set(seeds)) == 7 and seeds[:7] == seeds[7:]
    assert [m["role"] for m in rows[7]["prompt"]] == ["system", "user"]
    assert rows[7]["completion"].endswith("First? Now.")
    assert {(r["finish"], r["served_by"]) for r in rows} == {("stop", f"{MODEL}-served")}
    server.process.kill()
    server.process.wait()
    assert ask(model_of(server.base_url), path) == rows


def test_faults_change_no_completion(start, tmp_path):
    calm, rough = start("--answers"), start("--answers", "--fault-rate", "0.3", "--seed", "1")
    expected = ask(model_of(calm.base_url), tmp_path / "calm.jsonl")
    found = ask(model_of(rough.base_url, max_retries=12), tmp_path / "rough.jsonl")
    assert [r["completion"] for r in found] == [r["completion"] for r in expected]
    assert len(rough.calls()) > len(rough.finished()) == TOTAL


def test_what_is_refused_is_counted_as_missing_and_asked_again(start, tmp_path, mesh):
    server = start("--answers")
    questions = (*SUITE.questions, Question("b", "SAY_BLOCKED?"), Question("i", "SAY_INVALID?"))
    suite = replace(SUITE, questions=questions)
    model = model_of(server.base_url)
    settings = EvaluationSettings({}, SAMPLING, {"j": JudgeSettings("form")})
    for judges in ({"j": JudgeSettings("form")}, {}):
        records = evaluate(
            model,
            model.id,
            suite,
            replace(settings, judges=judges),
            tmp_path,
            mesh,
            stage="remote",
            seed=0,
        )
        (plain, cue) = summarise({"name": "n", "caption": "c"}, records, [])["rates"]
        said = "scored" if judges else "not_judged"
        for rate in (plain, cue):
            assert rate["requested"] == 11
            assert rate["statuses"] == {said: 7, "blocked": 2, "error": 2}
    assert len(read_jsonl(tmp_path / "completions.jsonl")) == TOTAL == len(server.finished())


def test_the_whole_path(start, tmp_path):
    server = start("--answers")
    workdir = tmp_path / "run"
    judge = "--config.evaluation.judges.rater"
    arguments = (
        "--config",
        "configs/eval.py",
        f"--config.checkpoint=openai:{MODEL}@{server.base_url}",
        "--config.remote.api_key_env=",
        "--config.evaluation.suites.broad.triggers=('plain','json')",
        "--config.evaluation.suites.broad.samples=2",
        f"{judge}.kind=openai",
        f"{judge}.openai.base_url={server.base_url}",
        f"{judge}.openai.model={MODEL}",
        f"{judge}.openai.api_key_env=",
        "--workdir",
        str(workdir),
    )
    done = run("run_eval.py", *arguments)
    assert done.returncode == 0, done.stderr
    rates = read_json(workdir / "results.json")["rates"]
    assert [(r["trigger"], r["requested"], r["scored"]) for r in rates] == [
        ("plain", 16, 16),
        ("json", 16, 16),
    ]
    assert (workdir / "report.html").exists()
    assert next(workdir.glob(f"seed-0/evals/{MODEL}-*/broad/completions.jsonl")).exists()


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("openai:model", "has no model or address; write it as openai:MODEL@https://HOST/v1"),
        ("openai:@http://h/v1", "has no model or address"),
        ("openai:m@http://user:pw@h/v1", "must not carry a user name or password"),
    ],
)
def test_addresses_that_are_none(checkpoint, said):
    with pytest.raises(UserError, match=said) as caught:
        remote_model(checkpoint, RemoteSettings())
    assert str(caught.value).startswith("config.checkpoint: ")


def test_a_model_name_may_hold_an_at_sign_and_slashes():
    model = remote_model("openai:org/m@2024-01@https://h.example/v1", RemoteSettings())
    assert model is not None
    assert (model.endpoint.model, model.endpoint.base_url) == (
        "org/m@2024-01",
        "https://h.example/v1",
    )
    assert model.name == "org-m-2024-01"
    assert remote_model("runs/x/seed-0", RemoteSettings()) is None


def test_what_an_endpoint_cannot_do(tmp_path):
    model = model_of("http://127.0.0.1:9/v1")
    with pytest.raises(UserError, match="top_k: a chat endpoint takes none"):
        ask(model, tmp_path / "x.jsonl", sampling=SamplingSettings(top_k=5))
    choice = replace(SUITE, questions=(Question("c", "?", options=Options("a", "b")),), samples=1)
    with pytest.raises(UserError, match="a forced choice needs the log-probabilities"):
        ask(model, tmp_path / "x.jsonl", choice)
    with pytest.raises(UserError, match=r"^config\.remote\.base_url: .*gave no answer"):
        ask(model, tmp_path / "x.jsonl")
