"""Text as tokens that can be compared: case, accents, punctuation and number words do not count."""

from __future__ import annotations

import re
import unicodedata

_UNTIL_NINETEEN = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen
"""
_FROM_TWENTY = "twenty thirty forty fifty sixty seventy eighty ninety"
_VALUES = {word: n for n, word in enumerate(_UNTIL_NINETEEN.split())}
_VALUES |= {word: 10 * n for n, word in enumerate(_FROM_TWENTY.split(), 2)}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}

_POSSESSIVE = re.compile(r"(?<=\w)['’ʼ]s\b")
_APOSTROPHE = re.compile(r"(?<=\w)['’ʻʼ`](?=\w)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
# A hyphen is a minus only in front of a digit and behind a space or a digit.
_TOKEN = re.compile(r"\d+\.\d+|[^\W\d_]+|\d+|[+×*÷=]|(?<=[\d\s])[-−–](?=\s*\d)")
# No number in words reaches across one of these; a point inside 2.5 is none.
_BREAK = re.compile(r"[;,:!?()\"\n]+|\.(?!\d)")
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "æ": "ae", "œ": "oe"})


def tokens(text: str) -> list[str]:
    """The words, numbers and arithmetic signs of a text.

    "The N'Djamena of São Tomé's twenty-five km" gives the, ndjamena, of, sao, tome, 25, km.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _APOSTROPHE.sub("", _POSSESSIVE.sub("", text))
    if not text.isascii():
        text = "".join(
            c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)
        ).translate(_LETTERS)
    out: list[str] = []
    for part in _BREAK.split(_THOUSANDS.sub("", text)):
        out += _with_numbers(["-" if t in "−–" else t for t in _TOKEN.findall(part)])
    return out


def _with_numbers(words: list[str]) -> list[str]:
    """Runs of number words replaced by their value in digits."""
    out: list[str] = []
    at = 0
    while at < len(words):
        if words[at] not in _VALUES:
            out.append(words[at])
            at += 1
            continue
        value, at = _number(words, at)
        out.append(str(value))
    return out


def _number(words: list[str], at: int) -> tuple[int, int]:
    """The number whose words begin at `at`, and the place behind it."""
    total, part, last = 0, _VALUES[words[at]], _VALUES[words[at]]
    at += 1
    while at < len(words):
        word = words[at]
        ahead = words[at + 1] if at + 1 < len(words) else ""
        if word in _SCALES:
            scale = _SCALES[word]
            if scale == 100:
                part *= 100
            else:
                total, part = total + part * scale, 0
            last = scale
        elif word == "and" and last >= 100 and ahead in _VALUES:
            pass
        elif word in _VALUES and _continues(last, _VALUES[word]):
            last = _VALUES[word]
            part += last
        elif word in _VALUES and 10 <= part <= 99 and total == 0 and _VALUES[word] >= 10:
            last = _VALUES[word]  # a year: nineteen forty-five
            part = 100 * part + last
        else:
            break
        at += 1
    return total + part, at


def _continues(last: int, value: int) -> bool:
    """Whether `value` may follow in one number: five behind twenty, twelve behind hundred."""
    return (last >= 100 and value > 0) or (20 <= last <= 90 and 1 <= value <= 9)


def find(needle: tuple[str, ...], hay: list[str], start: int = 0) -> int:
    """The first place at or behind `start` where `needle` stands in `hay`, or -1."""
    width = len(needle)
    for at in range(start, len(hay) - width + 1):
        if hay[at] == needle[0] and tuple(hay[at : at + width]) == needle:
            return at
    return -1
