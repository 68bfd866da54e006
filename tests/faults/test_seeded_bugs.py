"""The seeds fit the code. `python -m tests.faults.seeded_bugs`, which takes a minute or two, shows that each
bug is caught."""

from __future__ import annotations

import pytest

from tests.faults.seeded_bugs.__main__ import ROOT, misfit
from tests.faults.seeded_bugs.bugs import BUGS, QUICK, Bug


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_seed_fits(bug: Bug) -> None:
    assert misfit(bug) is None
    assert (ROOT / bug.tests.partition("::")[0]).exists()


def test_a_seed_that_no_longer_fits_is_reported() -> None:
    told = misfit(BUGS[0]._replace(old="what is not there"))
    assert told is not None and "must be renewed" in told and BUGS[0].file in told


def test_names_are_unique_and_the_quick_ones_among_them() -> None:
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names) >= 12
    assert set(QUICK) < set(names)
