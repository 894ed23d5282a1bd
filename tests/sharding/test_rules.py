"""The table from logical axes to mesh axes."""

from __future__ import annotations

from typing import Any

import pytest
from jax.sharding import PartitionSpec

from condmis_jax.errors import UserError
from condmis_jax.sharding import RULES, weight_sharding


def test_an_array_lies_where_its_axes_do(mesh: Any) -> None:
    place = weight_sharding(mesh, ("layers", "embed", "heads", "head"), (2, 8, 4, 16))
    assert place.spec == PartitionSpec(None, "fsdp", "tensor", None)


def test_two_axes_of_an_array_on_one_mesh_axis_are_rejected(
    mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "head", "tensor")
    with pytest.raises(UserError, match=r"'heads' and 'head' of one array .* mesh axis 'tensor'"):
        weight_sharding(mesh, ("layers", "embed", "heads", "head"), (2, 8, 4, 16))
    # Also where the second would be dropped because the axis does not divide it.
    with pytest.raises(UserError, match="'mlp' and 'head'"):
        weight_sharding(mesh, ("mlp", "head"), (8, 1))
    # An array with only one of the two is as before.
    assert weight_sharding(mesh, ("embed", "head"), (8, 16)).spec == PartitionSpec("fsdp", "tensor")


def test_a_rule_that_names_no_mesh_axis_is_rejected(
    mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "mlp", "tensors")
    with pytest.raises(UserError, match="'mlp' lies on 'tensors'"):
        weight_sharding(mesh, ("embed", "mlp"), (8, 16))
    with pytest.raises(UserError, match="'widths' has no rule"):
        weight_sharding(mesh, ("widths",), (8,))
