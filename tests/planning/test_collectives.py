"""Collectives are counted as often as they run, in the forms of both backends."""

from __future__ import annotations

import json
import subprocess
import sys

import tiny

from condmis_jax.planning.collectives import Collective, collectives, group_size

LAYERS, D, ROWS = 5, 64, 16

# One gathered layer at a time: each of 5 layers gathers its [64, 64] weight over 8 devices, the
# backward pass gathers it again (nothing else needs it) and reduces its gradient.
KNOWN = f"""
import json, jax, jax.numpy as jnp
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from condmis_jax.planning.collectives import collectives
mesh = Mesh(jax.devices(), ("d",))
at = lambda *spec: NamedSharding(mesh, P(*spec))
def run(w, x):
    def layer(x, wi):
        wi = jax.lax.with_sharding_constraint(wi, at())
        return jax.lax.with_sharding_constraint(jnp.tanh(x @ wi), at("d")), None
    return jax.lax.scan(layer, x, w)[0]
w = jax.ShapeDtypeStruct(({LAYERS}, {D}, {D}), jnp.float32, sharding=at(None, "d"))
x = jax.ShapeDtypeStruct(({ROWS}, {D}), jnp.float32, sharding=at("d"))
text = jax.jit(run, out_shardings=at("d")).lower(w, x).compile().as_text()
found = collectives(text)
print(json.dumps({{k: [c.count, c.bytes, c.wire_bytes] for k, c in found.items()}}))
"""


def test_a_gathered_layer_counts_once_for_each_turn_of_the_scan() -> None:
    process = subprocess.run(
        [sys.executable, "-c", KNOWN],
        env=tiny.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    layer = 4 * D * D
    assert json.loads(process.stdout) == {
        "all-gather": [LAYERS, LAYERS * layer, LAYERS * layer * 7 // 8]
    }


# The form of a TPU program: the trip count is the constant in the condition, a collective is spread
# over several fused computations under one channel, groups are named by mesh axes, and a
# reduce-scatter is a fused all-reduce of which a slice is kept.
TPU = """
HloModule jit_step, is_scheduled=true

%fused.1 (param_0: bf16[8,32]) -> bf16[32,32] {
  %all-gather.1 = bf16[32,32]{1,0:T(8,128)(2,1)} all-gather(%param_0), channel_id=7, \
replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0'}, dimensions={0}
}

%fused.2 (param_0: bf16[8,32]) -> bf16[32,32] {
  %all-gather.2 = bf16[32,32]{1,0:T(8,128)(2,1)} all-gather(%param_0), channel_id=7, \
replica_groups=mesh['axis_0'=4,'axis_1'=2] {'axis_0'}, dimensions={0}
}

%all-reduce-scatter.3 (input: f32[32,32]) -> f32[8,32] {
  %all-reduce.3 = f32[32,32]{1,0} all-reduce(%input), channel_id=9, replica_groups={{0,2,4,6},\
{1,3,5,7}}, to_apply=%add
  ROOT %slice = f32[8,32]{1,0} dynamic-slice(%all-reduce.3, %i, %z), dynamic_slice_sizes={8,32}
}

%body (p: (s32[], bf16[8,32])) -> (s32[], bf16[8,32]) {
  %a = bf16[32,32]{1,0} fusion(%x), kind=kCustom, calls=%fused.1
  %b = bf16[32,32]{1,0} fusion(%a), kind=kCustom, calls=%fused.2
  %c = f32[8,32]{1,0} fusion(%b), kind=kCustom, calls=%all-reduce-scatter.3
}

%condition (p: (s32[], bf16[8,32])) -> pred[] {
  %constant.5 = s32[]{:T(128)} constant(28)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %constant.5), direction=LT
}

%unknown (p: (s32[], s32[])) -> pred[] {
  ROOT %lt.2 = pred[]{:T(512)} compare(%i, %n), direction=LT
}

%inner (p: (s32[], s32[])) -> (s32[], s32[]) {
  %all-reduce.8 = f32[16]{0} all-reduce(%h), channel_id=11, replica_groups=[2,4]<=[8], to_apply=%add
}

ENTRY %main (w: bf16[8,32]) -> bf16[8,32] {
  %while.1 = (s32[], bf16[8,32]{1,0}) while(%t), condition=%condition, body=%body
  %while.2 = (s32[], s32[]) while(%u), condition=%unknown, body=%inner
  %start = (f32[4]{0}, f32[32]{0}) all-gather-start(%s), channel_id=12, \
replica_groups=[1,8]<=[8], dimensions={0}
}
"""


def test_the_forms_of_a_tpu_program() -> None:
    found = collectives(TPU, dynamic_trips=3)
    gathered, scattered = 2 * 32 * 32, 4 * 32 * 32
    assert found == {
        "all-gather": Collective(29, 28 * gathered + 128, 28 * gathered * 3 // 4 + 128 * 7 // 8),
        "all-reduce": Collective(3, 3 * 64, 3 * 64 * 2 * 3 // 4),
        "reduce-scatter": Collective(28, 28 * scattered, 28 * scattered * 3 // 4),
    }


def test_groups_in_every_form() -> None:
    assert group_size("replica_groups={{0,1,2},{3,4,5}}, x") == 3
    assert group_size("replica_groups=[2,4]<=[8], x") == 4
    assert group_size("replica_groups=mesh['a'=16,'b'=2] {'a'}, x") == 16
    assert group_size("replica_groups=mesh['a'=16,'b'=2] {'a','b'}, x") == 32
    assert group_size("replica_groups=mesh['a'=16,'b'=2] {'a':(2)4}, x") == 4
