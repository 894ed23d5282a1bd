"""Products of tokens with weights, with a backward pass that transposes the narrow side only.

The gradient of a weight contracts over tokens, and XLA's CPU backend transposes the first operand
of such a product, with whatever was fused into it. JAX's own rule puts the output's gradient
there, which for "gate" and "up" is the widest array of a layer: a fifth of the gradient's time.

Shape letters: B batch, T sequence, the others as in `layers`.
"""

from __future__ import annotations

import math
import re
from functools import partial

import jax
import jax.numpy as jnp

OVER_TOKENS = (((0, 1), (0, 1)), ((), ()))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _product(spec: str, x: jax.Array, w: jax.Array) -> jax.Array:
    return jnp.einsum(spec, x, w)


def _forward(
    spec: str, x: jax.Array, w: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return jnp.einsum(spec, x, w), (x, w)


def _backward(
    spec: str, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, w = saved
    x_axes, w_axes, g_axes = re.split(",|->", spec)
    d_x = jnp.einsum(f"{g_axes},{w_axes}->{x_axes}", g, w)
    if math.prod(x.shape[2:]) <= math.prod(g.shape[2:]):
        return d_x, jax.lax.dot_general(x, g, OVER_TOKENS)
    turned = jax.lax.dot_general(g, x, OVER_TOKENS)
    outputs = g.ndim - 2
    return d_x, turned.transpose(*range(outputs, turned.ndim), *range(outputs))


_product.defvjp(_forward, _backward)


def token_product(spec: str, x: jax.Array, w: jax.Array) -> jax.Array:
    """`jnp.einsum(spec, x, w)` of x [B, T, inputs...] and w [inputs..., outputs...].

    Args:
        spec: such as "BTD,DNH->BTNH": the axes of w are the last of x, then the last of the result.
    """
    return _product(spec, x, w)
