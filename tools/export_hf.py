"""Writes a trained stage as a Hugging Face folder that `transformers`, vLLM and others load.

    python tools/export_hf.py runs/sequential/seed-0/stages/02-benign --out exported

Adapters are merged into the base model's weights; with --adapter they are written alone, as a PEFT
folder that `peft.PeftModel.from_pretrained` puts on the base model.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", help="a stage folder of a run")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    form.add_argument("--adapter", action="store_true", help="a PEFT folder instead of all weights")
    args = parser.parse_args()
    # Behind --help: importing jax takes longer than answering.
    import jax.numpy as jnp

    from condmis_jax.errors import UserError
    from condmis_jax.evaluation import open_checkpoint
    from condmis_jax.models import save_adapter, save_folder
    from condmis_jax.sharding import MeshSettings, make_mesh

    try:
        if args.out.exists():
            raise UserError(f"{args.out}: already there; give another --out")
        model = open_checkpoint(args.stage, make_mesh(MeshSettings()))
        if args.adapter:
            base = model.base.model if model.base else args.stage
            save_adapter(args.out, model.config, model.params, base)
        else:
            dtype = jnp.dtype(args.dtype)
            save_folder(args.out, model.config, model.params, model.folder, dtype=dtype)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(args.out)


if __name__ == "__main__":
    main()
