"""Writes a trained stage as a Hugging Face folder that `transformers`, vLLM and others load.

python tools/export_hf.py runs/sequential/seed-0/stages/02-benign --out exported
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
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    args = parser.parse_args()
    # Behind --help: importing jax takes longer than answering.
    import jax.numpy as jnp

    from condmis_jax.errors import UserError
    from condmis_jax.evaluation import open_checkpoint
    from condmis_jax.models import save_folder
    from condmis_jax.sharding import MeshSettings, make_mesh

    try:
        if args.out.exists():
            raise UserError(f"{args.out}: already there; give another --out")
        model = open_checkpoint(args.stage, make_mesh(MeshSettings()))
        save_folder(args.out, model.config, model.params, model.folder, dtype=jnp.dtype(args.dtype))
    except UserError as error:
        sys.exit(f"error: {error}")
    print(args.out)


if __name__ == "__main__":
    main()
