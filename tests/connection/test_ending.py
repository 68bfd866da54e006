"""The stages that the end of a connection goes through, by name."""

from __future__ import annotations

import threading
import time

from kalshi_feed.connection.ending import EndingStage
from tests.support import wait_until

from .conftest import Dialer, run_to_end, turn
from .raw_server import CLOSE, TEXT, Peer, RawServer, frame
from .support import sends


def test_closed_by_the_peer(dialer: Dialer) -> None:
    with sends(frame(TEXT, b"a") + frame(CLOSE, b"\x03\xe8")) as server:
        transport = dialer(server)
        assert transport._ending.stage is EndingStage.OPEN
        messages, _ = run_to_end(transport)
        assert messages == [b"a"] and transport._ending.stage is EndingStage.LOST
        transport.abort()
        assert transport._ending.stage is EndingStage.CLOSED


def test_a_broken_connection_hands_out_what_had_arrived_before_it_is_lost(dialer: Dialer) -> None:
    gone = threading.Event()

    def handler(peer: Peer) -> None:
        peer.handshake()
        time.sleep(0.02)  # the client's bytes are then unread, so that closing resets
        peer.send(frame(TEXT, b"a"))
        peer.reset()
        gone.set()

    with RawServer(handler) as server:
        transport = dialer(server)
        transport.send_text(b"unread" * 1_000)
        transport.flush(time.monotonic())
        assert gone.wait(5)

        def is_broken() -> bool:
            transport.send_text(b"more" * 1_000)
            transport.flush(time.monotonic())
            return transport._ending.stage is EndingStage.BROKEN

        wait_until(is_broken)
        assert transport.has_more and not transport.wants_write
        messages, _ = run_to_end(transport)
        assert messages == [b"a"] and transport._ending.stage is EndingStage.LOST
        transport.abort()


def test_while_our_close_has_no_answer_what_arrives_is_read(dialer: Dialer) -> None:
    with sends(frame(TEXT, b"a")) as server:
        transport = dialer(server)
        transport._send_close(b"\x03\xe8", time.monotonic())
        assert transport._ending.stage is EndingStage.CLOSING
        transport.send_text(b"too late")
        assert not transport._outbox
        messages: list[bytes] = []
        while not messages:
            messages = turn(transport)
        assert messages == [b"a"] and transport._ending.stage is EndingStage.CLOSING
        transport.close(time.monotonic() + 0.1)
        assert transport._ending.stage is EndingStage.CLOSED
