"""An exchange, a Rest for it, and minutes as seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kalshi_feed.engine import holes
from kalshi_feed.filling import filler, jobs
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange

from .support import rest_of


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange(key_type="ed25519", markets=("KX-A", "KX-B"), seed=3) as running:
        running.rest_tier = None
        yield running


@pytest.fixture
def rest(exchange: Exchange) -> Iterator[Rest]:
    with rest_of(exchange) as found:
        yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "_SUBSCRIBING", 0.2)
    monkeypatch.setattr(jobs, "SETTLE", 0.3)
    monkeypatch.setattr(jobs, "MOST_LATE", 1.0)
    monkeypatch.setattr(jobs, "_UNSURE", 0.1)
    monkeypatch.setattr(jobs, "_LAG_FIRST", 0.1)
    monkeypatch.setattr(filler, "FIRST_RETRY", 0.1)
    monkeypatch.setattr(filler, "LAST_RETRY", 0.4)
