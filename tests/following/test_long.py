"""A series of 200 markets (an hour or two, scaled), undisturbed and across everything that can go wrong."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from kalshi_feed import KalshiFeed, ReconnectPolicy
from kalshi_feed.following import follower
from kalshi_feed.following.roster import STEPS
from kalshi_feed.rest import Rest
from kalshi_feed.simulator import Exchange
from tests.support import wait_until

pytestmark = pytest.mark.slow
SERIES = "KXSIM15M"
LEAD, LINGER = 1.2, 1.0
SLACK = 1.0  # seconds that a command may take on a busy machine; a reconnect's are added


class Auditor:
    """Looks at the exchange's side: which markets are subscribed at which time after their close."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._stop = threading.Event()
        self.late: dict[str, float] = {}  # seconds after its close at which a market was last subscribed
        self.most = 0  # markets subscribed at a time
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Auditor:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        closes: dict[str, float] = {}
        while not self._stop.wait(0.1):
            now = time.time()
            for one in self._exchange.subscriptions:
                tickers = one["market_tickers"] or ()
                self.most = max(self.most, len(tickers))
                for ticker in tickers:
                    market = self._exchange._listing.find(ticker)
                    if market is not None and market.status not in ("initialized", "active"):
                        closes.setdefault(ticker, now)
                        self.late[ticker] = now - closes[ticker]


def run(exchange: Exchange, disturb: Any = None, rounds: int = 20) -> dict[str, Any]:
    """Follow the series to its end; return what was seen."""
    steps: dict[str, list[str]] = defaultdict(list)
    seen: dict[str, list[str]] = defaultdict(list)
    known: list[int] = []
    feed = KalshiFeed(
        exchange.credentials,
        url=exchange.url,
        ssl_context=exchange.ssl_context,
        reconnect=ReconnectPolicy(initial_delay=0.05, max_delay=0.2),
    )
    feed.on_market(lambda change: steps[change.market_ticker].append(change.change))
    feed.on_snapshot(lambda snapshot: seen[snapshot.market_ticker].append("snapshot"))
    feed.on_trade(lambda trade: seen[trade.market_ticker].append("trade"))
    with Rest(url=exchange.rest_url, ssl_context=exchange.ssl_context, retry_for=0.5) as rest, feed:
        following = feed.follow(series=SERIES, lead=LEAD, linger=LINGER, rest=rest).wait(5)
        with Auditor(exchange) as auditor:
            series = exchange.run_series(
                SERIES, every=1, length=2, markets=10, ahead=2, rounds=rounds, pace=20.0
            )
            while series.counts["settled"] < 10 * rounds:
                if disturb is not None:
                    disturb()
                time.sleep(0.25)
                known.append(len(feed._engine.store.books))
            exchange.behave()
            tickers = series.market_tickers
            deadline = time.monotonic() + 15
            while left := {t: steps[t] for t in tickers if steps[t] != list(STEPS)}:
                assert time.monotonic() < deadline, left
                time.sleep(0.1)
            wait_until(lambda: following.market_tickers == (), 10)
            wait_until(lambda: not any(s["market_tickers"] for s in exchange.subscriptions))
        reconnects = feed.stats().reconnects
    assert len(tickers) == 10 * rounds
    return {
        "tickers": tickers,
        "seen": seen,
        "steps": steps,
        "late": auditor.late,
        "most": auditor.most,
        "books": max(known),
        "reconnects": reconnects,
    }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes as seconds."""
    monkeypatch.setattr(follower, "LIST_EVERY", 5.0)
    monkeypatch.setattr(follower, "FIRST_RETRY", 0.3)
    monkeypatch.setattr(follower, "LAST_RETRY", 1.0)


def test_two_hundred_markets(quick: None) -> None:
    with Exchange(key_type="ed25519") as exchange:
        exchange.rest_tier = None
        found = run(exchange)
        requests, commands = sum(exchange.rest_requests.values()), len(exchange.commands)
    seen, tickers = found["seen"], found["tickers"]
    assert [ticker for ticker in tickers if seen[ticker][:1] != ["snapshot"]] == []
    assert [ticker for ticker in tickers if "trade" not in seen[ticker]] == []
    assert {ticker: late for ticker, late in found["late"].items() if late > LINGER + SLACK} == {}
    # open for 2 s, and wanted for 4.2: as many rounds at a time, and the one that is about to go
    assert found["most"] <= 60 and found["books"] <= 70
    assert requests <= 3 * 8 and commands <= 20 * 8
    assert found["reconnects"] == 0


@pytest.mark.parametrize("offset", [-180.0, 180.0])
def test_a_clock_that_is_off_by_minutes(quick: None, offset: float) -> None:
    with Exchange(key_type="ed25519") as exchange:
        exchange.clock_offset = offset
        exchange.rest_tier = None
        found = run(exchange, rounds=4)
    seen = found["seen"]
    assert [ticker for ticker in found["tickers"] if seen[ticker][:1] != ["snapshot"]] == []
    assert {ticker: late for ticker, late in found["late"].items() if late > LINGER + SLACK + 1} == {}


def test_across_reconnects_outages_and_lost_messages(quick: None) -> None:
    chance = random.Random(14)
    began = time.monotonic()
    done = {"disconnect": 0, "lose": 0, "rest": 0}
    outages = [began]

    with Exchange(key_type="ed25519") as exchange:
        exchange.rest_tier = None

        def disturb() -> None:
            what = chance.choice(["disconnect", "disconnect", "lose", "lose", "rest", "rest", *[""] * 4])
            if what == "disconnect":
                exchange.disconnect()
            elif what == "lose":
                exchange.lose(5, "market_lifecycle_v2")
            elif what == "rest":
                # about a second, and not one after the other: a market lives for 4
                if time.monotonic() - outages[-1] > 3:
                    outages.append(time.monotonic())
                    exchange.refuse_rest(3, status=503)
            done[what] = done.get(what, 0) + 1

        found = run(exchange, disturb)
        requests, commands = sum(exchange.rest_requests.values()), len(exchange.commands)
    seen, tickers = found["seen"], found["tickers"]
    seconds = time.monotonic() - began
    assert done["disconnect"] >= 10 and found["reconnects"] >= 10 and len(outages) >= 4, done
    assert [ticker for ticker in tickers if seen[ticker] and seen[ticker][0] != "snapshot"] == []
    assert [ticker for ticker in tickers if not seen[ticker]] == []
    assert {t: late for t, late in found["late"].items() if late > LINGER + SLACK + 1} == {}
    assert requests <= 12 * seconds and commands <= 40 * seconds
