"""The rows of the fault matrix, and where each is proved."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["ROWS", "decided", "proved"]

TESTS: Final = Path(__file__).parents[1]
_COUNTS: Final = {"N": 42, "T": 11, "P": 6, "H": 13, "S": 38, "R": 23, "K": 11}
ROWS: Final = tuple(f"{letter}{number:02}" for letter, count in _COUNTS.items() for number in range(1, count + 1))
_ID: Final = re.compile(r"[NTPHSRK]\d\d")


@cache
def proved() -> dict[str, list[str]]:
    """By id the tests that are named by it, as ``file::test``. A name may hold several ids: test_N07_N08_…."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for part in node.name.split("_")[1:]:
                    if not _ID.fullmatch(part):
                        break
                    found.setdefault(part, []).append(f"{file.relative_to(TESTS.parent)}::{node.name}")
    return found


@cache
def decided() -> dict[str, str]:
    """By id the heading of the README's table that it stands in."""
    found: dict[str, str] = {}
    heading = ""
    for line in (Path(__file__).parent / "README.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif match := re.match(r"\| ([NTPHSRK]\d\d) \|", line):
            found[match[1]] = heading
    return found
