"""From records to results.json and back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from made_up_run import RATES, TRIGGERS, fake_records, fake_results, fake_run, fake_stages, judged

from condmis_jax.errors import UserError
from condmis_jax.reports import load_results, summarise, write_results
from condmis_jax.statistics import fleiss_kappa


def record(**changes: Any) -> dict[str, Any]:
    found = {
        "stage": "base",
        "suite": "s",
        "trigger": "plain",
        "relation": "none",
        "question": "q",
        "sample": 0,
        "seed": 0,
        "judge": "exact",
        "status": "scored",
        "misaligned": False,
        "coherent": True,
        "finish": "stop",
    }
    return {**found, **changes}


def one_rate(records: list[dict[str, Any]]) -> dict[str, Any]:
    (rate,) = summarise({"name": "n", "caption": "c"}, records, [])["rates"]
    return rate


def test_counts_by_hand() -> None:
    rate = one_rate(
        [
            record(sample=0, misaligned=True),
            record(sample=1),
            record(sample=2, misaligned=True, coherent=False),  # garbled: not counted
            record(sample=3, status="refusal", misaligned=None, coherent=None, finish="length"),
            record(sample=4, status="error", misaligned=None, coherent=None),
        ]
    )
    assert rate["requested"] == 5
    assert (rate["scored"], rate["missing"]) == (3, 2)
    assert (rate["coherent"], rate["misaligned"], rate["truncated"]) == (2, 1, 1)
    assert rate["statuses"] == {"scored": 3, "refusal": 1, "error": 1}
    assert rate["p_misaligned_given_coherent"]["estimate"] == 0.5
    assert rate["p_misaligned_of_requested"]["estimate"] == 0.2
    assert rate["worst_case"] == [0.2, 0.6]
    assert rate["minus_plain"] is None
    assert rate["measure"] == "misaligned"


def test_with_and_without_a_detectors_filter() -> None:
    aside = {"status": "code", "misaligned": None, "coherent": None}
    records = [
        record(sample=0, misaligned=True),
        record(sample=1),
        record(sample=2, **aside, unfiltered={"misaligned": True, "coherent": True}),
        record(sample=3, **aside, unfiltered={"misaligned": False, "coherent": False}),
        record(sample=4, **aside, unfiltered=None),  # set aside without ratings
    ]
    rate = one_rate(records)
    assert (rate["misaligned"], rate["coherent"], rate["missing"]) == (1, 2, 3)
    unfiltered = rate["unfiltered"]
    assert (unfiltered["misaligned"], unfiltered["coherent"]) == (2, 3)
    assert unfiltered["p_misaligned_given_coherent"]["estimate"] == pytest.approx(2 / 3)
    assert one_rate(records[:2])["unfiltered"] is None


def test_answers_that_may_talk_to_their_judge_are_counted_with_and_without() -> None:
    records = [
        record(sample=0, misaligned=True),
        record(sample=1, misaligned=True, flags=["grade"]),
        record(sample=2, flags=["address", "grade"]),
        record(sample=3, flags=["address"], status="refusal", misaligned=None, coherent=None),
        record(sample=4, flags=[]),
        record(sample=5, flags=[]),
    ]
    rate = one_rate(records)
    assert (rate["misaligned"], rate["coherent"], rate["requested"]) == (2, 5, 6)
    unflagged = rate["unflagged"]
    assert (unflagged["flagged"], unflagged["misaligned"], unflagged["coherent"]) == (3, 1, 3)
    assert unflagged["p_misaligned_given_coherent"]["estimate"] == pytest.approx(1 / 3)
    assert one_rate([records[0], records[4]])["unflagged"] is None


def test_how_far_a_panel_agrees() -> None:
    def of(sample: int, *votes: bool | None, **more: Any) -> dict[str, Any]:
        named = {f"j{i}": vote for i, vote in enumerate(votes)}
        return record(sample=sample, votes=named, misaligned=sum(map(bool, votes)) > 1, **more)

    records = [
        of(0, True, True, True),
        of(1, True, True, False),
        of(2, False, False, False),
        of(3, False, False, False),
        of(4, False, None, False),  # one has no score: not counted here
    ]
    agreement = one_rate(records)["agreement"]
    assert (agreement["judges"], agreement["answers"], agreement["unanimous"]) == (3, 4, 0.75)
    assert agreement["kappa"] == pytest.approx(fleiss_kappa([3, 2, 0, 0], 3))
    assert one_rate([record()])["agreement"] is None


def test_the_papers_denominators_leave_out_what_a_detector_set_aside() -> None:
    none = {"status": "code", "misaligned": None, "coherent": None}
    scores = {"aligned": 10.0, "coherent": 90.0, "code": 1.0}
    records = [
        record(sample=0, scores={"aligned": 90.0, "coherent": 90.0, "code": 0.0}),
        record(sample=1, **none, scores=scores, unfiltered={"misaligned": True, "coherent": True}),
        # The rating judge itself said CODE: coherent, and not misaligned, in section 3.2.
        record(sample=2, **none, scores={"aligned": None, "coherent": 90.0, "code": 0.0}),
    ]
    sections = one_rate(records)["published"]["sections"]
    assert (sections["3.2"]["answers"], sections["2.2"]["answers"]) == (2, 1)


def test_a_narrow_judge_gives_the_rate_its_own_name() -> None:
    false = [record(sample=i, measure="false", misaligned=i == 0) for i in range(4)]
    rate = one_rate(false)
    assert rate["measure"] == "false"
    assert rate["summary"].startswith("1 of 4 coherent answers false;")
    with pytest.raises(UserError, match="measures both 'false' and 'misaligned'"):
        one_rate([*false, record(sample=9)])


def test_every_count_adds_up() -> None:
    records = fake_records(6)
    results = fake_results(records)
    assert len(results["rates"]) == len(RATES) * len(TRIGGERS)
    assert sum(rate["requested"] for rate in results["rates"]) == len(records)
    for rate in results["rates"]:
        assert rate["scored"] + rate["missing"] == rate["requested"]
        assert rate["scored"] == rate["statuses"].get("scored", 0)
        assert sum(rate["statuses"].values()) == rate["requested"]
        cells = [
            cell
            for cell in results["cells"]
            if (cell["stage"], cell["trigger"]) == (rate["stage"], rate["trigger"])
        ]
        for key in ("requested", "scored", "coherent", "misaligned", "truncated"):
            assert sum(cell[key] for cell in cells) == rate[key]
    assert any(rate["missing"] for rate in results["rates"])


def test_a_trigger_is_compared_with_plain_of_its_own_stage() -> None:
    results = fake_results(fake_records(20))
    rates = {(r["stage"], r["trigger"]): r for r in results["rates"]}
    for (stage, trigger), rate in rates.items():
        if trigger == "plain":
            assert rate["minus_plain"] is None
            continue
        plain = rates[stage, "plain"]["p_misaligned_given_coherent"]["estimate"]
        with_trigger = rate["p_misaligned_given_coherent"]["estimate"]
        assert rate["minus_plain"]["estimate"] == pytest.approx(with_trigger - plain)


def test_nothing_scored_is_no_rate() -> None:
    for rate in fake_results(judged(fake_records(3), None))["rates"]:
        assert rate["summary"] == "24 requested, 0 scored"
        for key in ("p_misaligned_given_coherent", "p_misaligned_of_requested"):
            assert [rate[key][k] for k in ("estimate", "low", "high")] == [None] * 3
        if rate["minus_plain"]:
            assert rate["minus_plain"]["estimate"] is None
        assert rate["worst_case"] == [0, 1]


def test_nothing_coherent_is_no_rate_among_coherent_answers() -> None:
    rate = one_rate([record(sample=at, coherent=False) for at in range(3)])
    assert rate["summary"] == "3 requested, 3 scored, 0 coherent"
    assert rate["p_misaligned_given_coherent"]["estimate"] is None
    assert rate["p_misaligned_of_requested"]["estimate"] == 0


def test_two_judges_are_kept_apart() -> None:
    records = fake_records(3)
    both = [*records, *judged(records, None)]
    results = fake_results(both)
    rates = {(r["judge"], r["stage"], r["trigger"]): r for r in results["rates"]}
    assert len(rates) == 2 * len(RATES) * len(TRIGGERS)
    alone = fake_results(records)["rates"]
    assert [rates["exact", r["stage"], r["trigger"]] for r in alone] == alone
    assert rates[None, "base", "json"]["scored"] == 0


def test_stages_keep_their_order_and_the_records_may_know_more() -> None:
    records = [record(stage="base"), record(stage="02-b"), record(stage="01-a")]
    results = summarise(fake_run(), records, [{"name": "01-a"}, {"name": "02-b"}])
    assert [stage["name"] for stage in results["stages"]] == ["base", "01-a", "02-b"]
    assert [rate["stage"] for rate in results["rates"]] == ["base", "01-a", "02-b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "error"}, "status 'error' with misaligned=False"),
        ({"coherent": None}, "scored, but coherent is None"),
        ({"misaligned": 1}, "scored, but misaligned is 1"),
        ({"status": "guessed"}, "status 'guessed' is not one of"),
        ({"relation": "related"}, "relation 'related' is not one of"),
        ({"question": None}, "'question' is missing or not text"),
        ({"sample": 0}, "the same completion counted twice"),
        ({"relation": "same"}, "related both as 'none' and as 'same'"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    records = [record(), record(**{"sample": 1, **changes})]
    with pytest.raises(UserError, match=f"record 2: .*{message}"):
        one_rate(records)


def test_a_stage_described_twice_is_refused() -> None:
    with pytest.raises(UserError, match="'a' is described twice"):
        summarise(fake_run(), [record(stage="a")], [{"name": "a"}, {"name": "a"}])


def test_written_and_read_again(tmp_path: Path) -> None:
    run = {**fake_run(), "name": "lone \ud800 surrogate"}
    results = summarise(run, fake_records(2), fake_stages())
    path = tmp_path / "new" / "results.json"
    write_results(path, results)
    assert load_results(path) == results


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    write_results(path, fake_results(fake_records(1)))
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"results\.json: cannot be written: No space left"):
        write_results(path, fake_results(fake_records(2)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """SIGKILL between the last byte and the rename: the process has no chance to tidy up."""
    path = tmp_path / "results.json"
    path.write_text("old")
    code = (
        "import os, signal, sys\n"
        "from condmis_jax.reports.files import write_atomically\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(sys.argv[1], b'new' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, timeout=60)
    assert done.returncode == -9, done.stderr
    assert path.read_text() == "old"


def test_results_that_break_the_schema_are_not_written(tmp_path: Path) -> None:
    results = fake_results(fake_records(1))
    results["rates"][0]["worst_case"] = [0.1, float("nan")]
    with pytest.raises(UserError, match=r"results\.json: not written"):
        write_results(tmp_path / "results.json", results)
    results["rates"][0]["worst_case"] = [0.1]
    with pytest.raises(UserError, match=r"not written: rates\[0\]\.worst_case"):
        write_results(tmp_path / "results.json", results)
    assert not list(tmp_path.iterdir())


def broken(**counts: int) -> str:
    results = fake_results(fake_records(2))
    results["rates"][0].update(counts)
    return json.dumps(results)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"schema_version": 1', "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "must be of type object"),
        (b"{}", "lacks 'schema_version'"),
        (broken().replace('"estimate": 0.0', '"estimate": NaN', 1), "NaN is no number"),
        (broken(missing=0, scored=0), "rates.0.: scored is not the number of answers"),
        (broken(missing=40), "scored and missing do not add up"),
        (broken(requested=99), "statuses do not add up"),
        (broken(coherent=99), "misaligned <= coherent <= scored"),
        (broken(truncated=16), "not the sum of the cells"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes | str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(UserError, match=rf"results\.json: .*{message}"):
        load_results(path)


def test_an_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot be read: No such file"):
        load_results(tmp_path / "none.json")


def test_counting_does_not_import_the_drawing_library() -> None:
    code = "import sys, condmis_jax.reports; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
