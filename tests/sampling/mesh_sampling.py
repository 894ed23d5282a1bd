"""Completions of one folder on several meshes of 8 simulated devices, printed as JSON.

mesh_sampling.py FOLDER PROMPTS_JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jax

from condmis_jax.models import DecoderConfig, load_params
from condmis_jax.sampling import Request, Sampler, SamplingSettings
from condmis_jax.sharding import MeshSettings, make_mesh
from condmis_jax.sharding.runtime import setup

MESHES = {
    "one": MeshSettings(data=1),
    "data": MeshSettings(data=8),
    "all": MeshSettings(data=2, fsdp=2, tensor=2),
}

if __name__ == "__main__":
    setup()
    folder = Path(sys.argv[1])
    config = DecoderConfig.from_folder(folder)
    requests = [Request(str(i), tuple(p), i) for i, p in enumerate(json.loads(sys.argv[2]))]
    found = {}
    for name, settings in MESHES.items():
        devices = jax.devices()[:1] if name == "one" else jax.devices()
        mesh = make_mesh(settings, devices)
        sampler = Sampler(config, load_params(folder, config, mesh), (), mesh, slots=16, group=2)
        out: dict[str, list[int]] = {}
        sampler.sample(
            requests,
            SamplingSettings(temperature=0, max_new_tokens=12),
            lambda done, out=out: out.update({str(c.key): c.tokens for c in done}),
        )
        found[name] = {"devices": len(devices), "tokens": out}
    print(json.dumps(found))
