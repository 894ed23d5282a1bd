"""The published schema, and this project's own check against it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from made_up_run import fake_records, fake_results, fake_run, fake_stages, judged

from condmis_jax.errors import UserError
from condmis_jax.reports import results_schema, summarise
from condmis_jax.reports.schema import first_problem

VALIDATOR = jsonschema.Draft202012Validator(results_schema())


def test_the_schema_is_a_schema() -> None:
    of_schemas = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
    assert list(of_schemas.iter_errors(results_schema())) == []


@pytest.mark.parametrize("judge", ["exact", None])
def test_results_follow_the_schema(judge: str | None) -> None:
    results = fake_results(judged(fake_records(2), judge))
    VALIDATOR.validate(results)
    assert results["stages"][1]["held_out_loss"] == {"before": 3.51, "after": 1.124}


@pytest.mark.parametrize(
    "change",
    [
        {"held_out_loss": {"before": 1.0}},
        {"held_out_loss": {"before": "low", "after": 1.0}},
        {"dose": {"insecure": {"conversations": 3, "truncated": -1}}},
        {"dose": {"insecure": {"conversations": 3, "without_loss": 0.5}}},
        {"loss": {"step": [1], "training": ["low"]}},
    ],
)
def test_a_wrong_stage_is_refused(change: dict[str, Any]) -> None:
    stages = [{**stage, **change} for stage in fake_stages()]
    with pytest.raises(UserError, match=rf"results: stages\[0\]\.{next(iter(change))}"):
        summarise(fake_run(), fake_records(1), stages)


def small() -> dict[str, Any]:
    records = [r for r in fake_records(1) if r["stage"] == "01-insecure"]
    records = [r for r in records if r["trigger"] in ("plain", "json")]
    records = [r for r in records if r["question"] in ("bored", "ruler")]
    stages = [s for s in fake_stages() if s["name"] == "01-insecure"]
    stages[0]["loss"] = {"step": [0, 1], "training": [2.0, None]}
    results = summarise(fake_run(), records, stages)
    # Every kind of thing once is enough: this document is validated some ten thousand times.
    results["rates"] = results["rates"][1:]
    published = results["rates"][0]["published"]["sections"]
    results["rates"][0]["published"]["sections"] = {k: published[k] for k in ("2.1", "3.2")}
    return results


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(inside):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def test_agrees_with_jsonschema_on_every_single_change() -> None:
    """Each value of a document replaced and removed, each object with a key too many."""
    document = small()
    assert first_problem(document) is None
    verdicts = {True: 0, False: 0}
    for at in range(len(list(places(document)))):
        for new in ("delete", "add", None, -2, 7, 0.25, True, "word", [], {}):
            changed = copy.deepcopy(document)
            container, key = list(places(changed))[at]
            if new == "delete":
                del container[key]
            elif new == "add":
                if not isinstance(container, dict):
                    continue
                container["surplus"] = [1]
            else:
                container[key] = new
            valid = VALIDATOR.is_valid(changed)
            verdicts[valid] += 1
            assert (first_problem(changed) is None) == valid, (key, new, first_problem(changed))
    assert min(verdicts.values()) > 100  # both verdicts were put to the test
