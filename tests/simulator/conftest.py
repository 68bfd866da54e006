"""Fixtures of the simulator's tests: an exchange, a peer, and the proof that no thread is left."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from kalshi_feed.simulator import Exchange

from .peer import Peer, wait_until


@pytest.fixture(autouse=True)
def no_exchange_thread_left() -> Iterator[None]:
    """After each test, no exchange thread that it started is left (descriptors: see tests/conftest.py)."""
    before = set(threading.enumerate())  # another folder's exchange may serve the whole run
    yield
    wait_until(
        lambda: not [t for t in set(threading.enumerate()) - before if t.name.startswith("kalshi-exchange")],
        2.0,
    )


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(key_type="ed25519") as running:
        running.add_market("A", yes={"0.40": 10, "0.41": "5.5"}, no={"0.55": 7})
        running.add_market("B", yes={"0.10": 1})
        yield running


@pytest.fixture
def peer(exchange: Exchange) -> Iterator[Peer]:
    with Peer(exchange) as connected:
        yield connected
