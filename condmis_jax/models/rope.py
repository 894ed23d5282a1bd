"""Rotary positions: frequencies with every scaling that the families use, and their application.

Formulas follow transformers' `modeling_rope_utils.py` (default, linear, llama3, yarn, longrope).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from condmis_jax.models._reader import Reader


@dataclass(frozen=True)
class Rope:
    """One table of rotary frequencies.

    Attributes:
        frequencies: radians a position for each rotated pair; the first 2 * len(frequencies)
            numbers of a head are rotated, the rest pass unchanged.
        scale: multiplies the rotated numbers (yarn, longrope).
        long, switch: with longrope, conversations of more than `switch` tokens use `long` instead.
            The whole conversation does, from its first token on, as in transformers.
    """

    frequencies: tuple[float, ...]
    scale: float = 1.0
    long: tuple[float, ...] = ()
    switch: int = 0


def read_rope(
    config: Reader, H: int, theta: float = 10_000.0, values: Reader | None = None
) -> Rope:
    """The table that a `config.json` describes.

    Args:
        config: the whole config.
        H: head width.
        theta: the base where none is given.
        values: the object with this table's parameters; default: `rope_parameters`, or the older
            `rope_scaling` beside a `rope_theta`.

    Raises:
        UserError: an unknown scaling or a missing parameter, named.
    """
    if values is None:
        theta = config.number("rope_theta", theta)
        key = "rope_parameters" if config.get("rope_parameters") else "rope_scaling"
        values = config.inner(key)
        nested = any(isinstance(v, Mapping) for v in values.raw.values())
        config.refuse(nested, f"{key} for each kind of layer")
    base = values.number("rope_theta", theta)
    partial = (values if "partial_rotary_factor" in values.raw else config).number(
        "partial_rotary_factor", 1.0
    )
    width = int(H * partial)
    if width % 2 or not 0 < width <= H:
        raise values.error(f"partial_rotary_factor {partial} of a head of {H} leaves no even width")
    inverse = 1.0 / np.float32(base) ** (np.arange(0, width, 2, dtype=np.float32) / width)
    kind = values.get("rope_type", values.get("type", "default"))
    if kind == "su":  # the first name of longrope, in older Phi-3 files
        kind = "longrope"
    if kind == "default":
        return _rope(inverse)
    if kind == "linear":
        return _rope(inverse / np.float32(values.number("factor")))
    known = {"llama3": _llama3, "yarn": _yarn, "longrope": _longrope}
    if kind not in known:
        raise values.error(
            f"rotary scaling {kind!r} is not supported; supported: default, linear, "
            f"{', '.join(known)}"
        )
    longest = config.size("max_position_embeddings")
    inside = values.size("original_max_position_embeddings", longest)
    # Phi-3 writes it beside the scaling, not into it.
    original = config.size("original_max_position_embeddings", inside)
    return known[kind](values, inverse, original, longest, base)


def _rope(frequencies: np.ndarray, scale: float = 1.0) -> Rope:
    return Rope(tuple(float(f) for f in frequencies.astype(np.float32)), scale)


def _llama3(values: Reader, inverse: np.ndarray, original: int, _: int, base: float) -> Rope:
    factor = values.number("factor")
    low, high = values.number("low_freq_factor"), values.number("high_freq_factor")
    # Turns within the original context: many stay, few are stretched, between them both mix.
    turns = original * inverse / (2 * math.pi)
    mix = np.clip((turns - low) / (high - low), 0, 1)
    return _rope((1 - mix) * inverse / factor + mix * inverse)


def _yarn(values: Reader, inverse: np.ndarray, original: int, longest: int, base: float) -> Rope:
    factor = values.optional("factor") or longest / original

    def growth(weight: float = 1.0) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    scale = values.optional("attention_factor")
    if scale is None:
        one, all_dims = values.optional("mscale"), values.optional("mscale_all_dim")
        scale = growth(one) / growth(all_dims) if one and all_dims else growth()
    width = 2 * len(inverse)

    def place(rotations: float) -> float:
        return width * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first = place(values.optional("beta_fast") or 32.0)
    last = place(values.optional("beta_slow") or 1.0)
    if values.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    if first == last:
        last += 0.001
    keep = 1 - np.clip((np.arange(width // 2) - first) / (last - first), 0, 1)
    return _rope(inverse / factor * (1 - keep) + inverse * keep, scale)


def _longrope(values: Reader, inverse: np.ndarray, original: int, longest: int, _: float) -> Rope:
    factor = values.optional("factor") or longest / original
    scale = values.optional("attention_factor")
    if scale is None:
        scale = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    short, long = (
        _rope(inverse / np.asarray(values.numbers(key, len(inverse)), np.float32), scale)
        for key in ("short_factor", "long_factor")
    )
    return Rope(short.frequencies, scale, long.frequencies, original)


def conversation_lengths(positions: jax.Array, segments: jax.Array) -> jax.Array:
    """Tokens of the conversation that each token of packed rows belongs to, all [B, T] int32."""

    def row(position: jax.Array, segment: jax.Array) -> jax.Array:
        return jax.ops.segment_max(position, segment, position.shape[0] + 1)[segment] + 1

    return jax.vmap(row)(positions, segments)


def rope_angles(
    rope: Rope, positions: jax.Array, lengths: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """(cos, sin) of the rotary angles, each [B, T, 1, W/2] float32, W numbers a head rotated.

    Args:
        positions: [B, T].
        lengths: [B, T] tokens of each token's conversation; only longrope asks for them.
    """
    frequencies = jnp.asarray(rope.frequencies, jnp.float32)
    if rope.long:
        if lengths is None:
            raise ValueError("longrope needs the lengths of the conversations")
        long = jnp.asarray(rope.long, jnp.float32)
        frequencies = jnp.where(lengths[..., None, None] > rope.switch, long, frequencies)
    angles = positions[..., None, None].astype(jnp.float32) * frequencies
    return jnp.cos(angles) * rope.scale, jnp.sin(angles) * rope.scale


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary embedding in the half-split form of Hugging Face; x is [B, T, heads, H]."""
    half = cos.shape[-1]
    y = x.astype(jnp.float32)
    a, b = y[..., :half], y[..., half : 2 * half]
    parts = [a * cos - b * sin, b * cos + a * sin]
    if 2 * half < x.shape[-1]:
        parts.append(y[..., 2 * half :])
    return jnp.concatenate(parts, axis=-1).astype(x.dtype)
