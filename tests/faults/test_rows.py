"""No row of the fault matrix is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.rows import ROWS, decided, proved

FAULTS = Path(__file__).parents[3] / "shared" / "design" / "faults.md"


def test_every_row_has_its_test_or_its_reason() -> None:
    missing = [row for row in ROWS if row not in proved() and row not in decided()]
    assert not missing, f"neither tested nor decided: {' '.join(missing)}"


def test_no_name_and_no_decision_is_of_a_row_that_does_not_exist() -> None:
    assert not (proved().keys() | decided().keys()) - set(ROWS)


@pytest.mark.skipif(not FAULTS.exists(), reason="the design documents are not here")
def test_the_rows_are_those_of_the_design() -> None:
    assert sorted(re.findall(r"^\| ([NTPHSRK]\d\d) ", FAULTS.read_text(encoding="utf-8"), re.MULTILINE)) == sorted(ROWS)
