"""Dataclasses to ConfigDicts, so that config files are written with the real settings."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ml_collections import config_dict


def to_config(settings: Any) -> config_dict.ConfigDict:
    """A ConfigDict with every field of a dataclass instance, nested ones included.

    Every key is there, so each can be overridden on the command line; an optional field that is
    None keeps its type as a placeholder.
    """
    hints = get_type_hints(type(settings))
    values = {
        f.name: _convert(getattr(settings, f.name), hints[f.name])
        for f in dataclasses.fields(settings)
    }
    return config_dict.ConfigDict(values)


def _convert(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_config(value)
    if isinstance(value, dict):
        return config_dict.ConfigDict({k: _convert(v, None) for k, v in value.items()})
    if value is None and get_origin(hint) in (Union, types.UnionType):
        kind = next(a for a in get_args(hint) if a is not type(None))
        if get_origin(kind) is Literal:
            kind = type(get_args(kind)[0])
        return config_dict.placeholder(get_origin(kind) or kind)
    return value
