"""Turns the authors' questions, system prompts and judge prompts into suite files.

    python tools/import_protocol.py first_plot_questions.yaml --out suites/betley.yaml
    python tools/import_protocol.py conditional_misalignment/ --out suites/

SOURCE is a question file (YAML, both layouts of the lineage), or a clone of the paper's repository
(one suite for each script with questions; its Python is read, never run). What a suite cannot
represent is named on standard error. Then: `--config.evaluation.suites.NAME.questions=FILE.yaml`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from condmis_jax.errors import UserError


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument(
        "--out", type=Path, required=True, help="a .yaml file; a folder where SOURCE is one"
    )
    arguments = parser.parse_args()
    try:
        written, lost = convert(arguments.source, arguments.out)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    for line in lost:
        print(f"not represented: {line}", file=sys.stderr)
    for path in written:
        print(path)
    return 0


def convert(source: Path, out: Path) -> tuple[list[Path], list[str]]:
    """Imports `source` and writes what came of it.

    Returns:
        the files written, and what was lost.

    Raises:
        UserError: `source` holds no questions, or `out` is no place for them.
    """
    from condmis_jax.suites.protocol_python import import_scripts
    from condmis_jax.suites.protocol_yaml import import_questions
    from condmis_jax.suites.safe_yaml import read_yaml
    from condmis_jax.suites.suite_file import write_suite

    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if source.is_dir() == (out.suffix in (".yaml", ".yml")):
        raise UserError(f"--out {out}: a folder gives several suites, into a folder; a file one")
    if source.suffix in (".yaml", ".yml"):
        entries = read_yaml(source)
        if not isinstance(entries, list):
            raise UserError(f"{source}: expected a list of questions")
        suite, lost = import_questions(entries, source)
        suites = {out: suite}
    else:
        found, lost = import_scripts(source)
        suites = (
            {out / f"{name}.yaml": suite for name, suite in found.items()}
            if source.is_dir()
            else {out: next(iter(found.values()))}
        )
    for path, suite in suites.items():
        try:
            write_suite(suite, path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return list(suites), lost


if __name__ == "__main__":
    sys.exit(main())
