"""Length classes: one compiled shape for all prompts or rows of about the same length."""

from __future__ import annotations

SHORTEST = 32


def length_class(tokens: int) -> int:
    """The power of two, `SHORTEST` at least, that holds so many tokens."""
    return max(SHORTEST, 1 << (tokens - 1).bit_length())
