"""Fixtures for the connection tests: certificates, and a dialer that closes what it opened."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import trustme

from kalshi_feed.connection.dial import dial
from kalshi_feed.connection.transport import Transport
from kalshi_feed.connection.url import parse_url
from kalshi_feed.connection.wakeup import Wakeup, wait_ready
from kalshi_feed.errors import ConnectionLost

from .raw_server import RawServer

SIGNATURE = "c2lnbmF0dXJlLXRoYXQtbXVzdC1ub3QtYmUtc2VlbiE9PQ=="
KEY_ID = "a1b2c3d4-0000-4000-8000-secretsecret"


def signed_headers() -> Mapping[str, str]:
    return {
        "KALSHI-ACCESS-KEY": KEY_ID,
        "KALSHI-ACCESS-SIGNATURE": SIGNATURE,
        "KALSHI-ACCESS-TIMESTAMP": "1700000000000",
    }


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_context(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


class Dialer:
    """Dials with defaults and closes what it opened."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.wakeup = Wakeup()
        self.cancelled = False
        self.transports: list[Transport] = []

    def __call__(
        self, server: RawServer | int, *, scheme: str = "ws", timeout: float = 5.0, **options: Any
    ) -> Transport:
        port = server if isinstance(server, int) else server.port
        host = options.pop("host", "localhost" if scheme == "wss" else "127.0.0.1")
        endpoint = options.pop("endpoint", None) or parse_url(f"{scheme}://{host}:{port}/trade-api/ws/v2")
        settings: dict[str, Any] = {
            "ssl_context": self.context,
            "proxy": None,
            "max_message_size": 1 << 20,
            "idle_timeout": 30.0,
            "wakeup": self.wakeup,
            "cancelled": lambda: self.cancelled,
        }
        headers = options.pop("headers", signed_headers)
        transport = dial(endpoint, headers, deadline=time.monotonic() + timeout, **(settings | options))
        self.transports.append(transport)
        return transport


@pytest.fixture
def dialer(client_context: ssl.SSLContext) -> Iterator[Dialer]:
    dialer = Dialer(client_context)
    yield dialer
    for transport in dialer.transports:
        transport.abort()
    dialer.wakeup.close()


def turn(transport: Transport, timeout: float = 5.0) -> list[bytes]:
    """One turn of a reader's loop; may raise ConnectionLost."""
    if not transport.has_more:
        until = min(transport.next_deadline(), time.monotonic() + timeout) - time.monotonic()
        wait_ready(transport.fileno(), None, write=transport.wants_write, timeout=until)
    now = time.monotonic()
    transport.flush(now)
    messages = transport.read(now)
    transport.tick(time.monotonic())
    return messages


def collect(transport: Transport, count: int, timeout: float = 5.0) -> list[bytes]:
    """Turns until ``count`` messages have come."""
    deadline, messages = time.monotonic() + timeout, list[bytes]()
    while len(messages) < count:
        assert time.monotonic() < deadline, f"only {len(messages)} of {count} messages came"
        messages += turn(transport)
    return messages


def run_to_end(transport: Transport, timeout: float = 5.0) -> tuple[list[bytes], ConnectionLost]:
    """Turns until the connection is lost."""
    deadline, messages = time.monotonic() + timeout, list[bytes]()
    while True:
        assert time.monotonic() < deadline, "the connection did not end"
        try:
            messages += turn(transport, deadline - time.monotonic())
        except ConnectionLost as lost:
            return messages, lost
