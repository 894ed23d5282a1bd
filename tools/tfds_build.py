"""`tfds build` for an environment without TensorFlow; the options are those of `tfds build`.

The `tfds` command imports TensorFlow for its format converter. Building needs none of it, and
array_record, the default here, is the format that can be read without it.
"""

from __future__ import annotations

import sys

from absl import app
from tensorflow_datasets.scripts.cli import build, cli_utils

from condmis_jax.errors import UserError


def main(arguments: build.Args) -> None:
    """Builds the datasets that the command line names."""
    try:
        arguments.execute()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    if not any(word.startswith("--file_format") for word in sys.argv):
        sys.argv.append("--file_format=array_record")
    parser = cli_utils.make_flags_parser(build.Args, description=__doc__ or "")
    app.run(main, flags_parser=parser)
