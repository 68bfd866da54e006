"""The feed's log: quiet by default, the conversation at DEBUG; no deltas, no secrets, no lock held."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kalshi_feed import KalshiFeed, UnknownMarketError
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.cli.support import TOP, environment
from tests.faults.secrets import Secrets
from tests.support import wait_until

from .support import A, B, CuriousFeed, FeedMaker, wait_equal

LOG = logging.getLogger("kalshi_feed")


class Keeper(logging.Handler):
    """Keeps the records; ``held``: whether any was logged under the feed's lock."""

    def __init__(self, feed: KalshiFeed) -> None:
        super().__init__()
        self._lock_of_feed: Any = inside.store(feed).lock
        self.records: list[logging.LogRecord] = []
        self.held = False

    def emit(self, record: logging.LogRecord) -> None:
        self.held |= self._lock_of_feed._is_owned()
        self.records.append(record)

    def texts(self) -> list[str]:
        return [record.getMessage() for record in self.records]

    def data(self, event: str) -> list[dict[str, Any]]:
        """The structured part of one kind of records."""
        found = [record.kalshi for record in self.records if hasattr(record, "kalshi")]
        return [one for one in found if one["event"] == event]


@contextmanager
def kept(feed: KalshiFeed, level: int) -> Iterator[Keeper]:
    keeper, before = Keeper(feed), LOG.level
    LOG.addHandler(keeper)
    LOG.setLevel(level)
    try:
        yield keeper
    finally:
        LOG.setLevel(before)
        LOG.removeHandler(keeper)


def live_with_a_gap(exchange: Exchange, feed: KalshiFeed) -> None:
    """A feed's life: two books, fifty deltas, one of them lost, and the end."""
    feed.subscribe(["orderbook_delta", "trade"], [A, B])
    with feed:
        feed.wait_for_book(A, 5)
        feed.wait_for_book(B, 5)
        for number in range(50):
            if number == 20:
                exchange.lose(1)
            exchange.change(A, "yes", "0.10", "1")
        wait_until(lambda: feed.stats().resyncs == 1)
        wait_equal(feed, exchange, A, B)


def test_debug_logs_the_conversation(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    with kept(feed, logging.DEBUG) as log:
        live_with_a_gap(exchange, feed)
    assert [one["step"] for one in log.data("dial")] == ["dns", "tcp", "tls", "handshake"]
    commands = [one["command"] for one in log.data("sent")]
    assert [text for text in log.texts() if text.startswith("sending")] == [
        f"sending {command}" for command in commands
    ]
    assert '"cmd":"subscribe"' in commands[0] and any(
        '"action":"get_snapshot"' in command for command in commands
    )
    replies = log.data("reply")
    assert {(one["type"], one["channel"]) for one in replies} >= {
        ("subscribed", "orderbook_delta"),
        ("subscribed", "trade"),
    }
    assert [one["market_ticker"] for one in log.data("snapshot")][:2] == [A, B] and len(
        log.data("snapshot")
    ) > 2
    (gap,) = log.data("gap")
    assert (
        gap["channel"] == "orderbook_delta"
        and gap["received"] == gap["expected"] + 1
        and set(gap["market_tickers"]) == {A, B}
    )
    texts = log.texts()
    order = [
        "tls: TLSv1.3",
        "connected to wss://",
        "sending",
        "subscribed: id",
        f"snapshot of {A}",
        "sequence gap on",
        "closing the",
    ]
    places = [next(i for i, text in enumerate(texts) if text.startswith(beginning)) for beginning in order]
    assert places == sorted(places)
    assert len(texts) < 25, "a line for each delta?"
    assert not log.held


def test_no_secret_at_debug(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed, secrets = make_feed(url=f"{exchange.url}?token=hunter2secret"), Secrets()
    secrets.add_exchange(exchange)
    secrets.add("hunter2secret")
    with kept(feed, logging.DEBUG) as log:
        live_with_a_gap(exchange, feed)
    for record in log.records:
        secrets.check(f"{record.getMessage()} {record.__dict__}", "a log record")


def test_info_logs_the_connection_gaps_and_faults(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    with kept(feed, logging.INFO) as log:
        live_with_a_gap(exchange, feed)
        with feed:
            exchange.refuse_commands(14, "Permission denied\n\x1b[31m", "subscribe")
            feed.subscribe("ticker", [A])
            wait_until(lambda: "exchange_error" in feed.stats().faults)
            wait_until(lambda: log.data("fault"))
    beginnings = [text.partition(" ")[0] for text in log.texts()]
    assert beginnings == ["connected", "sequence", "closing", "connected", "exchange_error:", "closing"]
    assert log.data("fault")[0]["kind"] == "exchange_error"
    assert all(text.isprintable() for text in log.texts())
    assert not log.held


def test_warning_and_above_looks_at_nothing(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    with kept(feed, logging.WARNING) as log:
        live_with_a_gap(exchange, feed)
    assert log.records == []


def test_a_handler_that_raises_does_not_end_the_feed(exchange: Exchange, make_feed: FeedMaker) -> None:
    class Broken(logging.Handler):
        """Raises for every record."""

        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("the disk is full")

    feed, broken = make_feed(), Broken()
    LOG.addHandler(broken)
    LOG.setLevel(logging.DEBUG)
    try:
        live_with_a_gap(exchange, feed)
    finally:
        LOG.setLevel(logging.NOTSET)
        LOG.removeHandler(broken)


PROGRAM = """
from kalshi_feed import KalshiFeed, UnknownMarketError
from kalshi_feed.simulator import Exchange
with Exchange(markets=1, rate=100) as exchange:
    feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
    @feed.on_snapshot
    def first(snapshot):
        {body}
    with feed:
        feed.wait_for_book(exchange.market_tickers[0], 10)
        feed.wait_for("orderbook_delta", timeout=10)
"""


@pytest.mark.parametrize(("body", "said"), [("pass", ""), ("1 / 0", "ZeroDivisionError")])
def test_quiet_without_configuration_but_for_a_callback_that_raises(body: str, said: str) -> None:
    """No NullHandler: what a beginner needs most must be visible without configuring logging."""
    program = [sys.executable, "-W", "error", "-c", PROGRAM.format(body=body)]
    result = subprocess.run(program, cwd=TOP, env=environment(), capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (0, "")
    assert (
        (result.stderr == "")
        if not said
        else ("the callback " in result.stderr and f"raised {said}" in result.stderr)
    )


@pytest.mark.parametrize("level", [logging.WARNING, logging.DEBUG])
def test_S39_one_warning_is_logged(level: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(CuriousFeed)
    with kept(feed, level) as keeper:
        feed.subscribe("orderbook_delta", [A, "KXTYPO-26-A"])
        feed.start().wait_for_book(A, timeout=5)
        wait_until(lambda: len(exchange.commands) >= 5)  # asked again twice
        feed.close()
    warnings = [record for record in keeper.records if record.levelno == logging.WARNING]
    assert [record.getMessage() for record in warnings] == [
        str(UnknownMarketError("KXTYPO-26-A"))
    ] and not keeper.held
    assert keeper.data("unknown_market") == [{"event": "unknown_market", "market_tickers": ["KXTYPO-26-A"]}]
