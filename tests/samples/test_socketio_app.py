"""socketio_app.py: books arrive at python-socketio clients that joined their rooms, in each mode."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

import pytest

from tests.cli.support import Access, environment
from tests.support import wait_until

from .support import SAMPLES, answers, free_port, installed, needs_tickers_and_a_key, started, with_access

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not installed("flask_socketio"), reason="Flask-SocketIO is not installed (extra hosts)"
    ),
]

MODES = ("threading", "gevent", "eventlet")


def options(mode: str) -> list[str]:
    """The sample's option for the mode. Skips the test where its library is missing."""
    if mode == "threading":
        return []
    if not installed(mode):
        pytest.skip(f"{mode} is not installed (extra hosts): Flask-SocketIO is not tried with it")
    return [f"--{mode}"]


class Browser:
    """A Socket.IO client and the books that it got."""

    def __init__(self, port: int) -> None:
        socketio = pytest.importorskip(
            "socketio", reason="python-socketio is not installed (extra hosts): no client for Flask-SocketIO"
        )
        self.books: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.client = socketio.Client(reconnection=False)
        self.client.on("book", self.books.put)
        self.client.connect(f"http://127.0.0.1:{port}", wait_timeout=10)

    def join(self, ticker: str) -> dict[str, str]:
        """Return the server's answer."""
        answer: dict[str, str] = self.client.call("join", ticker, timeout=10)
        return answer

    def next(self, status: str = "LIVE") -> dict[str, Any]:
        """The next book with that status."""
        while (book := self.books.get(timeout=10))["status"] != status:
            pass
        return book


@contextmanager
def browser(port: int) -> Iterator[Browser]:
    wait_until(lambda: answers(port), 15, "the server")
    found = Browser(port)
    try:
        yield found
    finally:
        found.client.disconnect()
        found.client.wait()


@pytest.mark.parametrize("mode", MODES)
def test_a_room_gets_its_markets_books(access: Access, mode: str) -> None:
    port, environ = free_port(), with_access(access) | {"KALSHI_TICKERS": "KX-A,KX-B"}
    arguments = ("-W", "ignore", str(SAMPLES / "socketio_app.py"), "--port", str(port), *options(mode))
    with started(*arguments, **environ) as process:
        assert process.stdout is not None
        assert f"({mode})" in process.stdout.readline()
        with browser(port) as first, browser(port) as second:
            assert first.join("NOPE") == {"error": "no market NOPE here"}
            assert first.join("KX-A") == {"joined": "KX-A"} and second.join("KX-B") == {"joined": "KX-B"}
            versions = [first.next()["version"] for _ in range(50)]
            assert versions == sorted(versions), "an older book after a newer one"
            assert [first.next()["market_ticker"], second.next()["market_ticker"]] == ["KX-A", "KX-B"]

            access.exchange.reject_next(1, 503)
            access.exchange.reset()
            assert first.next("STALE")["yes"]
            assert first.next("LIVE")["version"] > versions[-1]
            assert access.exchange.connections == 1


@pytest.mark.parametrize("mode", MODES)
def test_sigterm_ends_it_while_books_move(access: Access, mode: str) -> None:
    """In whichever greenlet the signal arrives, the feed's among them."""
    port, environ = free_port(), with_access(access) | {"KALSHI_TICKERS": "KX-A,KX-B"}
    arguments = ("-W", "ignore", str(SAMPLES / "socketio_app.py"), "--port", str(port), *options(mode))
    with started(*arguments, **environ) as process:
        with browser(port) as first:
            assert first.join("KX-A") == {"joined": "KX-A"}
            first.next()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=15)
        assert process.returncode == 0, err
    access.exchange.wait_for_connections(0)


def test_the_mode_is_what_the_process_is_patched_for(access: Access) -> None:
    """An installed gevent does not matter. python -m gevent.monkey patches as the option does."""
    options("gevent")
    path = os.pathsep.join((environment()["PYTHONPATH"], str(SAMPLES)))
    for wrapper, mode in (((), "threading"), (("-m", "gevent.monkey"), "gevent")):
        arguments = ("-W", "ignore", *wrapper, str(SAMPLES / "socketio_app.py"), "--port", str(free_port()))
        with started(*arguments, "KX-A", **with_access(access), PYTHONPATH=path) as process:
            assert process.stdout is not None
            assert f"({mode})" in process.stdout.readline()


def test_it_does_not_start_without_tickers_or_a_key(access: Access) -> None:
    needs_tickers_and_a_key("socketio_app.py", access)


@pytest.mark.simulates
@pytest.mark.parametrize("mode", MODES)
def test_simulate_serves_the_page_and_ends(mode: str) -> None:
    port = free_port()
    arguments = ("-W", "ignore", str(SAMPLES / "socketio_app.py"), "--simulate", *options(mode))
    with started(*arguments, "--seconds", "3", "--port", str(port)) as process:
        wait_until(lambda: answers(port), 15, "the server")
        with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as page:
            assert (
                '["KXSIM-001", "KXSIM-002", "KXSIM-003"]) socket.emit("join", ticker)' in page.read().decode()
            )
        _, err = process.communicate(timeout=25)
    assert process.returncode == 0, err
