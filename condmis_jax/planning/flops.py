"""Floating-point operations of a step, counted from the weight table.

XLA's own count takes a loop's body once, so it is too small by the number of layers; the formulas
here are checked against it where nothing is looped (tests/planning/test_flops.py). A product of an
[a, b] and a [b, c] matrix counts 2abc. Norms, softmax and rotations are left out (below 1 %).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from condmis_jax.models import Weight, weight_table
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.layers import Remat


@dataclass(frozen=True)
class Flops:
    """FLOPs of training on some tokens, over all devices.

    Attributes:
        model: what the mathematics needs: 6 a weight and token (2 forward, 4 backward; 4 where the
            weight is frozen) and attention over the keys that a token sees. Counts for MFU.
        executed: with what is recomputed in the backward pass.
    """

    model: float
    executed: float

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.model + other.model, self.executed + other.executed)


def matrices(config: DecoderConfig) -> list[Weight]:
    """The weights of the layers' linear maps, adapters included."""
    table = weight_table(config)
    return [w for w in table if w.stacked and (w.init == "normal" or w.adapts is not None)]


def count(config: DecoderConfig, w: Weight) -> int:
    """Numbers in a weight."""
    return math.prod(w.shape(config))


def training(
    config: DecoderConfig, rows: int, length: int, loss_tokens: int, *, remat: Remat
) -> Flops:
    """One microbatch, forward and backward.

    Attention: two products forward and five backward (the scores again, and four gradients) over
    the keys a query can see, (T + 1) / 2 of a full row.

    Args:
        rows, length: R and T of the packed rows.
        loss_tokens: places whose logits are computed.
        remat: whether attention ("products"), or every layer's whole forward pass ("layer"), runs
            twice.
    """
    tokens = rows * length
    forward = 2.0 * tokens * sum(count(config, w) for w in matrices(config))
    # Each product has two gradients, of its input and of its weight; a frozen one needs the first.
    backward = 2.0 * tokens * sum(count(config, w) * (1 + w.trained) for w in matrices(config))
    pair = 2.0 * tokens * config.L * config.N * config.H * (length + 1) / 2
    head = 2.0 * loss_tokens * config.V * config.D * (2 + (config.lora is None))
    adapter = [w for w in weight_table(config) if w.adapts == "unembed"]
    head += 6.0 * loss_tokens * sum(count(config, w) for w in adapter)
    executed = forward + backward + 7 * pair + head
    if remat != "none":
        executed += 2 * pair
    if remat == "layer":
        executed += forward
    return Flops(forward + backward + 6 * pair + head, executed)


def decoding(config: DecoderConfig, slots: int, keys: int) -> float:
    """One token in every slot, attending to `keys` positions."""
    linear = sum(count(config, w) for w in matrices(config)) + config.V * config.D
    return 2.0 * slots * (linear + 2 * config.L * config.N * config.H * keys)
