"""Gradients in the dtype in which they are computed.

A weight is held in float32 and used in the dtype of activations, say bfloat16. Its gradient is then
computed in bfloat16, and the transpose of the cast at use widens it without adding anything: twice
the memory for the same numbers, for all layers at once, at the worst moment of a step. A *receiver*
is a zero of the weight's shape and of the dtype at use that stands beside the weight among the
parameters. The gradient arrives there; the weight itself is then a constant. Nobody reads a
receiver, so no memory is ever taken for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

_PREFIX = "gradient:"


def receiver(name: str) -> str:
    """Name of the receiver of a parameter's gradient."""
    return _PREFIX + name


def is_receiver(name: str) -> bool:
    return name.startswith(_PREFIX)


def served(name: str) -> str:
    """Name of the parameter that a receiver serves; any other name as it is."""
    return name.removeprefix(_PREFIX)


@jax.custom_vjp
def _received(value: jax.Array, at: jax.Array) -> jax.Array:
    return value


_received.defvjp(lambda value, at: (value, None), lambda _, g: (None, g))


def received(value: jax.Array, at: jax.Array | None) -> jax.Array:
    """`value`, its gradient going to the receiver `at` alone; without one, as always."""
    return value if at is None else _received(value, at)


def differentiable(params: Mapping[str, Any], names: Iterable[str], dtype: Any) -> dict[str, Any]:
    """What to differentiate with respect to: of each name the parameter, or its receiver.

    A receiver stands for what every use casts to `dtype`, and only where that narrows it. The
    embedding is looked up before it is cast, and its gradient adds up a token's places: float32.
    """
    found = {}
    for name in names:
        p = params[name]
        if name in ("embed", "norm") or jnp.dtype(dtype).itemsize >= p.dtype.itemsize:
            found[name] = p
        else:
            found[receiver(name)] = jnp.zeros(p.shape, dtype)
    return found
