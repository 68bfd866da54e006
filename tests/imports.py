"""Which module of the package imports what, read from the source with ast, so imports inside functions are
seen, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["PACKAGE", "Import", "all_imports", "files", "imports_of", "modules", "own_name", "within"]

PACKAGE = Path(__file__).parents[1] / "kalshi_feed"


class Import(NamedTuple):
    """One import: of ``target`` (dotted) by ``module`` (dotted, without the package's name) in ``line``."""

    module: str
    target: str
    line: int
    typing_only: bool

    def __str__(self) -> str:
        return (
            f"kalshi_feed/{self.module.replace('.', '/') or '__init__'} line {self.line} imports "
            f"{self.target}"
        )


def files() -> dict[str, Path]:
    """Return every file of the package by its module's dotted name without the package's own: "" is
    kalshi_feed/__init__.py."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def modules() -> dict[str, ast.Module]:
    """Return every module of the package, parsed, by the name that files() gives it. It takes seconds."""
    return {name: ast.parse(file.read_text(encoding="utf-8"), str(file)) for name, file in files().items()}


def imports_of(module: str, tree: ast.Module) -> Iterator[Import]:
    """Return the imports in the module, relative ones made absolute; ``from a import b`` is of a.b if that is
    a module."""
    is_folder = (PACKAGE / module.replace(".", "/")).is_dir()
    typing_only = {
        id(inner)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in block.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = ["kalshi_feed", *module.split(".")] if module else ["kalshi_feed"]
            above = here[: len(here) - (node.level - 1 if is_folder else node.level)] if node.level else []
            base = ".".join(filter(None, (*above, node.module)))
            inner = [f"{base}.{alias.name}" for alias in node.names]
            targets = [name if own_name(name) in modules() else base for name in inner]
        else:
            continue
        for target in dict.fromkeys(targets):
            yield Import(module, target, node.lineno, id(node) in typing_only)


def own_name(target: str) -> str | None:
    """Return the module's name inside the package, or None for a library's."""
    package, _, name = target.partition(".")
    return name if package == "kalshi_feed" else None


def within(name: str, part: str) -> bool:
    return name == part or (part != "" and name.startswith(part + "."))


@cache
def all_imports() -> list[Import]:
    return [found for module, tree in modules().items() for found in imports_of(module, tree)]
