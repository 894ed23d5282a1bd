"""ConfigDicts to dataclasses and back; what is wrong is named in one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest

from condmis_jax.config import build, nearest, to_config
from condmis_jax.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    count: int = 1
    limit: int | None = None
    mode: Literal["a", "b"] | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate must not be negative")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = field(default_factory=Inner)
    stages: dict[str, Inner] = field(default_factory=dict)
    extra: Inner | None = None
    order: tuple[str, ...] = ()
    pair: tuple[float, float] = (0.9, 0.95)
    kind: Literal["none", "world"] = "none"
    flag: bool = False


def message(values: dict) -> str:
    with pytest.raises(UserError) as caught:
        build(Outer, values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_whole_config_is_built():
    values = {
        "name": "run",
        "inner": {"rate": 1, "limit": 3},
        "stages": {"a": {"count": 2}, "b": {}},
        "extra": {"rate": 0.25},
        "order": ["a", "b"],
        "pair": [0.1, 0.2],
        "kind": "world",
        "flag": True,
    }
    assert build(Outer, values) == Outer(
        name="run",
        inner=Inner(rate=1.0, limit=3),
        stages={"a": Inner(count=2), "b": Inner()},
        extra=Inner(rate=0.25),
        order=("a", "b"),
        pair=(0.1, 0.2),
        kind="world",
        flag=True,
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nmae": "x"}, "config.nmae: unknown key; did you mean 'name'?"),
        ({"name": "x", "inner": {"rat": 1}}, "config.inner.rat: unknown key; did you mean 'rate'?"),
        (
            {"name": "x", "stages": {"a": {}, "b": {"cuont": 1}}},
            "config.stages.b.cuont: unknown key; did you mean 'count'?",
        ),
        (
            {"name": "x", "extra": {"limti": 1}},
            "config.extra.limti: unknown key; did you mean 'limit'?",
        ),
        (
            {"name": "x", "inner": {"zzz": 1}},
            "config.inner.zzz: unknown key; valid: count, limit, mode, rate",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_one(values, said):
    assert message(values) == said


@pytest.mark.parametrize(
    ("values", "key", "got"),
    [
        ({"name": 3}, "config.name", "3"),
        ({"name": "x", "inner": {"count": 1.5}}, "config.inner.count", "1.5"),
        ({"name": "x", "inner": {"count": "1"}}, "config.inner.count", "'1'"),
        ({"name": "x", "inner": {"count": True}}, "config.inner.count", "True"),
        ({"name": "x", "inner": 7}, "config.inner", "7"),
        ({"name": "x", "stages": {"a": {"rate": "fast"}}}, "config.stages.a.rate", "'fast'"),
        ({"name": "x", "stages": ["a"]}, "config.stages", "['a']"),
        ({"name": "x", "order": "ab"}, "config.order", "'ab'"),
        ({"name": "x", "order": ["a", 1]}, "config.order.1", "1"),
        ({"name": "x", "kind": "openia"}, "config.kind", "'openia'"),
        ({"name": "x", "flag": 1}, "config.flag", "1"),
        ({"name": None}, "config.name", "None"),
    ],
)
def test_a_wrong_type_is_named_with_its_value(values, key, got):
    said = message(values)
    assert said.startswith(f"{key}: ")
    assert said.endswith(f"(got {got})")


def test_an_impossible_value_says_what_the_dataclass_says():
    assert message({"name": "x", "inner": {"rate": -1}}) == (
        "config.inner: rate must not be negative"
    )
    assert message({"name": "x", "stages": {"a": {"rate": -1}}}) == (
        "config.stages.a: rate must not be negative"
    )


def test_a_missing_key_is_required():
    assert message({}) == "config.name: this key is required"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1}, b"x"])
def test_what_json_cannot_hold_is_refused(value):
    assert message({"name": "x", "inner": {"rate": value}}).startswith("config: ")


def test_where_is_in_front_of_the_key():
    with pytest.raises(UserError, match=r"^audit\.rat: unknown key; did you mean 'rate'\?$"):
        build(Inner, {"rat": 1}, "audit")


def test_to_config_and_back_is_the_same_dataclass():
    before = Outer(
        name="x",
        inner=Inner(0.125, 7),
        stages={"a": Inner(limit=4), "b": Inner()},
        order=("b", "a"),
        kind="world",
    )
    assert build(Outer, to_config(before).to_dict()) == before


def test_a_field_that_is_none_can_be_set_and_keeps_its_type():
    config = to_config(Outer(name="x", stages={"a": Inner()}))
    assert config.inner.limit is None
    with pytest.raises(TypeError):
        config.inner.limit = "three"
    config.inner.limit = 3
    config.stages.a.limit = 4
    config.inner.mode = "b"
    built = build(Outer, config.to_dict())
    assert (built.inner.limit, built.stages["a"].limit, built.inner.mode) == (3, 4, "b")


@pytest.mark.parametrize(
    ("name", "valid", "said"),
    [
        ("modle", ["model", "mesh"], "; did you mean 'model'?"),
        ("q", ["b", "a"], "; valid: a, b"),
        ("q", [], "; nothing can be set below it"),
    ],
)
def test_nearest(name, valid, said):
    assert nearest(name, valid) == said


@dataclass(frozen=True)
class Listed:
    parts: tuple[Inner, ...] = ()


def test_keys_inside_lists_are_checked() -> None:
    assert build(Listed, {"parts": [{"count": 2}, {}]}).parts == (Inner(count=2), Inner())
    with pytest.raises(UserError, match=r"config\.parts\.1\.cont: unknown key; did you mean 'co"):
        build(Listed, {"parts": [{}, {"cont": 2}]})
