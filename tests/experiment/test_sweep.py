"""Combinations of changes."""

from __future__ import annotations

import pytest

from condmis_jax.experiment.sweep import chain, over, product, zipped

A, B = over("a", (1, 2)), over("b", "xy")


def test_combinators() -> None:
    assert product(A, B) == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]
    assert zipped(A, B) == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert chain(A, B) == [{"a": 1}, {"a": 2}, {"b": "x"}, {"b": "y"}]
    assert product() == [{}] and chain() == []
    assert chain(product(A, B), [{"c": 0}])[-1] == {"c": 0}


def test_what_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="two sweeps change a"):
        product(A, A)
    with pytest.raises(ValueError, match="different lengths"):
        zipped(A, over("b", "xyz"))
