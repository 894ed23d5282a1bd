"""Compiles an experiment for a TPU slice that is not there, and says whether it fits.

    python tools/plan.py --config configs/sequential.py:paper \
        --config.model=FOLDER_OR_config.json --topology v5e:16x16

The real train step and the real sampler are compiled by libtpu on this machine's CPU (extra
`tpu`). Only a `config.json` is needed: no weights, no tokenizer, no data. Prints a table and, last,
one JSON line. `--topology cpu:8` plans for simulated CPU devices, without libtpu, to try the tool.
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags

from condmis_jax.config import flags as config

_TOPOLOGY = flags.DEFINE_string("topology", None, "CHIP:SHAPE, for example v5e:16x16 or v5p:2x4x4.")
_STAGE = flags.DEFINE_string("stage", "", "Stage whose step is planned; default: the first.")
_CONVERSATION = flags.DEFINE_integer(
    "conversation_tokens", None, "Tokens of every conversation; default: the stage's max_tokens."
)
_PROMPT = flags.DEFINE_integer("prompt_tokens", 128, "Tokens of the prompts sampled from.")
flags.declare_key_flag("config")


def main() -> None:
    from condmis_jax.errors import UserError
    from condmis_jax.planning import topology

    if _TOPOLOGY.value is None:
        raise UserError("--topology is required, for example --topology v5e:16x16")
    topology.prepare(_TOPOLOGY.value)

    from condmis_jax.config import build
    from condmis_jax.experiment import Experiment
    from condmis_jax.models import DecoderConfig
    from condmis_jax.models.registry import resolve
    from condmis_jax.planning import Workload, make_plan, summary, table

    experiment = build(Experiment, config.resolved())
    path = Path(experiment.model)
    folder = path.parent if path.name == "config.json" else resolve(experiment.model)
    decoder = DecoderConfig.from_folder(folder)
    work = Workload(_CONVERSATION.value, _PROMPT.value)
    plan = make_plan(experiment, decoder, _TOPOLOGY.value, work, _STAGE.value)
    print(table(plan))
    print(json.dumps(summary(plan)))


if __name__ == "__main__":
    config.run(main)
