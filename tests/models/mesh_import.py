"""Loads folders onto 8 simulated devices and onto one of them: same parameters, same logits.

Prints one JSON object, the largest difference of a logit for each folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"


def main() -> None:
    import jax
    import numpy as np
    from tiny_families import rows

    from condmis_jax.models import DecoderConfig, load_params, logits
    from condmis_jax.models.weights import shardings
    from condmis_jax.sharding import MeshSettings, make_mesh

    one = make_mesh(MeshSettings(), jax.devices()[:1])
    mesh = make_mesh(MeshSettings(data=1, fsdp=4, tensor=2))
    run = jax.jit(logits, static_argnums=0)
    found = {}
    for folder in map(Path, sys.argv[1:]):
        config = DecoderConfig.from_folder(folder)
        alone, spread = (load_params(folder, config, m) for m in (one, mesh))
        for name, place in shardings(config, mesh).items():
            assert spread[name].sharding == place, name
            np.testing.assert_array_equal(spread[name], alone[name], err_msg=name)
        if config.E:
            assert spread["experts_gate"].sharding.spec[1] == "tensor"
        batch, _ = rows()
        both = [np.asarray(run(config, p, **batch)) for p in (alone, spread)]
        found[folder.name] = float(np.abs(both[0] - both[1]).max())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
