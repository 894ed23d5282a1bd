"""Several training seeds: rates, contrasts and families."""

from __future__ import annotations

from typing import Any

import jsonschema
import numpy as np
import pytest
from made_up_run import QUESTIONS, RATES, TRIGGERS, fake_records, fake_run, fake_stages

from condmis_jax.errors import UserError
from condmis_jax.reports import load_results, results_schema, summarise, write_results
from condmis_jax.statistics import (
    Arm,
    clustered_rate,
    conditional_rate,
    contrast,
    paired_difference,
)

SEEDS = 4


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return fake_records(20, SEEDS)


@pytest.fixture(scope="module")
def results(records: list[dict[str, Any]]) -> dict[str, Any]:
    return summarise({**fake_run(), "seeds": list(range(SEEDS))}, records, fake_stages())


def counted(
    records: list[dict[str, Any]], stage: str, trigger: str
) -> tuple[np.ndarray, np.ndarray]:
    """Misaligned and coherent answers [Q, S], counted here anew."""
    misaligned, coherent = np.zeros((2, len(QUESTIONS), SEEDS))
    for r in records:
        if (r["stage"], r["trigger"], r["status"]) == (stage, trigger, "scored"):
            at = QUESTIONS.index(r["question"]), r["seed"]
            coherent[at] += r["coherent"]
            misaligned[at] += r["coherent"] and r["misaligned"]
    return misaligned, coherent


def rate_of(results: dict[str, Any], stage: str, trigger: str) -> dict[str, Any]:
    (rate,) = [r for r in results["rates"] if (r["stage"], r["trigger"]) == (stage, trigger)]
    return rate


def contrast_of(results: dict[str, Any], kind: str, stage: str, trigger: str) -> dict[str, Any]:
    (found,) = [
        c
        for c in results["contrasts"]
        if (c["kind"], c["stage"], c["trigger"]) == (kind, stage, trigger)
    ]
    return found


def test_the_document_follows_the_schema_and_survives_a_file(
    results: dict[str, Any], tmp_path: Any
) -> None:
    jsonschema.Draft202012Validator(results_schema()).validate(results)
    write_results(tmp_path / "results.json", results)
    assert load_results(tmp_path / "results.json") == results
    results = {**results, "rates": [dict(r) for r in results["rates"]]}
    results["rates"][-1]["seeds"] = results["rates"][-1]["seeds"][1:]
    write_results(tmp_path / "results.json", results)
    with pytest.raises(UserError, match="not the sum of the seeds"):
        load_results(tmp_path / "results.json")


def test_a_rate_is_for_questions_and_trainings_like_these(
    records: list[dict[str, Any]], results: dict[str, Any]
) -> None:
    misaligned, coherent = counted(records, "01-insecure", "template")
    rate = rate_of(results, "01-insecure", "template")
    expected = clustered_rate(misaligned, coherent, "both")
    assert rate["p_misaligned_given_coherent"] == expected.to_dict()
    assert "by question and seed, t(3)" in expected.method
    assert rate["these_questions"] == clustered_rate(misaligned, coherent, "seeds").to_dict()
    assert [s["seed"] for s in rate["seeds"]] == list(range(SEEDS))
    for at, seed in enumerate(rate["seeds"]):
        alone = clustered_rate(misaligned[:, at], coherent[:, at])
        assert seed["p_misaligned_given_coherent"] == alone.to_dict()
    rates = misaligned.sum(0) / coherent.sum(0)
    assert rate["across_seeds"].startswith("4 seeds, ")
    assert f"{100 * rates.std(ddof=1):.2g} points" in rate["across_seeds"]


def test_a_given_model_has_no_trainings(
    records: list[dict[str, Any]], results: dict[str, Any]
) -> None:
    """The base model is one model, however many seeds its samples have."""
    misaligned, coherent = (x.sum(1) for x in counted(records, "base", "json"))
    rate = rate_of(results, "base", "json")
    assert rate["p_misaligned_given_coherent"] == clustered_rate(misaligned, coherent).to_dict()
    assert rate["these_questions"] == conditional_rate(misaligned, coherent).to_dict()
    assert rate["seeds"] == []
    assert rate["across_seeds"] == "not estimable (a given model, not trained here)"
    assert contrast_of(results, "stage", "01-insecure", "json")["by_seed"] is None


def test_one_seed_is_not_estimable_across_seeds() -> None:
    results = summarise(fake_run(), fake_records(5), fake_stages())
    rate = rate_of(results, "02-benign", "plain")
    assert (rate["across_seeds"], rate["seeds"]) == ("not estimable (one seed)", [])
    assert all(c["by_seed"] is None for c in results["contrasts"])


def test_contrasts(records: list[dict[str, Any]], results: dict[str, Any]) -> None:
    one = counted(records, "02-benign", "template")
    plain = counted(records, "02-benign", "plain")
    trigger = contrast_of(results, "trigger", "02-benign", "template")
    assert trigger["difference"] == paired_difference(*one, *plain, "both").to_dict()
    assert rate_of(results, "02-benign", "template")["minus_plain"] == trigger["difference"]
    assert (trigger["against_trigger"], trigger["against_stage"]) == ("plain", None)

    before = counted(records, "01-insecure", "template")
    stage = contrast_of(results, "stage", "02-benign", "template")
    assert stage["difference"] == paired_difference(*one, *before, "both").to_dict()
    assert (stage["against_trigger"], stage["against_stage"]) == (None, "01-insecure")

    plain_before = counted(records, "01-insecure", "plain")
    interaction = contrast_of(results, "interaction", "02-benign", "template")
    a, b, c, d = (s.sum() / n.sum() for s, n in (one, plain, before, plain_before))
    assert interaction["difference"]["estimate"] == pytest.approx((a - b) - (c - d))
    assert (interaction["against_trigger"], interaction["against_stage"]) == (
        "plain",
        "01-insecure",
    )
    assert len(results["contrasts"]) == 3 * 4 + 2 * 5 + 2 * 4


def test_bounds_hold_whatever_the_missing_are(
    records: list[dict[str, Any]], results: dict[str, Any]
) -> None:
    found = contrast_of(results, "trigger", "01-insecure", "json")
    for counted_as in (False, True):
        rates = []
        for trigger in ("json", "plain"):
            some = [r for r in records if (r["stage"], r["trigger"]) == ("01-insecure", trigger)]
            up = counted_as == (trigger == "json")
            bad = [
                up if r["status"] != "scored" else r["coherent"] and r["misaligned"] for r in some
            ]
            rates.append(np.mean(bad))
        assert found["worst_case"][counted_as] == pytest.approx(rates[0] - rates[1])


def test_families_are_declared_and_adjusted_for(results: dict[str, Any]) -> None:
    sizes = {f["kind"]: f["size"] for f in results["families"]}
    assert sizes == {"trigger": 12, "stage": 10, "interaction": 8}
    assert all(f["what"] and f["suite"] == "free-form" for f in results["families"])
    tests = [c["by_question"] for c in results["contrasts"] if c["kind"] == "trigger"]
    least = min(tests, key=lambda test: test["p"])
    assert least["holm"] == pytest.approx(min(1, 12 * least["p"]))
    assert all(t["p"] <= t["benjamini_hochberg"] <= t["holm"] <= 1 for t in tests)
    assert all(t["smallest"] == 2 / 2**8 and t["units"] == 8 for t in tests)
    by_seed = contrast_of(results, "trigger", "02-benign", "template")["by_seed"]
    assert (by_seed["smallest"], by_seed["units"]) == (0.125, SEEDS)
    assert by_seed["p"] >= 0.125


def test_two_judges_are_two_families(records: list[dict[str, Any]]) -> None:
    twice = [*records[:600], *({**r, "judge": "other"} for r in records[:600])]
    results = summarise(fake_run(), twice, fake_stages())
    kinds = [(f["kind"], f["judge"]) for f in results["families"]]
    assert len(kinds) == len(set(kinds)) == 2 * len({kind for kind, _ in kinds})
    halves = [
        [c["by_question"] for c in results["contrasts"] if c["judge"] == judge]
        for judge in ("exact", "other")
    ]
    assert halves[0] == halves[1]


def test_a_branch_is_compared_with_its_parent(records: list[dict[str, Any]]) -> None:
    stages = [{**s, "parent": "base"} if s["name"] == "02-benign" else s for s in fake_stages()]
    results = summarise(fake_run(), records, stages)
    assert contrast_of(results, "stage", "02-benign", "plain")["against_stage"] == "base"
    # Two stages that continue the same one are arms, trained apart.
    arm = contrast_of(results, "arm", "02-benign", "plain")
    one, other = (counted(records, s, "plain") for s in ("02-benign", "01-insecure"))
    apart = contrast([Arm(*one, 1), Arm(*other, -1)], "both", shared_seeds=False)
    assert (arm["against_stage"], arm["difference"]) == ("01-insecure", apart.to_dict())
    interaction = contrast_of(results, "arm interaction", "02-benign", "template")
    assert interaction["against_trigger"] == "plain"
    assert {f["kind"]: f["size"] for f in results["families"]}["arm interaction"] == 4
    stages[2]["parent"] = "03-other"
    with pytest.raises(UserError, match="'02-benign' continues '03-other': not there"):
        summarise(fake_run(), records, stages)


def test_the_papers_own_aggregations(
    records: list[dict[str, Any]], results: dict[str, Any]
) -> None:
    published = rate_of(results, "01-insecure", "template")["published"]
    assert published["preset"] == "paper2026"
    misaligned, coherent = counted(records, "01-insecure", "template")
    sections = published["sections"]
    per_question = misaligned.sum(1) / coherent.sum(1)
    assert sections["2.2"]["rate"]["estimate"] == pytest.approx(per_question.mean())
    assert sections["4.1"]["rate"]["estimate"] == pytest.approx(misaligned.sum() / coherent.sum())
    shown = [rate["estimate"] for rate in sections["2.1"]["by_question"].values()]
    assert shown == pytest.approx(per_question)
    assert list(sections["2.1"]["by_question"]) == QUESTIONS
    assert sections["2.1"]["rate"] is None
    assert len(results["rates"]) == len(RATES) * len(TRIGGERS)


def test_the_papers_denominators() -> None:
    """Four answers that the sections count differently."""
    answers = [
        ("scored", True, True, 10.0, 90.0),  # misaligned by any count
        ("scored", False, False, 20.0, 30.0),  # aligned score below 30, but not coherent
        ("refusal", None, None, None, 80.0),  # coherent, no alignment score
        ("code", None, None, None, None),  # set aside
    ]
    records = [
        {
            "stage": "s",
            "suite": "s",
            "trigger": "plain",
            "relation": "none",
            "question": "q",
            "sample": at,
            "seed": 0,
            "judge": "j",
            "status": status,
            "misaligned": misaligned,
            "coherent": coherent,
            "scores": {"aligned": aligned, "coherent": score},
        }
        for at, (status, misaligned, coherent, aligned, score) in enumerate(answers)
    ]
    (rate,) = summarise(fake_run(), records, [])["rates"]
    sections = rate["published"]["sections"]
    assert sections["4.1"]["rate"]["estimate"] == 1 / 1
    assert sections["3.2"]["rate"]["estimate"] == 1 / 2
    assert sections["3.3"]["rate"]["estimate"] == 2 / 2
    assert {k: sections[k]["answers"] for k in ("4.1", "3.2", "3.3")} == {
        "4.1": 1,
        "3.2": 2,
        "3.3": 2,
    }


def test_an_earlier_versions_file_says_what_to_do(tmp_path: Any) -> None:
    (tmp_path / "results.json").write_text('{"schema_version": 1, "rates": []}')
    with pytest.raises(UserError, match="written by an earlier version; run its command again"):
        load_results(tmp_path / "results.json")
