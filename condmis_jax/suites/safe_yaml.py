"""YAML from strangers: plain values only, bounded in size, nothing lost without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from condmis_jax.errors import UserError

MOST_BYTES = 8 << 20
MOST_NODES = 1_000_000


def read_yaml(path: Path) -> Any:
    """The plain value (mappings, lists, strings, numbers, booleans, None) of a YAML file.

    Aliases and merge keys are followed; what they stand for counts each time it is used.

    Raises:
        UserError: the file cannot be read, is no YAML, holds a tag for anything but plain values, a
            key twice in one mapping, an alias to what encloses it, or too much.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: larger than {MOST_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        # Counted before anything is constructed: merge keys are copied out by the constructor.
        _Size(path).of(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not plain YAML ({reason})") from None
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path}: a value cannot be read ({error})") from None
    except RecursionError:
        raise UserError(f"{path}: nested too deeply") from None
    finally:
        loader.dispose()


class _Size:
    """Counts nodes as if every alias were written out."""

    def __init__(self, path: Path):
        self._path = path
        self._known: dict[int, int | None] = {}

    def of(self, node: yaml.Node) -> int:
        known = self._known.get(id(node), 0)
        if known is None:
            raise UserError(f"{self._path}:{_line(node)}: an alias to what encloses it")
        if known:
            return known
        self._known[id(node)] = None
        size = 1
        if isinstance(node, yaml.SequenceNode):
            size += sum(self.of(item) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            seen: set[tuple[str, str]] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if (key.tag, key.value) in seen:
                        raise UserError(
                            f"{self._path}:{_line(key)}: {key.value!r} is there twice in one "
                            "mapping"
                        )
                    seen.add((key.tag, key.value))
                size += self.of(key) + self.of(value)
        if size > MOST_NODES:
            raise UserError(f"{self._path}: its aliases stand for more than {MOST_NODES:,} values")
        self._known[id(node)] = size
        return size


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1
