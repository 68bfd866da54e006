"""The switch interval: short as long as reads have to wait, and the program's own at any other time."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator

import pytest
import websocket

from kalshi_feed.connection.byte_stream import ByteStream
from kalshi_feed.connection.switch_interval import Hurry, restore, shorten
from kalshi_feed.connection.transport import Transport
from kalshi_feed.errors import ConnectionLost
from kalshi_feed.simulator import Exchange
from tests.feed.conftest import exchange, make_feed
from tests.feed.support import A, FeedMaker, wait_equal
from tests.support import wait_until

__all__ = ["exchange", "make_feed"]  # fixtures

OWN = 0.004
SHORT = OWN / 4


@pytest.fixture(autouse=True)
def own() -> Iterator[float]:
    """What this program has set, as Python returns it."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(OWN)
    yield sys.getswitchinterval()
    sys.setswitchinterval(before)


def test_it_is_short_and_then_as_before(own: float) -> None:
    shorten()
    assert sys.getswitchinterval() < SHORT
    restore()
    assert sys.getswitchinterval() == own
    restore()
    assert sys.getswitchinterval() == own


def test_two_feeds_at_once(own: float) -> None:
    """No matter how their turns interleave, the program's own value comes back."""
    for turns in (
        (shorten, shorten, restore, restore),
        (shorten, restore, shorten, restore),
        (shorten, shorten, restore, shorten, restore, restore),
    ):
        for turn in turns:
            turn()
        assert sys.getswitchinterval() == own


def test_what_the_program_sets_meanwhile_stays() -> None:
    shorten()
    sys.setswitchinterval(0.002)
    meanwhile = sys.getswitchinterval()
    restore()
    assert sys.getswitchinterval() == meanwhile


def test_a_program_that_has_made_it_short_is_left_alone() -> None:
    sys.setswitchinterval(0.00001)
    short = sys.getswitchinterval()
    shorten()
    assert sys.getswitchinterval() == short
    restore()
    assert sys.getswitchinterval() == short


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_has_the_programs_own(own: float) -> None:
    shorten()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later: fork with threads
        pid = os.fork()
    if pid == 0:
        os._exit(int(sys.getswitchinterval() != own))
    restore()
    assert os.waitpid(pid, 0)[1] == 0


def read(hurry: Hurry, waits: float = 0.0) -> bool:
    """A read that waits so many seconds; return whether the turns are short after it."""
    with hurry:
        if waits:
            time.sleep(waits)
    return sys.getswitchinterval() < SHORT


def test_the_turns_are_short_while_reads_have_to_wait(own: float) -> None:
    """Each read that waits, if only for one short turn, keeps them short for a while."""
    hurry = Hurry(lasting=0.3)
    assert not read(hurry)
    assert read(hurry, OWN)
    began = time.monotonic()
    while time.monotonic() < began + 0.6:
        assert read(hurry, 0.001)
    wait_until(lambda: not read(hurry))
    assert sys.getswitchinterval() == own


def test_a_feed_that_still_waits_makes_them_short_again(own: float) -> None:
    """Whatever another feed in the process does."""
    one, other = Hurry(), Hurry()
    assert read(one, OWN) and read(other, OWN)
    other.end()
    assert sys.getswitchinterval() == own
    assert read(one, OWN)
    one.end()
    assert sys.getswitchinterval() == own


class Witness(ByteStream):
    """A stream that notes the interval at each read, and lets the first one wait."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.seen: list[float] = []

    def receive(self) -> bytes:
        self.seen.append(sys.getswitchinterval())
        if len(self.seen) == 1:
            time.sleep(OWN)
        return super().receive()


def test_a_transport_hurries_after_a_read_that_waited_and_not_beyond_its_end(own: float) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        stream = Witness(ours)
        client = websocket.WebSocket()
        transport = Transport(
            stream,
            client,
            data=b"",
            max_message_size=1000,
            idle_timeout=10,
            write_timeout=10,
            now=time.monotonic(),
        )
        for sent in (b"", b"", b"\x81\x02{}"):
            theirs.sendall(sent)
            assert transport.read(time.monotonic()) == [b"{}"] * bool(sent)
            assert sys.getswitchinterval() < SHORT
        theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionLost):
            transport.read(time.monotonic())
        assert sys.getswitchinterval() < SHORT
        transport.abort()
        assert sys.getswitchinterval() == own
    assert stream.seen[0] == own
    assert len(stream.seen) == 4 and max(stream.seen[1:]) < SHORT


def test_a_feed_beside_a_thread_that_computes(exchange: Exchange, make_feed: FeedMaker, own: float) -> None:
    """Books are right, and afterwards the interval is the program's."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        with make_feed() as feed:
            feed.wait_for_book(A, timeout=10)
            for step in range(200):
                exchange.change(A, "yes", "0.30", 1 + step)
            wait_equal(feed, exchange, A)
    finally:
        stop.set()
        thread.join()
    assert sys.getswitchinterval() == own
