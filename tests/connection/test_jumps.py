"""A connection after the clocks have jumped (N44, N45): the test is the peer, and sets the clocks."""

from __future__ import annotations

import pytest

from kalshi_feed.clocks import ClockReadings, ClockWatch
from kalshi_feed.connection.transport import ANSWER_SECONDS
from kalshi_feed.errors import ConnectionLost
from tests.connection.line import Line
from tests.connection.raw_server import PONG, TEXT, frame

PING_BYTES = 2 + 4 + len(b"kalshi_feed")


class Nights:
    """The clocks of a machine that sleeps when the test says so; the time awake is the line's."""

    def __init__(self) -> None:
        self.asleep_ns = 0

    def read(self) -> ClockReadings:
        return ClockReadings(0, self.asleep_ns, self.asleep_ns)


@pytest.fixture
def nights() -> Nights:
    return Nights()


def woken(nights: Nights) -> Line:
    """A line whose last byte came at 10.0, and whose machine slept a night at 12.0."""
    line = Line(watch=ClockWatch(nights.read))
    line.now = 10.0
    line.send(frame(TEXT, b"{}"))
    line.now = 12.0
    nights.asleep_ns += 28_800 * 10**9
    return line


def test_one_ping_and_the_pong_is_the_answer(nights: Nights) -> None:
    with woken(nights) as line:
        line.turns()
        assert line.transport.slept == pytest.approx(28_800)
        line.pass_time(1.0)
        assert line.transport.last_byte[0] == 10.0
        line.send(frame(PONG, b"kalshi_feed"))
        assert line.transport.last_byte[0] == 13.0
        line.pass_time(12.0)
        assert len(line.peer.recv(1024)) == PING_BYTES


def test_N44_an_answer_in_the_same_read_leaves_the_beginning_of_the_sleep(nights: Nights) -> None:
    with woken(nights) as line:
        before = line.transport.last_byte[1]
        line.peer.sendall(frame(PONG, b"kalshi_feed"))
        line.turns()
        assert line.transport.slept and line.transport.last_byte[1] > before
        assert line.transport.awake_at == before


def test_no_answer_and_the_connection_is_lost(nights: Nights) -> None:
    with woken(nights) as line:
        line.turns()
        with pytest.raises(
            ConnectionLost, match="the machine slept for 28800 s, and a ping was not answered within 3 s"
        ):
            line.pass_time(10.0)
        assert line.now == pytest.approx(12.0 + ANSWER_SECONDS)


def test_what_was_sent_before_the_sleep_is_no_sign_of_life(nights: Nights) -> None:
    with woken(nights) as line:
        line.send(frame(TEXT, b'{"sent":"yesterday"}'))
        line.now += 0.5
        line.send(frame(TEXT, b'{"sent":"yesterday, too"}'))
        assert len(line.messages) == 3
        with pytest.raises(ConnectionLost, match="not answered"):
            line.pass_time(10.0)
        assert line.now == pytest.approx(12.5 + ANSWER_SECONDS)  # there may be more of it on the way
        assert line.transport.last_byte[0] == 10.0


def test_a_peer_that_goes_on_sending_is_there(nights: Nights) -> None:
    with woken(nights) as line:
        line.turns()
        for _ in range(5):
            line.pass_time(1.0)
            line.send(frame(TEXT, b"{}"))
        line.pass_time(10.0)
        assert line.transport.last_byte[0] == 17.0


def test_the_sleep_is_reported_before_the_loss_that_came_with_it(nights: Nights) -> None:
    with woken(nights) as line:
        line.peer.close()
        assert line.transport.read(line.now) == []
        assert line.transport.slept
        assert line.transport.has_more
        with pytest.raises(ConnectionLost):
            line.transport.read(line.now)
