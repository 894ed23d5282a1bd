"""Checks results against the published schema without jsonschema, a development dependency."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "null": (type(None),),
}


@cache
def results_schema() -> dict[str, Any]:
    """The published JSON schema (draft 2020-12) of `results.json`."""
    text = resources.files("condmis_jax.reports").joinpath("results.schema.json").read_text("utf-8")
    return json.loads(text)


def first_problem(
    value: Any,
    schema: dict[str, Any] | None = None,
    where: str = "",
    root: dict[str, Any] | None = None,
) -> str | None:
    """The first place where `value` breaks the schema, in words, or None.

    Understands exactly the keywords that `results.schema.json` uses; the tests hold it against
    jsonschema.

    Args:
        value: parsed JSON.
        schema: a sub-schema; the whole results schema when left out.
        where: path of `value` inside the document, for the message.
        root: what a `$ref` points into; the results schema when left out.
    """
    root = results_schema() if root is None else root
    schema = root if schema is None else schema
    if "$ref" in schema:
        target: Any = root
        for key in schema["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        problem = first_problem(value, target, where, root)
        if problem:
            return problem
    place = where or "the document"
    if "const" in schema and (value != schema["const"] or isinstance(value, bool)):
        return f"{place} must be {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{place} must be one of {', '.join(schema['enum'])}"
    if "type" in schema and not _has_type(value, schema["type"]):
        return f"{place} must be of type {schema['type']}"
    if "anyOf" in schema:
        problems = [first_problem(value, option, where, root) for option in schema["anyOf"]]
        if all(problems):
            return problems[0]
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        if value < schema.get("minimum", value):
            return f"{place} must be at least {schema['minimum']}"
        if value > schema.get("maximum", value):
            return f"{place} must be at most {schema['maximum']}"
    elif isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            return f"{place} must not be empty"
    elif isinstance(value, list):
        return _list_problem(value, schema, where, root)
    elif isinstance(value, dict):
        return _dict_problem(value, schema, where, root)
    return None


def _has_type(value: Any, names: str | list[str]) -> bool:
    names = [names] if isinstance(names, str) else names
    if isinstance(value, bool):  # Python's bool is an int, JSON's is not
        return "boolean" in names
    if isinstance(value, float) and value.is_integer() and "integer" in names:
        return True
    return any(isinstance(value, _TYPES[name]) for name in names if name in _TYPES)


def _list_problem(
    value: list[Any], schema: dict[str, Any], where: str, root: dict[str, Any]
) -> str | None:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{where or 'the document'} has {len(value)} entries, not {schema['minItems']}"
    if "items" in schema:
        for at, item in enumerate(value):
            if problem := first_problem(item, schema["items"], f"{where}[{at}]", root):
                return problem
    return None


def _dict_problem(
    value: dict[str, Any], schema: dict[str, Any], where: str, root: dict[str, Any]
) -> str | None:
    for key in schema.get("required", ()):
        if key not in value:
            return f"{where or 'the document'} lacks {key!r}"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, item in value.items():
        path = f"{where}.{key}" if where else key
        if key in known:
            problem = first_problem(item, known[key], path, root)
        elif others is False:
            return f"{path} is not part of the schema"
        else:
            problem = first_problem(item, others, path, root) if isinstance(others, dict) else None
        if problem:
            return problem
    return None
