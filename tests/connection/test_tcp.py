"""N43: addresses are tried in parallel, in one thread and under one deadline, and the losers are closed."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kalshi_feed import forks
from kalshi_feed.connection import wakeup as waiting
from kalshi_feed.connection.dial import DialCancelled
from kalshi_feed.connection.tcp import HEAD_START, NoneConnected
from kalshi_feed.connection.url import parse_url
from kalshi_feed.errors import ConnectionFailed
from tests.support import open_descriptors

from .conftest import Dialer, collect
from .raw_server import RawServer
from .support import black_hole, free_port, hello, resolves_to

Where = tuple[str, int]


@contextlib.contextmanager
def black_holes(count: int) -> Iterator[list[Where]]:
    with contextlib.ExitStack() as stack:
        yield [("127.0.0.1", stack.enter_context(black_hole())) for _ in range(count)]


def open_sockets() -> int:
    return sum(name.startswith("socket:") for name in open_descriptors())


@pytest.mark.parametrize("has_poll", [True, False])
def test_N43_three_dead_addresses_cost_three_head_starts(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch, has_poll: bool
) -> None:
    if not has_poll:
        monkeypatch.setattr(waiting, "find_poll", lambda: None)
    with RawServer(hello) as server, black_holes(3) as dead:
        resolves_to(monkeypatch, *dead, ("127.0.0.1", server.port))
        before, began = open_sockets(), time.monotonic()
        transport = dialer(server, host="localhost", timeout=10)
        took = time.monotonic() - began
        assert collect(transport, 1) == [b"hello"]
        assert open_sockets() == before + 2  # the connection's two ends
        assert 3 * HEAD_START < took < 1.5
        assert threading.active_count() < 10


def test_N43_a_failure_lets_the_next_one_start_at_once(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(hello) as server:
        nowhere = free_port()
        refusing = [(f"127.0.0.{number}", nowhere) for number in range(2, 12)]
        # an address this machine cannot even try
        resolves_to(monkeypatch, ("255.255.255.255", 1), *refusing, ("127.0.0.1", server.port))
        began = time.monotonic()
        dialer(server, host="localhost", timeout=10).abort()
        assert time.monotonic() - began < HEAD_START


def test_N43_one_that_began_early_may_still_win(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not abandoned when the next one starts."""
    with black_holes(2) as dead, socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # there is no room for another connection
        stack.enter_context(socket.create_connection(listener.getsockname()))
        accepted: list[socket.socket] = []

        def drain() -> None:  # the feed's next SYN, a second after its first, then finds room
            listener.settimeout(5)
            for _ in range(2):
                accepted.append(listener.accept()[0])
                stack.callback(accepted[-1].close)

        resolves_to(monkeypatch, listener.getsockname(), *dead)
        draining = threading.Timer(HEAD_START * 2, drain)
        draining.start()
        began = time.monotonic()
        # so TCP was done
        with pytest.raises(ConnectionFailed, match="WebSocket handshake failed: no answer"):
            dialer(1, host="localhost", timeout=2.5)
        assert time.monotonic() - began < 4
        draining.join(5)
        assert len(accepted) == 2


def test_N43_with_little_time_the_head_starts_are_shorter(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(hello) as server, black_holes(4) as dead:
        resolves_to(monkeypatch, *dead, ("127.0.0.1", server.port))
        dialer(server, host="localhost", timeout=0.8).abort()


def test_N43_the_error_names_what_happened_to_each(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    with black_holes(1) as dead:
        nowhere = free_port()
        resolves_to(monkeypatch, *[(f"127.0.0.{number}", nowhere) for number in range(2, 7)], *dead)
        before = open_sockets()
        with pytest.raises(ConnectionFailed) as caught:
            dialer(1, host="localhost", timeout=0.5)
        assert open_sockets() == before
    text = str(caught.value)
    assert (
        "nothing is listening there (127.0.0.2, 127.0.0.3, 127.0.0.4 and 2 more); "
        "no answer in the time allowed" in text
    )
    assert text.endswith("(127.0.0.1)") and caught.value.retryable
    cause = caught.value.__cause__
    assert isinstance(cause, NoneConnected) and str(cause) == "none of 6 addresses accepted a connection"
    assert isinstance(cause.__cause__, ConnectionRefusedError)
    assert all(failure.__traceback__ is None for _, failure in cause.failures)


class WindowsSocket(socket.socket):
    """Its connects fail as on Windows: with a code of winsock, 10051, which os.strerror() does not know."""

    def connect_ex(self, address: Any) -> int:
        return 10051


def test_N43_a_code_of_winsock_is_put_into_words(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "errorTab", {10051: "Network is unreachable."}, raising=False)
    resolves_to(monkeypatch, ("127.0.0.1", free_port()))
    with RawServer(hello) as server, pytest.raises(ConnectionFailed, match=r"Network is unreachable\.$"):
        monkeypatch.setattr(socket, "socket", WindowsSocket)
        dialer(server, host="localhost", timeout=10)


def test_N43_no_address_at_all(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    resolves_to(monkeypatch)
    with pytest.raises(ConnectionFailed, match="the host name has no address"):
        dialer(1, endpoint=parse_url("wss://nowhere.example/"))


def test_N43_N05_cancelled_with_all_of_them_under_way(
    dialer: Dialer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a child that is forked at that moment would close all of them."""
    known: dict[Any, Any] = {}
    monkeypatch.setattr(forks, "_registered", known)

    def cancelled() -> bool:
        closes = [find() for find in list(known.values())]
        return sum(close is not None and close.__self__.fileno() >= 0 for close in closes) == 3

    with black_holes(3) as dead:
        resolves_to(monkeypatch, *dead)
        before, began = open_sockets(), time.monotonic()
        with pytest.raises(DialCancelled):
            dialer(1, host="localhost", timeout=10, cancelled=cancelled)
        assert time.monotonic() - began < 4 * HEAD_START
        assert open_sockets() == before


def test_N43_a_wake_ends_the_wait_for_all_of_them(dialer: Dialer, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel() -> None:
        dialer.cancelled = True
        dialer.wakeup.wake()

    with black_holes(2) as dead:
        resolves_to(monkeypatch, *dead)
        timer = threading.Timer(3 * HEAD_START, cancel)
        timer.start()
        began = time.monotonic()
        with pytest.raises(DialCancelled):
            dialer(1, host="localhost", timeout=10)
        assert time.monotonic() - began < 5 * HEAD_START
        timer.join()
