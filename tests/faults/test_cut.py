"""N41: the connection is cut after n bytes, for every n of a session."""

from __future__ import annotations

import itertools
import socket
import time

import pytest

from kalshi_feed import ConnectionLost, ReconnectPolicy
from kalshi_feed.books.book import BookStatus
from kalshi_feed.simulator import Exchange
from tests.connection.line import Line
from tests.connection.raw_server import BINARY, CONT, PING, TEXT, frame
from tests.faults.toxic_proxy import ToxicProxy
from tests.feed.bookkeeper import Bookkeeper
from tests.feed.support import A, FeedMaker
from tests.session.driver import BOOK, Driver, encoded
from tests.support import wait_until

AT_ONCE = ReconnectPolicy(initial_delay=0.0, max_delay=0.0)  # this sweep is about cuts, not about patience
DELTAS = 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("direction", "tls", "first", "step"),
    [
        *[("down", False, first, 5) for first in range(5)],  # every n, in five parts
        ("down", True, 0, 29),
        ("up", False, 0, 5),
        ("up", True, 0, 31),
    ],
)
def test_N41_cut_after_n_bytes_with_fin_and_with_reset(
    make_feed: FeedMaker, direction: str, tls: bool, first: int, step: int
) -> None:
    moves = itertools.cycle(["1", "-1"])
    with Exchange(key_type="ed25519", tls=tls) as exchange, ToxicProxy(exchange.port) as proxy:
        exchange.add_market(A, yes={"0.40": 10}, no={"0.54": 7})
        url = exchange.url.replace(str(exchange.port), str(proxy.port))
        feed = make_feed(
            credentials=exchange.credentials,
            url=url,
            ssl_context=exchange.ssl_context if tls else None,
            reconnect=AT_ONCE,
        )
        keeper = Bookkeeper(feed)
        feed.subscribe("orderbook_delta", A)
        feed.start()
        keeper.wait_right(exchange, A)
        for _ in range(DELTAS):
            exchange.change(A, "yes", "0.40", next(moves))
        keeper.wait_right(exchange, A)
        [(down, up)] = proxy._pairs
        length = down.passed if direction == "down" else up.passed
        # the upgrade, the confirmation, a snapshot and a delta; or the upgrade and a command
        assert length > 400
        for n in range(first, length + 1, step):
            keeper.received.clear()
            cuts = proxy.limited
            (
                proxy.down if direction == "down" else proxy.up
            ).limit = n  # ends the current connection, and every later one when it has passed n bytes
            for reset in (False, True):
                proxy.cut_with_reset = reset
                enough, until = proxy.limited + 2, time.monotonic() + 10
                while proxy.limited < enough:
                    assert time.monotonic() < until, (
                        f"cut after {n} bytes, reset={reset}: the feed did not recover"
                    )
                    exchange.change(A, "yes", "0.40", next(moves))
                    time.sleep(0.0005)
            proxy.heal()
            cuts = proxy.limited - cuts
            wait_until(
                lambda: len(keeper.losses) == cuts,  # noqa: B023
                10,
                f"each of the {cuts} cuts after {n} bytes to be reported",
            )
            # what is known of it can only come from the current connection
            exchange.change(A, "yes", "0.40", next(moves))
            keeper.wait_right(exchange, A)
        assert feed.stats().gaps == 0
        feed.close()


class Replay:
    """The frames of a session as bytes, and the driver that takes them: no exchange, no thread, no clock."""

    def __init__(self) -> None:
        self.driver = Driver()
        venue = self.driver.venue
        venue.change("M-1", 900)
        venue.change("M-2", 900, side="no")
        self.driver.want(BOOK, "M-1", "M-2")
        self.driver.want("trade", "M-1")
        frames = [frame for command in self.driver.connect() for frame in venue.answer(command)]
        for size in (100, -100):
            frames += venue.change("M-1", size) + venue.change("M-2", size, 4100, "no")
        texts = [encoded(item) for item in frames]
        texts[-1] += b" " * 66_000  # a large one
        long = texts[-2]
        self.texts = texts
        self.data = b"".join(
            [
                *(frame(TEXT, text) for text in texts[:-2]),
                frame(PING, b"heartbeat") + frame(BINARY, b"no text"),
                frame(TEXT, long[:50], fin=False)
                + frame(PING)
                + frame(CONT, long[50:90], fin=False)
                + frame(CONT, long[90:]),
                frame(TEXT, texts[-1]),
            ]
        )
        self.line = Line()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.__exit__()

    def take(self, data: bytes) -> None:
        """Pass on the next bytes."""
        self.line.send(data)
        self.driver.turn(*self.line.messages)  # which audits
        self.line.messages.clear()


def offsets(data: bytes) -> list[int]:
    """Return every offset; in the middle of the large frame, only some."""
    tail = len(data) - 66_000
    return [*range(tail), *range(tail, len(data) - 100, 1_777), *range(len(data) - 100, len(data) + 1)]


def test_N15_N41_a_session_in_two_pieces_at_every_offset() -> None:
    with Replay() as whole:
        whole.take(whole.data)
        delivered = whole.driver.delivered
        assert len(whole.driver.books) == 2 and len(delivered) == 8
    for at in offsets(whole.data):
        with Replay() as replay:
            assert replay.data == whole.data
            replay.take(replay.data[:at])
            replay.take(replay.data[at:])
            assert replay.driver.delivered == delivered, f"in two pieces at byte {at}"


def test_N41_a_session_cut_at_every_offset() -> None:
    with Replay() as whole:
        cuts = offsets(whole.data)
    lengths = []
    for at in cuts:
        with Replay() as replay:
            replay.take(replay.data[:at])
            replay.line.peer.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectionLost):
                replay.line.turns()
            replay.driver.disconnect()
            assert all(book.status is not BookStatus.LIVE for book in replay.driver.books.values())
            lengths.append(len(replay.driver.delivered))
    assert lengths == sorted(lengths)
