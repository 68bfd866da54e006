"""No row of the fault matrix is forgotten, and README.md has all cells of every row."""

from __future__ import annotations

from collections import Counter

from tests.faults.rows import LETTERS, MATRIX, ROWS, decided, decisions, proved

MARKS = {
    "Rows decided otherwise": "[Decided otherwise.](#rows-decided-otherwise)",
    "Rows that do not apply": "[Does not apply.](#rows-that-do-not-apply)",
}


def test_every_row_has_its_test_or_its_reason() -> None:
    missing = [row for row in ROWS if row not in proved() and row not in decided()]
    assert not missing, f"neither tested nor decided: {' '.join(missing)}"


def test_no_name_and_no_decision_is_for_a_row_that_does_not_exist() -> None:
    """So a row cannot get lost either: its test or its decision would be left over."""
    assert not (proved().keys() | decided().keys()) - set(ROWS)


def test_the_ids_of_each_letter_are_consecutive_and_none_is_there_twice() -> None:
    counts = Counter(row[:1] for row in ROWS)
    assert counts.keys() == set(LETTERS)
    assert list(ROWS) == [
        f"{letter}{number:02}" for letter in LETTERS for number in range(1, counts[letter] + 1)
    ]


def test_every_cell_of_every_row_is_filled() -> None:
    assert [row.id for row in MATRIX if not all(row)] == []


def test_every_decision_is_complete_and_there_once() -> None:
    assert [cells for _, cells in decisions() if not all(cells)] == []
    assert len(decisions()) == len(decided())


def test_the_rows_with_a_decision_say_so_and_no_others() -> None:
    said = {row.id: heading for row in MATRIX for heading, mark in MARKS.items() if row.fault.endswith(mark)}
    assert said == decided()
