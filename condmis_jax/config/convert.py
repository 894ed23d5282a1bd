"""From a config file to frozen, validated dataclasses.

`ml_collections` gives files, arguments and overrides on the command line; pydantic checks types
and keys of plain dataclasses; this module turns what either says into one line for the user.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

from condmis_jax.errors import UserError

T = TypeVar("T")


def nearest(name: str, valid: Iterable[str]) -> str:
    """`; did you mean X?` for a misspelt name, or the list of valid names."""
    valid = sorted(valid)
    if not valid:
        return "; nothing can be set below it"
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid: {', '.join(valid)}"


def build(cls: type[T], values: Mapping[str, Any], where: str = "config") -> T:
    """Makes the frozen dataclass `cls`, nested ones included, out of plain nested values.

    Args:
        cls: a dataclass whose `__post_init__` raises ValueError for an impossible value.
        values: nested mappings, as `ConfigDict.to_dict()` gives them.
        where: the name in front of every key in error messages.

    Raises:
        UserError: an unknown key (with the nearest valid one), a wrong type or an impossible value.
    """
    import pydantic

    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where}: {error}; a config holds finite numbers, strings and lists"
        ) from None
    _check_keys(cls, json.loads(text), where)
    try:
        # JSON mode is strict about types but takes a list for a tuple, as configs write it.
        return pydantic.TypeAdapter(cls).validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join([where, *(str(part) for part in first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "missing":
            raise UserError(f"{key}: this key is required") from None
        shown = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
        raise UserError(f"{key}: {message}{shown}") from None


def _check_keys(cls: Any, values: Any, where: str) -> None:
    """Raises UserError for a key that no field has; pydantic ignores it in plain dataclasses."""
    if isinstance(values, list):
        for part in get_args(cls):
            for i, value in enumerate(values if dataclasses.is_dataclass(part) else ()):
                _check_keys(part, value, f"{where}.{i}")
        return
    if not isinstance(values, Mapping):
        return
    if not dataclasses.is_dataclass(cls):
        # dict[str, Settings] or Settings | None: look into the dataclass among the arguments.
        inner = [a for a in get_args(cls) if dataclasses.is_dataclass(a)]
        for part in inner:
            if getattr(cls, "__origin__", None) is dict:
                for name, value in values.items():
                    _check_keys(part, value, f"{where}.{name}")
            else:
                _check_keys(part, values, where)
        return
    hints = get_type_hints(cls)
    valid = [f.name for f in dataclasses.fields(cls)]
    for key, value in values.items():
        if key not in valid:
            raise UserError(f"{where}.{key}: unknown key{nearest(key, valid)}")
        _check_keys(hints[key], value, f"{where}.{key}")
