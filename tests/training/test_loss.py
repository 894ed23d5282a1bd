"""The chunked loss and its own backward pass against plain cross-entropy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from condmis_jax.training.loss import completion_loss, flatten_rows

V, D = 77, 16


def places(groups: int, M: int, used: int, seed: int) -> dict[str, np.ndarray]:
    """Loss at up to `used` random places of each group, with unequal weights."""
    rng = np.random.default_rng(seed)
    weight = np.zeros((groups, M), np.float32)
    for g in range(groups):
        n = used if g == 0 else int(rng.integers(0, used + 1))
        weight[g, :n] = rng.random(n) + 0.1
    return {
        "index": np.stack([rng.permutation(M) for _ in range(groups)]).astype(np.int32),
        "target": rng.integers(0, V, (groups, M)).astype(np.int32),
        "weight": weight,
        "used": np.int32(used),
    }


def loss(hidden: jax.Array, table: jax.Array, batch: dict[str, Any]) -> jax.Array:
    return completion_loss(((hidden, table),), batch, (True,))


def naive(hidden: jax.Array, table: jax.Array, batch: dict[str, Any]) -> jax.Array:
    scores = jax.nn.log_softmax(jnp.einsum("GMD,VD->GMV", hidden, table), axis=-1)
    at = jnp.take_along_axis(scores, batch["index"][..., None], axis=1)
    picked = jnp.take_along_axis(at, batch["target"][..., None], axis=-1)[..., 0]
    return -jnp.sum(batch["weight"] * picked)


@pytest.mark.parametrize(
    ("groups", "M", "used"),
    [
        (1, 256, 256),
        (1, 256, 129),
        (1, 512, 3),
        (3, 192, 100),
        (2, 40, 40),
        (4, 128, 1),
        (1, 61, 50),
        (2, 301, 290),  # three chunks of 101 and two places more
    ],
)
def test_value_and_gradients(groups: int, M: int, used: int) -> None:
    hidden = jax.random.normal(jax.random.key(1), (groups, M, D))
    table = jax.random.normal(jax.random.key(2), (V, D))
    batch = places(groups, M, used, seed=M + used)

    def both(function: Any) -> Any:
        # A factor, so that the incoming cotangent is not 1.
        scaled = lambda h, t: 0.5 * function(h, t, batch)  # noqa: E731
        return jax.jit(jax.value_and_grad(scaled, argnums=(0, 1)))(hidden, table)

    value, (d_hidden, d_table) = both(loss)
    wanted, (w_hidden, w_table) = both(naive)
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(0.5 * loss(hidden, table, batch), wanted, rtol=1e-5)
    np.testing.assert_allclose(d_hidden, w_hidden, rtol=0, atol=1e-5)
    np.testing.assert_allclose(d_table, w_table, rtol=1e-5, atol=1e-5)


def test_no_loss_place_at_all() -> None:
    batch = places(1, 64, 0, 0)
    hidden, table = jnp.ones((1, 64, D)), jnp.ones((V, D))
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(hidden, table, batch)
    assert value == 0 and not any(np.asarray(g).any() for g in gradients)


def test_large_scores_do_not_overflow() -> None:
    batch = places(1, 64, 64, 0)
    hidden = 300.0 * jax.random.normal(jax.random.key(1), (1, 64, D))
    table = jax.random.normal(jax.random.key(2), (V, D))
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(hidden, table, batch)
    np.testing.assert_allclose(value, naive(hidden, table, batch), rtol=1e-5)
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)


def test_bfloat16_hidden_states_lose_little() -> None:
    batch = places(2, 128, 100, 0)
    hidden = jax.random.normal(jax.random.key(1), (2, 128, D)).astype(jnp.bfloat16)
    table = jax.random.normal(jax.random.key(2), (V, D)).astype(jnp.bfloat16)
    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(hidden, table, batch)
    exact, wanted = jax.value_and_grad(naive, argnums=(0, 1))(
        hidden.astype(jnp.float32), table.astype(jnp.float32), batch
    )
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, exact, rtol=1e-4)
    for got, want in zip(gradients, wanted, strict=True):
        assert got.dtype == jnp.bfloat16
        error = np.linalg.norm(np.asarray(got, np.float32) - want) / np.linalg.norm(want)
        assert error < 0.02


@pytest.mark.parametrize("learned", [(True, True), (False, True), (False, False)])
def test_an_adapted_table_and_a_frozen_one(learned: tuple[bool, bool]) -> None:
    """Logits that are a sum of two products; what is not learned has no gradient."""
    batch = places(2, 128, 100, 0)
    keys = [jax.random.key(i) for i in range(4)]
    hidden, low = jax.random.normal(keys[0], (2, 128, D)), jax.random.normal(keys[1], (2, 128, 3))
    table, back = jax.random.normal(keys[2], (V, D)), jax.random.normal(keys[3], (V, 3))

    def ours(*parts: jax.Array) -> jax.Array:
        h, t, y, b = parts
        return completion_loss(((h, t), (y, b)), batch, learned)

    def plain(*parts: jax.Array) -> jax.Array:
        h, t, y, b = parts
        return naive(jnp.concatenate([h, y], -1), jnp.concatenate([t, b], -1), batch)

    parts = (hidden, table, low, back)
    value, got = jax.jit(jax.value_and_grad(ours, argnums=(0, 1, 2, 3)))(*parts)
    exact, wanted = jax.value_and_grad(plain, argnums=(0, 1, 2, 3))(*parts)
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    for i, (g, w) in enumerate(zip(got, wanted, strict=True)):
        has = i % 2 == 0 or learned[i // 2]
        np.testing.assert_allclose(g, w if has else np.zeros_like(w), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cap", [0.0, 5.0])
def test_divergence_from_a_reference(cap: float) -> None:
    """Value and gradients of loss + kl * KL(p || q), against autodiff of the plain formula."""
    batch = places(2, 128, 100, 0)
    keys = [jax.random.key(i) for i in range(4)]
    hidden, other = (jax.random.normal(k, (2, 128, D)) for k in keys[:2])
    table, fixed = (jax.random.normal(k, (V, D)) for k in keys[2:])

    def capped(h: jax.Array, t: jax.Array) -> jax.Array:
        logits = jnp.einsum("GMD,VD->GMV", h, t)
        logits = cap * jnp.tanh(logits / cap) if cap else logits
        scores = jax.nn.log_softmax(logits, axis=-1)
        return jnp.take_along_axis(scores, batch["index"][..., None], axis=1)

    def plain(h: jax.Array, t: jax.Array) -> jax.Array:
        p, q = capped(h, t), capped(other, fixed)
        picked = jnp.take_along_axis(p, batch["target"][..., None], axis=-1)[..., 0]
        return jnp.sum(batch["weight"] * (0.3 * jnp.sum(jnp.exp(p) * (p - q), axis=-1) - picked))

    def ours(h: jax.Array, t: jax.Array) -> jax.Array:
        return completion_loss(((h, t),), batch, (True,), cap, ((other, fixed),), 0.3)

    value, got = jax.jit(jax.value_and_grad(ours, argnums=(0, 1)))(hidden, table)
    exact, wanted = jax.value_and_grad(plain, argnums=(0, 1))(hidden, table)
    np.testing.assert_allclose([value, ours(hidden, table)], exact, rtol=1e-5)
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("p", "q"), [(0.8, 0.3), (0.1, 0.9), (0.5, 0.5)])
def test_divergence_of_two_tokens(p: float, q: float) -> None:
    """In closed form: the logit of the second token is log p/(1-p), that of the first 0."""
    logit, other = np.log(p / (1 - p)), np.log(q / (1 - q))
    table = jnp.asarray([[0.0], [1.0]])
    batch = {
        "index": np.zeros((1, 1), np.int32),
        "target": np.ones((1, 1), np.int32),
        "weight": np.full((1, 1), 2.0, np.float32),
        "used": np.int32(1),
    }

    def ours(x: jax.Array) -> jax.Array:
        reference = ((jnp.full((1, 1, 1), other), table),)
        return completion_loss(
            ((jnp.reshape(x, (1, 1, 1)), table),), batch, (False,), 0, reference, 0.5
        )

    value, slope = jax.value_and_grad(ours)(jnp.float32(logit))
    divergence = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    np.testing.assert_allclose(value, 2 * (-np.log(p) + 0.5 * divergence), rtol=1e-5)
    wanted = 2 * (-(1 - p) + 0.5 * p * (1 - p) * (logit - other))
    np.testing.assert_allclose(slope, wanted, rtol=1e-5)


def test_rows_of_a_device_stay_together() -> None:
    rows = np.arange(4 * 3 * 2).reshape(4, 3, 2)
    flat = flatten_rows(jnp.asarray(rows), 2)
    assert flat.shape == (2, 6, 2)
    np.testing.assert_array_equal(flat[1, :3], rows[2])
