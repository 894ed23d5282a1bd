"""Constants of Python files, read from their syntax trees; nothing is ever executed."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from condmis_jax.errors import UserError, first_line

MOST_BYTES = 4 << 20
MOST_CHARACTERS = 4 << 20


class Unknown(Exception):
    """An expression whose value needs more than reading."""


@dataclass(frozen=True)
class Module:
    """A file's top level.

    Attributes:
        constants: name -> value (texts, numbers, None, lists, dicts; a dataclass instance is the
            dict of its fields), those imported from other files of the clone included.
        own: the names that this file itself assigns.
        unread: name -> why its value is not known.
    """

    path: Path
    constants: dict[str, Any] = field(default_factory=dict)
    own: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)


class Reader:
    """Reads modules below one folder; imports are followed inside it only."""

    def __init__(self, root: Path):
        self.root = root.resolve()
        self._known: dict[Path, Module] = {}

    def read(self, path: Path) -> Module:
        """The constants of a file.

        Raises:
            UserError: the file cannot be read or is no Python.
        """
        path = path.resolve()
        if path in self._known:
            return self._known[path]
        module = self._known[path] = Module(path)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise UserError(f"{path}: larger than {MOST_BYTES >> 20} MiB")
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, SyntaxError, ValueError, RecursionError) as error:
            reason = first_line(error)
            raise UserError(f"{path}: cannot be read as Python ({reason})") from None
        classes: dict[str, list[str]] = {}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                self._import(node, module)
            elif isinstance(node, ast.ClassDef):
                classes[node.name] = [
                    part.target.id
                    for part in node.body
                    if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name)
                ]
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if not isinstance(target, ast.Name):
                        continue
                    module.own.append(target.id)
                    module.constants.pop(target.id, None)
                    try:
                        value = _value(node.value, module.constants, classes)
                        module.constants[target.id] = value
                    except Unknown as error:
                        module.unread[target.id] = f"line {node.lineno}: {error}"
                    except RecursionError:
                        module.unread[target.id] = f"line {node.lineno}: nested too deeply"
        return module

    def _import(self, node: ast.ImportFrom, module: Module) -> None:
        parts = (node.module or "").split(".")
        folder = module.path.parent
        # Scripts of such repositories put their own folder, or one above it, on the path.
        for place in [folder, *folder.parents]:
            if not place.is_relative_to(self.root):
                return
            file = place.joinpath(*parts).with_suffix(".py")
            if parts != [""] and file.is_file() and file.resolve().is_relative_to(self.root):
                try:
                    found = self.read(file)
                except UserError:
                    return  # what would come from it is unread, and named where it is used
                for name in node.names:
                    if name.name in found.constants:
                        module.constants[name.asname or name.name] = found.constants[name.name]
                return


def _value(node: ast.expr, names: dict[str, Any], classes: dict[str, list[str]]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, names, classes)

    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [of(item) for item in items]
        case ast.Dict(keys=keys, values=values) if all(keys):
            return {_hashable(of(k)): of(v) for k, v in zip(keys, values, strict=True) if k}
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined([of(left), of(right)])
        case ast.JoinedStr(values=values):
            return _joined(
                [
                    of(v.value) if isinstance(v, ast.FormattedValue) else of(v)
                    for v in values
                    if _plain(v)
                ]
            )
        case ast.Call(func=ast.Attribute(value=text, attr="strip"), args=[], keywords=[]):
            return _joined([of(text)]).strip()
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in classes:
            fields = classes[name]
            if len(args) > len(fields) or any(isinstance(a, ast.Starred) for a in args):
                raise Unknown(f"too many values for {name}")
            given = dict(zip(fields, (of(a) for a in args), strict=False))
            return given | {k.arg: of(k.value) for k in keywords if k.arg}
    raise Unknown(f"{type(node).__name__} is more than a literal")


def _plain(part: ast.expr) -> bool:
    if isinstance(part, ast.FormattedValue) and (part.format_spec or part.conversion != -1):
        raise Unknown("a formatted value is more than a literal")
    return True


def _joined(parts: list[Any]) -> Any:
    if all(isinstance(p, str) for p in parts):
        if sum(map(len, parts)) > MOST_CHARACTERS:
            raise Unknown("a text that is too long")
        return "".join(parts)
    if all(isinstance(p, list) for p in parts) and sum(map(len, parts)) < 100_000:
        return [item for part in parts for item in part]
    raise Unknown("a sum of other things than texts or lists")


def _hashable(value: Any) -> Any:
    if isinstance(value, list | dict):
        raise Unknown("a key that is no plain value")
    return value
