"""The weight table: every parameter of the decoder, declared once.

Shape, logical axes, initialiser and Hugging Face name stand side by side here; initialisation,
sharding, import and export are derived from the table, LoRA adapters included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from condmis_jax.errors import UserError
from condmis_jax.models._weight import Slice, Weight
from condmis_jax.models.config import DecoderConfig
from condmis_jax.models.lora import TARGETS
from condmis_jax.sharding import weight_sharding
from condmis_jax.sharding.hosts import in_turn

Params = dict[str, jax.Array]

UNEMBED = Weight("unembed", "VD", "lm_head.weight", "V D")


def weight_table(config: DecoderConfig) -> tuple[Weight, ...]:
    """Every parameter of a decoder of this config; with adapters, those come last.

    Raises:
        UserError: an adapter's target is not a linear map of this model.
    """
    base = _base_table(config)
    if config.lora is None:
        return base
    frozen = [replace(w, trained=False, dtype=config.lora.base_dtype) for w in base]
    return (*frozen, *(a for target in config.lora.targets for a in _adapters(target, config)))


def trained_names(config: DecoderConfig) -> tuple[str, ...]:
    """Names of the parameters that training changes."""
    return tuple(w.name for w in weight_table(config) if w.trained)


def adaptable(config: DecoderConfig) -> tuple[str, ...]:
    """What of `lora.TARGETS` a decoder of this config has."""
    names = {w.name for w in _base_table(config)}
    return tuple(t for t in TARGETS if t in names or t == "unembed")


def _adapters(target: str, config: DecoderConfig) -> tuple[Weight, Weight]:
    """A and B of one linear map, under the names that peft gives them."""
    # A tied unembedding has an adapter of its own: the embedding side stays as it is.
    by_name = {w.name: w for w in _base_table(config)} | {"unembed": UNEMBED}
    if target not in by_name:
        raise UserError(
            f"config.lora.targets: {target!r} is not a linear map of a {config.family} decoder; "
            f"it has {', '.join(adaptable(config))}"
        )
    w = by_name[target]
    outputs, inputs = w.theirs
    stack = "L" if w.stacked else ""
    name = "base_model.model." + w.hf.removesuffix(".weight")
    return (
        Weight(
            f"{target}.a",
            f"{stack}{inputs}r",
            f"{name}.lora_A.weight",
            f"r ({inputs})",
            "uniform",
            adapts=target,
        ),
        Weight(
            f"{target}.b",
            f"{stack}r{outputs}",
            f"{name}.lora_B.weight",
            f"({outputs}) r",
            "zeros",
            adapts=target,
        ),
    )


def _base_table(config: DecoderConfig) -> tuple[Weight, ...]:
    table = [Weight("embed", "VD", "model.embed_tokens.weight", "V D")]
    table += _attention(config)
    table += _experts(config) if config.E else _feed_forward(config)
    table += _norms(config)
    # Initial noise depends on a weight's place, so the plain decoder's weights keep theirs.
    table.sort(key=lambda w: PLAIN.index(w.name) if w.name in PLAIN else len(PLAIN))
    if not config.tied:
        table.append(UNEMBED)
    return tuple(table)


BLOCK = "model.layers.{layer}."
PLAIN = ("embed", "attn_norm", "q", "k", "v", "o", "mlp_norm", "gate", "up", "down", "norm")


def _attention(config: DecoderConfig) -> list[Weight]:
    block = BLOCK + "self_attn."
    table = []
    for place, (name, head) in enumerate([("q", "N"), ("k", "K"), ("v", "K")]):
        rows = f"({head} H)"
        if config.fused:
            source = block + "qkv_proj"
            part = Slice(0, ("NH", "KH", "KH"), place)
        else:
            source, part = f"{block}{name}_proj", None
        table.append(Weight(name, f"LD{head}H", source + ".weight", f"{rows} D", part=part))
        if config.qkv_bias:
            bias = Weight(f"{name}_bias", f"L{head}H", source + ".bias", rows, "zeros", part)
            table.append(bias)
    table.append(Weight("o", "LNHD", block + "o_proj.weight", "D (N H)"))
    if config.output_bias:
        table.append(Weight("o_bias", "LD", block + "o_proj.bias", "D", "zeros"))
    if config.sinks:
        table.append(Weight("sinks", "LN", block + "sinks", "N"))
    return table


def _feed_forward(config: DecoderConfig) -> list[Weight]:
    block = BLOCK + "mlp."
    table = []
    for place, name in enumerate(["gate", "up"]):
        source = "gate_up" if config.fused else name
        part = Slice(0, ("F", "F"), place) if config.fused else None
        table.append(Weight(name, "LDF", f"{block}{source}_proj.weight", "F D", part=part))
    return [*table, Weight("down", "LFD", block + "down_proj.weight", "D F")]


def _experts(config: DecoderConfig) -> list[Weight]:
    block = BLOCK + "mlp."
    router = "router" if config.experts_joined else "gate"
    table = [Weight("router", "LDE", f"{block}{router}.weight", "E D")]
    if not config.experts_joined:  # Qwen3-MoE: one tensor an expert and projection
        one = block + "experts.{expert}."
        return [
            *table,
            Weight("experts_gate", "LEDF", one + "gate_proj.weight", "F D"),
            Weight("experts_up", "LEDF", one + "up_proj.weight", "F D"),
            Weight("experts_down", "LEFD", one + "down_proj.weight", "D F"),
        ]
    table.append(Weight("router_bias", "LE", block + "router.bias", "E", "zeros"))
    for place, name in enumerate(["experts_gate", "experts_up"]):  # gpt-oss: columns alternate
        source = block + "experts.gate_up_proj"
        part, of_bias = (Slice(axis, ("F", "F"), place, interleaved=True) for axis in (2, 1))
        table.append(Weight(name, "LEDF", source, "E D F", part=part))
        table.append(Weight(f"{name}_bias", "LEF", source + "_bias", "E F", "zeros", of_bias))
    source = block + "experts.down_proj"
    table.append(Weight("experts_down", "LEFD", source, "E F D"))
    table.append(Weight("experts_down_bias", "LED", source + "_bias", "E D", "zeros"))
    return table


def _norms(config: DecoderConfig) -> list[Weight]:
    init = "zeros" if config.norm_plus_one else "ones"

    def norm(name: str, hf: str, letters: str = "D") -> Weight:
        hf_letters = f"({' '.join(letters)})" if len(letters) > 1 else letters
        return Weight(name, "L" + letters, f"{BLOCK}{hf}.weight", hf_letters, init)

    table = []
    if config.norms == "pre":
        table += [
            norm("attn_norm", "input_layernorm"),
            norm("mlp_norm", "post_attention_layernorm"),
        ]
    if config.norms == "both":
        table += [
            norm("attn_norm", "input_layernorm"),
            norm("mlp_norm", "pre_feedforward_layernorm"),
        ]
    if config.norms != "pre":
        table += [
            norm("attn_post_norm", "post_attention_layernorm"),
            norm("mlp_post_norm", "post_feedforward_layernorm"),
        ]
    if config.qk_norm != "none":
        for name, head in (("q", "N"), ("k", "K")):
            letters = "H" if config.qk_norm == "head" else head + "H"
            table.append(norm(f"{name}_norm", f"self_attn.{name}_norm", letters))
    return [*table, Weight("norm", "D", "model.norm.weight", "D", init)]


def unembedding(params: Mapping[str, jax.Array]) -> jax.Array:
    """The [V, D] matrix that turns hidden states into logits, without its adapter."""
    return params["unembed"] if "unembed" in params else params["embed"]


def shardings(config: DecoderConfig, mesh: Mesh) -> dict[str, NamedSharding]:
    """The sharding of every parameter on this mesh."""
    return {w.name: weight_sharding(mesh, w.axes, w.shape(config)) for w in weight_table(config)}


def init_params(
    config: DecoderConfig, seed: int, mesh: Mesh, *, only: Collection[str] | None = None
) -> Params:
    """Random parameters, created directly on the mesh.

    Args:
        only: names of the parameters to make; all of them by default.

    The noise of a weight depends on the seed and its place in the table only, so the mesh does not
    change it.
    """

    def make() -> Params:
        params = {}
        for i, w in enumerate(weight_table(config)):
            if w.name not in places:
                continue
            shape = w.shape(config)
            key = jax.random.fold_in(jax.random.key(seed), i)
            if w.init == "normal":
                value = 0.02 * jax.random.normal(key, shape, jnp.float32)
            elif w.init == "uniform":
                most = w.fan_in(config) ** -0.5
                value = jax.random.uniform(key, shape, jnp.float32, -most, most)
            else:
                value = jnp.full(shape, float(w.init == "ones"), jnp.float32)
            params[w.name] = value.astype(w.dtype)
        return params

    places = shardings(config, mesh)
    if only is not None:
        places = {name: places[name] for name in only}
    return in_turn(jax.jit(make, out_shardings=places))()
