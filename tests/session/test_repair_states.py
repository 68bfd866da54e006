"""The states and rungs of a repair, by name."""

from __future__ import annotations

import pytest

from kalshi_feed.session.repair import RepairRung, RepairState
from tests.session.driver import BOOK, Driver
from tests.session.support import lose


def state_of(driver: Driver) -> tuple[RepairState, RepairRung]:
    return driver.session.repair.state, driver.session.repair._rung


def test_first_snapshots_are_expected_and_then_nothing_is_left_to_do() -> None:
    driver = Driver()
    assert state_of(driver) == (RepairState.IDLE, RepairRung.SNAPSHOT)
    driver.want(BOOK, "A")
    driver.play(driver.connect())
    assert driver.live() == {"A"}
    assert state_of(driver)[0] is RepairState.EXPECTING  # in a larger subscription, the others would be
    driver.pass_time(10)
    assert state_of(driver) == (RepairState.IDLE, RepairRung.SNAPSHOT)


def test_a_gap_is_due_then_asked_for_then_over() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.pass_time(10)
    lose(driver)
    assert state_of(driver)[0] is RepairState.DUE
    commands = driver.pass_time(0.02)
    assert state_of(driver)[0] is RepairState.ASKING
    driver.play(commands)
    assert state_of(driver) == (RepairState.IDLE, RepairRung.SNAPSHOT)


def test_a_gap_while_snapshots_are_expected_is_due_first() -> None:
    driver = Driver()
    driver.go_live("A")
    assert state_of(driver)[0] is RepairState.EXPECTING
    lose(driver)
    assert state_of(driver)[0] is RepairState.DUE


@pytest.mark.parametrize("helps", [True, False])
def test_one_rung_up_after_each_failure_and_down_when_it_helped(helps: bool) -> None:
    driver = Driver()
    driver.go_live("A", "B")
    driver.venue.mute |= {"A", "B"}
    lose(driver)
    driver.pass_time(0.02)
    assert state_of(driver) == (RepairState.ASKING, RepairRung.SNAPSHOT)
    commands = driver.pass_time(10)
    assert state_of(driver) == (RepairState.EXPECTING, RepairRung.SUBSCRIPTION)
    if helps:
        driver.venue.mute.clear()
    driver.play(commands)
    driver.play_time(21)
    assert state_of(driver)[1] is (RepairRung.SNAPSHOT if helps else RepairRung.SUBSCRIPTION)
    assert (driver.give_up is None) is helps
    driver.disconnect()
    assert state_of(driver) == (RepairState.IDLE, RepairRung.SNAPSHOT)
