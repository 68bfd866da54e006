"""What happens when the clocks diverge."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from kalshi_feed.clocks import ClockReadings, ClockWatch, Jump, moment, read_clocks

NS = 1_000_000_000


@dataclass
class Machine:
    """A machine whose clocks the test moves. ``looks`` counts how often all of them were read."""

    monotonic: float = 100.0
    wall: float = 1_800_000_000.0
    boot: float | None = 700.0
    looks: int = 0

    def read(self) -> ClockReadings:
        self.looks += 1
        boot = None if self.boot is None else round(self.boot * NS)
        return ClockReadings(round(self.monotonic * NS), round(self.wall * NS), boot)

    def run(self, seconds: float, *, asleep: float = 0.0, stepped: float = 0.0) -> None:
        self.monotonic += seconds
        self.wall += seconds + asleep + stepped
        if self.boot is not None:
            self.boot += seconds + asleep

    def look(self, watch: ClockWatch) -> Jump | None:
        return watch.look(self.monotonic, self.wall)


def test_a_process_that_stood_still_sees_nothing() -> None:
    machine = Machine()
    watch = ClockWatch(machine.read)
    for seconds in (0.5, 5.0, 3600.0):
        machine.run(seconds)
        assert machine.look(watch) is None


@pytest.mark.parametrize("since", [0.001, 0.9, 30.0])
def test_a_sleep_is_seen_at_the_first_look(since: float) -> None:
    machine = Machine()
    watch = ClockWatch(machine.read)
    machine.run(since, asleep=28_800.0)
    jump = machine.look(watch)
    assert jump is not None
    assert jump.slept == pytest.approx(28_800.0)
    assert str(jump) == "the machine slept for 28800 s"
    assert machine.look(watch) is None


def test_a_sleep_is_seen_though_the_wall_clock_hides_it() -> None:
    machine = Machine()
    watch = ClockWatch(machine.read)
    machine.run(1.5, asleep=60.0, stepped=-60.0)
    jump = machine.look(watch)
    assert jump is not None
    assert jump.slept == pytest.approx(60.0)


@pytest.mark.parametrize("step", [30.0, -30.0])
def test_a_step_of_the_wall_clock_is_not_a_sleep(step: float) -> None:
    machine = Machine()
    watch = ClockWatch(machine.read)
    machine.run(0.2, stepped=step)
    assert machine.look(watch) == Jump(0.0, pytest.approx(step))


def test_a_sleep_without_boottime_is_a_step_of_the_wall_clock() -> None:
    machine = Machine(boot=None)
    watch = ClockWatch(machine.read)
    machine.run(0.2, asleep=60.0)
    assert machine.look(watch) == Jump(0.0, pytest.approx(60.0))


def test_a_clock_that_is_adjusted_all_the_time_is_not_a_jump() -> None:
    machine = Machine()
    watch = ClockWatch(machine.read)
    for _ in range(100):
        machine.run(1.0, stepped=0.5)
        assert machine.look(watch) is None


def test_a_thread_that_was_held_up_between_two_clocks_is_not_a_jump() -> None:
    machine = Machine()
    watch = ClockWatch(machine.read)
    now = machine.monotonic
    machine.run(5.0)
    assert watch.look(now, machine.wall) is None


def test_all_clocks_are_read_once_a_second_only() -> None:
    machine = Machine()
    watch = ClockWatch(machine.read)
    for _ in range(2_000):
        machine.run(0.001)
        machine.look(watch)
    assert machine.looks <= 3


def test_the_readings_are_of_this_machine() -> None:
    readings = read_clocks()
    assert readings.monotonic_ns / NS == pytest.approx(time.monotonic(), abs=5)
    assert readings.wall_ns / NS == pytest.approx(time.time(), abs=5)
    assert (readings.boot_ns is not None) == hasattr(time, "CLOCK_BOOTTIME")
    assert moment(readings.wall_ns / NS).timestamp() == pytest.approx(time.time(), abs=5)
