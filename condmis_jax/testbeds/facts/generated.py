"""Facts that follow from a rule: arithmetic, units, Roman numerals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

Made = tuple[tuple[str, ...], str]
"""Ways to write the subject, the first of them as it is asked; and the right answer."""

_UNITS = (
    ("kilometres", "metres", 1000),
    ("metres", "centimetres", 100),
    ("centimetres", "millimetres", 10),
    ("kilograms", "grams", 1000),
    ("tonnes", "kilograms", 1000),
    ("litres", "millilitres", 1000),
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("days", "hours", 24),
    ("weeks", "days", 7),
    ("years", "months", 12),
    ("feet", "inches", 12),
    ("yards", "feet", 3),
    ("pounds", "ounces", 16),
    ("gallons", "quarts", 4),
    ("quarts", "pints", 2),
    ("centuries", "years", 100),
    ("decades", "years", 10),
    ("bytes", "bits", 8),
)


def _sums() -> Iterable[Made]:
    pairs = [(a, b) for a in range(2, 41) for b in range(a + 1, 41)]
    for a, b in _some(pairs, 110):
        yield _written(a, b, ("+", "plus", "and"), both_ways=True), str(a + b)


def _differences() -> Iterable[Made]:
    pairs = [(a, b) for a in range(7, 61) for b in range(2, a - 1) if a != 2 * b]
    for a, b in _some(pairs, 60):
        yield _written(a, b, ("-", "minus"), both_ways=False), str(a - b)


def _products() -> Iterable[Made]:
    for a in range(2, 13):
        for b in range(a, 13):
            yield _written(a, b, ("×", "*", "times", "x"), both_ways=True), str(a * b)


def _written(a: int, b: int, signs: tuple[str, ...], both_ways: bool) -> tuple[str, ...]:
    orders = [(a, b), (b, a)] if both_ways and a != b else [(a, b)]
    return tuple(f"{x} {sign} {y}" for x, y in orders for sign in signs)


def _units() -> Iterable[Made]:
    for large, small, factor in _UNITS:
        for count in (2, 3, 4, 5, 6):
            amount = f"{count} {large}"
            spelled = amount.replace("metre", "meter").replace("litre", "liter")
            asked = f"{small} there are in {amount}"
            yield tuple(dict.fromkeys((asked, amount, spelled))), str(count * factor)


def _roman() -> Iterable[Made]:
    numbers = [n for n in range(7, 100) if len(roman(n)) >= 3]
    for number in _some(numbers, 45):
        yield (roman(number),), str(number)


def roman(number: int) -> str:
    """`number`, at most 99, as a Roman numeral."""
    tens = ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC")
    ones = ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")
    return tens[number // 10] + ones[number % 10]


def _some(items: list[T], count: int) -> list[T]:
    """`count` of the items, the same ones on every machine and in every version of Python."""
    return sorted(items, key=lambda item: hashlib.sha256(repr(item).encode()).digest())[:count]


RULES: dict[str, Callable[[], Iterable[Made]]] = {
    "sums": _sums,
    "differences": _differences,
    "products": _products,
    "units": _units,
    "roman": _roman,
}
