"""The rows of the fault matrix, as README.md has them, and the test that proves each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["LETTERS", "MATRIX", "ROWS", "Row", "decided", "decisions", "proved"]

README: Final = Path(__file__).with_name("README.md")
TESTS: Final = Path(__file__).parents[1]
LETTERS: Final = "NTPHSRKD"
_ID: Final = re.compile(rf"[{LETTERS}]\d\d")
_TEST: Final = re.compile(r"^ *def (test_\w+)\(", re.MULTILINE)
_MATRIX_HEADING: Final = "The rows"
_DECISION_HEADINGS: Final = ("Rows decided otherwise", "Rows that do not apply")


class Row(NamedTuple):
    """One row of the matrix, cell by cell."""

    id: str
    fault: str
    injected: str
    must: str
    never: str


def _table_rows(heading: str) -> Iterator[list[str]]:
    """Return the cells of every row of the tables under this ``##`` heading of the README, without the
    tables' own headings."""
    found = ""
    for line in README.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            found = line[3:]
        elif found == heading and line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if cells[0] != "id" and not line.startswith("|---"):
                yield cells


def _row(cells: list[str]) -> Row:
    if len(cells) != len(Row._fields):
        raise ValueError(f"{README}: the row {cells[0]} has {len(cells)} cells, not {len(Row._fields)}")
    return Row(*cells)


MATRIX: Final = tuple(_row(cells) for cells in _table_rows(_MATRIX_HEADING))
ROWS: Final = tuple(row.id for row in MATRIX)


@cache
def proved() -> dict[str, list[str]]:
    """Return the tests that are named after each id, as ``file::test``. A name may start with several ids:
    test_N07_N08_…."""
    found: dict[str, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        # not with ast: every run prints the table at its end, and parsing all the tests takes seconds
        for name in _TEST.findall(file.read_text(encoding="utf-8")):
            for part in name.split("_")[1:]:
                if not _ID.fullmatch(part):
                    break
                found.setdefault(part, []).append(f"{file.relative_to(TESTS.parent)}::{name}")
    return found


def decisions() -> list[tuple[str, list[str]]]:
    """Return each decision: the heading of the README that it stands under, and its cells, starting with the
    row's id."""
    return [(heading, cells) for heading in _DECISION_HEADINGS for cells in _table_rows(heading)]


@cache
def decided() -> dict[str, str]:
    """Return, by id, the heading that the row's decision stands under."""
    return {cells[0]: heading for heading, cells in decisions()}
