"""Values of a `config.json`, with an error that names the key when one is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from condmis_jax.errors import UserError


class Reader:
    """Typed look-ups in a `config.json` or in one of its objects.

    Attributes:
        raw: the values.
        where: file and, inside it, the object; errors begin with it.
        family: named when something is not supported.
    """

    def __init__(self, raw: Mapping[str, Any], where: str, family: str):
        self.raw, self.where, self.family = raw, where, family

    def error(self, what: str) -> UserError:
        return UserError(f"{self.where}: {what}")

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it is; `default` also stands for null."""
        value = self.raw.get(key)
        return default if value is None else value

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(f"{key} must be a positive integer, got {value!r}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive number; null is refused, absence gives the default."""
        value = self.raw.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise self.error(f"{key} must be a positive number, got {value!r}")
        return float(value)

    def optional(self, key: str, default: float | None = None) -> float | None:
        """A positive number, or None where it is null; absence gives the default."""
        return None if self.raw.get(key, default) is None else self.number(key, default)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of `count` numbers."""
        value = self.raw.get(key)
        if (
            not isinstance(value, list)
            or len(value) != count
            or not all(isinstance(v, int | float) for v in value)
        ):
            raise self.error(f"{key} must be a list of {count} numbers")
        return tuple(float(v) for v in value)

    def inner(self, key: str) -> Reader:
        """An object inside this one; empty where it is absent or null."""
        value = self.get(key, {})
        if not isinstance(value, Mapping):
            raise self.error(f"{key} must be an object, got {value!r}")
        return Reader(value, f"{self.where}: {key}", self.family)

    def refuse(self, condition: Any, what: str) -> None:
        """Raises UserError where the model asks for something that is not computed here."""
        if condition:
            raise self.error(f"{what} is not supported for model_type {self.family}")
