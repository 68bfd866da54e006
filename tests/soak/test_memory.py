"""What the soak takes for a leak: memory that keeps growing, not a queue that fills once."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.soak.report import Process, growth
from tests.soak.soak import MOST_GROWTH

MINUTES = 18  # what is left of 30 after the warm-up
EVERY = 6  # notes a minute


def run(resident: Callable[[float], float], minutes: int = MINUTES) -> float:
    """The growth that the soak sees, in MB per minute, if memory is ``resident(minute)``, a little uneven."""
    dice = random.Random(7)
    return growth(
        [(note / EVERY, resident(note / EVERY) + dice.uniform(-1.5, 1.5)) for note in range(minutes * EVERY)]
    )


def steps(*at: float, height: float = 18.0) -> Callable[[float], float]:
    """93 MB, and ``height`` more from each of these minutes on."""
    return lambda minute: 93 + height * sum(minute >= one for one in at)


@pytest.mark.parametrize("at", [0.5, 3, 6, 9, 12, 17.5])
@pytest.mark.parametrize("height", [18.0, 60.0, -18.0])
@pytest.mark.parametrize("minutes", [6, MINUTES])  # of a run of 10, and of 30
def test_one_step_is_not_a_leak(at: float, height: float, minutes: int) -> None:
    assert abs(run(steps(at * minutes / MINUTES, height=height), minutes)) < MOST_GROWTH / 4


def test_a_step_that_takes_a_minute_is_not_a_leak() -> None:
    assert abs(run(lambda minute: 93 + 18 * min(max(minute - 8, 0), 1))) < MOST_GROWTH / 4


def test_noise_is_not_a_leak() -> None:
    assert abs(run(lambda minute: 93)) < MOST_GROWTH / 4


@pytest.mark.parametrize("leak", [MOST_GROWTH, 3.0, 10.0])
def test_a_steady_leak_is_seen_as_large_as_it_is(leak: float) -> None:
    assert run(lambda minute: 93 + leak * minute) == pytest.approx(leak, abs=0.2)


def test_a_leak_is_not_hidden_by_a_step() -> None:
    assert run(lambda minute: steps(7)(minute) + 3 * minute) == pytest.approx(3, abs=0.3)


@pytest.mark.parametrize("at", [(4, 9, 14), (3, 6, 9, 12, 15), range(18)])
def test_a_staircase_is_a_leak(at: tuple[float, ...]) -> None:
    assert run(steps(*at)) > MOST_GROWTH


def test_steps_that_grow_are_a_leak() -> None:
    assert run(lambda minute: sum(steps(at, height=at * 2)(minute) for at in (3, 6, 9, 12, 15))) > MOST_GROWTH


def test_a_process_forgets_its_warm_up_and_counts_in_minutes() -> None:
    process = Process()
    assert process.slope() is None
    process.notes = [(10.0 * n, 90 + min(n, 36) * 5.0, 9, 30) for n in range(180)]  # six minutes of growth
    assert process.slope() == pytest.approx(0)
    process.notes = [(10.0 * n, 90 + n * 0.5, 9, 30) for n in range(180)]
    assert process.slope() == pytest.approx(3.0)
