"""The command line: `--config FILE[:argument] --config.a.b=value`, with one-line errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from condmis_jax.config.convert import nearest
from condmis_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file, with its argument behind a colon: configs/sequential.py:paper"
)


def resolved() -> dict[str, Any]:
    """The config after all overrides, as plain nested values.

    Raises:
        UserError: no --config was given.
    """
    if _CONFIG.value is None:
        raise UserError("--config is required, for example --config configs/sequential.py")
    return _CONFIG.value.to_dict()


def config_argument(argv: list[str] | None = None) -> str:
    """The `FILE[:argument]` behind --config, or an empty string."""
    argv = sys.argv if argv is None else argv
    for i, arg in enumerate(argv):
        if arg in ("--config", "-config") and i + 1 < len(argv):
            return argv[i + 1]
        for prefix in ("--config=", "-config="):
            if arg.startswith(prefix):
                return arg[len(prefix) :]
    return ""


def run(main: Callable[[], None]) -> None:
    """Parses flags and runs `main`; a UserError becomes one line on stderr and exit status 1."""

    def parse(argv: list[str]) -> list[str]:
        try:
            rest = flags.FLAGS(argv, known_only=False)
            if config_argument(argv):
                # A file that failed to load raises only when its value is first used.
                _CONFIG.value.to_dict()
        except flags.Error as error:
            if "Traceback" in str(error):
                raise UserError(_explain(argv, error)) from None
            raise UserError(" ".join(str(error).split())) from None
        except (KeyError, AttributeError, TypeError, ValueError, OSError, ImportError) as error:
            raise UserError(_explain(argv, error)) from None
        if len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}; overrides look like --config.key=1")
        return rest

    def guarded(_: list[str]) -> None:
        main()

    # Libraries narrate at INFO (absent backends, every checkpoint); the run speaks for itself.
    logging.set_verbosity(logging.ERROR)
    try:
        app.run(guarded, flags_parser=parse)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        sys.exit(130)


def _explain(argv: list[str], error: Exception) -> str:
    """What was wrong with the flags; ml_collections itself only raises KeyError and the like."""
    file, _, argument = config_argument(argv).partition(":")
    if file and not Path(file).is_file():
        beside = [str(p) for p in sorted(Path(file).parent.glob("*.py"))]
        hint = nearest(file, beside) if beside else ""
        return f"--config {file}: no such file{hint}"
    first = " ".join(str(error).split()) or type(error).__name__
    try:
        values: Any = config_flags.config_flags._LoadConfigModule("_probe", file).get_config(
            *([argument] if argument else [])
        )
    except UserError as own:
        return str(own)
    except Exception as own:  # the config file is the user's code: anything can go wrong in it
        return f"--config {file}: {type(own).__name__}: {' '.join(str(own).split())}"
    for arg in argv:
        if not arg.startswith("--config."):
            continue
        path = arg.removeprefix("--config.").partition("=")[0].split(".")
        level: Any = values.to_dict()
        for depth, key in enumerate(path):
            if not isinstance(level, Mapping) or key not in level:
                where = ".".join(["config", *path[: depth + 1]])
                valid = level.keys() if isinstance(level, Mapping) else ()
                return f"{where}: unknown key{nearest(key, valid)}"
            level = level[key]
    return f"--config {file}: {first}"
