"""The rest of the contract: constructor, environment, books, metrics, proxies, clock, life."""

# mypy: no-strict-equality

from __future__ import annotations

import base64
import dataclasses
import inspect
import json
import pickle
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import kalshi_feed
from kalshi_feed import (
    DEMO_URL,
    PRODUCTION_URL,
    AuthenticationError,
    BookStatus,
    BookView,
    ConfigurationError,
    Credentials,
    CredentialsError,
    FeedState,
    FeedStats,
    Health,
    KalshiFeed,
    Level,
    OrderBook,
    ProtocolError,
    ReconnectPolicy,
    StaleBookError,
    Stalls,
    UnknownMessage,
)
from kalshi_feed.messages import decode
from kalshi_feed.session.timing import Timing
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import RawServer
from tests.connection.tunnel import Tunnel
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, sides, wait_equal
from tests.support import wait_until

D = Decimal


# -- names ---------------------------------------------------------------------------------------------------


def test_public_names() -> None:
    promised = {
        "KalshiFeed", "Credentials", "ReconnectPolicy", "Subscription", "Following", "OrderBook", "BookView", "Level", "FeedState",  # noqa: E501
        "FeedStats", "Stalls", "Health", "StateChange", "Gap", "GapFilled", "Lagged", "MarketChange", "FeedFault", "PRODUCTION_URL", "DEMO_URL",  # noqa: E501
        "KalshiFeedError", "ConfigurationError", "CredentialsError", "ConnectionFailed", "HandshakeRejected",
        "AuthenticationError", "TLSError", "ProxyError", "ConnectionLost", "ProtocolError", "SubscriptionError",  # noqa: E501
        "StaleBookError", "WaitTimeout", "FeedClosedError", "FeedForkedError",
    }  # fmt: skip
    assert promised <= set(kalshi_feed.__all__)
    assert all(hasattr(kalshi_feed, name) for name in kalshi_feed.__all__)


def test_signatures() -> None:
    parameters = inspect.signature(KalshiFeed).parameters
    assert {name: p.default for name, p in parameters.items() if name != "credentials"} == {
        "url": PRODUCTION_URL,
        "ssl_context": None,
        "proxy": None,
        "reconnect": ReconnectPolicy(),
        "connect_timeout": 10.0,
        "idle_timeout": 30.0,
        "queue_size": 65536,
        "overflow": "drop_oldest",
        "workers": 1,
        "max_message_size": 16 * 1024 * 1024,
        "compression": False,
        "use_yes_price": True,
        "name": None,
        "fill_gaps": False,
        "fill_timeout": 2.0,
        "fill_since": None,
    }
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "credentials")
    assert ReconnectPolicy() == ReconnectPolicy(
        max_retries=None, initial_delay=0.5, max_delay=30.0, multiplier=2.0, jitter=True
    )
    assert list(inspect.signature(KalshiFeed.subscribe).parameters)[1:] == [
        "channels", "market_tickers", "market_ids", "send_initial_snapshot", "skip_ticker_ack", "user_filter",
        "shard_factor", "shard_key", "index_ids", "underlying_tickers", "allow_unknown",
    ]  # fmt: skip
    assert {name: p.default for name, p in inspect.signature(KalshiFeed.follow).parameters.items()} == {
        "self": inspect.Parameter.empty,
        "series": None,
        "event": None,
        "channels": ("orderbook_delta", "trade"),
        "where": None,
        "lead": 5.0,
        "linger": 60.0,
        "limit": None,
        "rest": None,
    }
    assert inspect.signature(KalshiFeed.close).parameters["timeout"].default == 5.0
    assert inspect.signature(KalshiFeed.messages).parameters["maxsize"].default == 10000
    assert PRODUCTION_URL == "wss://external-api-ws.kalshi.com/trade-api/ws/v2"
    assert DEMO_URL == "wss://external-api-ws.demo.kalshi.co/trade-api/ws/v2"


def test_the_readme_program(exchange: Exchange, make_feed: FeedMaker) -> None:
    """The first program that users see, except for the ticker and the exchange."""
    printed: list[Any] = []
    with make_feed() as feed:

        @feed.on_delta
        def moved(delta: Any) -> None:
            printed.append((delta.market_ticker, delta.side, delta.price, delta.delta))

        feed.subscribe(["orderbook_delta", "trade"], [A])
        book = feed.wait_for_book(A, timeout=10)
        assert (book.best_bid("yes"), book.best_ask("yes"), book.spread()) == (
            (D("0.4"), 10),
            (D("0.46"), 7),
            D("0.06"),
        )
        exchange.change(A, "no", "0.54", -7)
        wait_until(lambda: printed)
    assert printed == [(A, "no", D("0.54"), D(-7))]


# -- construction --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "url": [
            "",
            "http://x",
            "https://x",
            "wss://",
            "ws://external-api-ws.kalshi.com/",
            "wss://u:p@x/",
            "wss://x/#a",
            5,
        ],
        "ssl_context": ["context", 5, True],
        "proxy": ["socks5://x:1", "https://x:1", "http://", 5, "http://x:1/path", True],
        "reconnect": [None, 5, "never"],
        "connect_timeout": [0, -1, float("nan"), float("inf"), "10", None, True],
        "idle_timeout": [0, -1, float("nan"), float("inf"), "10", None, True],
        "queue_size": [0, -1, 1.5, "10", None, True],
        "overflow": ["drop", None, 5],
        "workers": [0, -1, 1.5, "10", None, True],
        "max_message_size": [0, -1, 1000.0, "16", None, True],
        "compression": [None, 1, "deflate"],
        "use_yes_price": [None, 0, "yes"],
        "name": ["", 5, b"x"],
    }.items(),
)
def test_bad_arguments_are_refused(name: str, values: list[Any], make_feed: FeedMaker) -> None:
    for value in values:
        with pytest.raises(ConfigurationError) as caught:
            make_feed(**{name: value})
        assert isinstance(caught.value, ValueError)
        assert "u:p" not in str(caught.value)


@pytest.mark.parametrize("credentials", [None, "key", ("id", "pem"), object()])
def test_credentials_must_be_credentials(credentials: Any, make_feed: FeedMaker) -> None:
    with pytest.raises(ConfigurationError, match=r"Credentials\.from_file"):
        make_feed(credentials=credentials)


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"initial_delay": -1},
        {"initial_delay": float("nan")},
        {"max_delay": 0.1},
        {"multiplier": 0.5},
        {"multiplier": "2"},
    ],
)
def test_bad_policies_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        ReconnectPolicy(**arguments)


def test_from_env(exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, _ = exchange.write_credentials(tmp_path)
    for name in ("KALSHI_API_KEY_ID", "KALSHI_PRIVATE_KEY", "KALSHI_PRIVATE_KEY_PATH", "KALSHI_ENV"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CredentialsError, match="KALSHI_API_KEY_ID"):
        KalshiFeed.from_env()
    monkeypatch.setenv("KALSHI_API_KEY_ID", exchange.api_key_id)
    monkeypatch.setenv("KALSHI_PRIVATE_KEY_PATH", str(key))
    assert PRODUCTION_URL.split("/")[2] in repr(KalshiFeed.from_env())
    monkeypatch.setenv("KALSHI_ENV", "demo")
    assert DEMO_URL.split("/")[2] in repr(KalshiFeed.from_env(workers=2))
    monkeypatch.setenv("KALSHI_ENV", "staging")
    with pytest.raises(ConfigurationError, match="'production' or 'demo'"):
        KalshiFeed.from_env()
    monkeypatch.delenv("KALSHI_PRIVATE_KEY_PATH")
    monkeypatch.setenv("KALSHI_PRIVATE_KEY", exchange.private_key_pem.decode().replace("\n", "\\n"))
    with KalshiFeed.from_env(url=exchange.url, ssl_context=exchange.ssl_context) as feed:
        feed.wait_until_connected(5)
    with pytest.raises(ConfigurationError):
        KalshiFeed.from_env(url=exchange.url, workers=0)


def test_K08_ws_is_for_loopback_only(make_feed: FeedMaker) -> None:
    with Exchange(markets=(A,), key_type="ed25519", tls=False) as exchange:
        feed = make_feed(credentials=exchange.credentials, url=exchange.url, ssl_context=None)
        assert feed.start().wait_for_book(A, timeout=5).is_live
        feed.close()


@pytest.mark.parametrize("key_type", ["rsa", "ed25519"])
def test_both_kinds_of_key_sign(key_type: Any) -> None:
    with (
        Exchange(markets=(A,), key_type=key_type) as exchange,
        KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context) as feed,
    ):
        assert feed.wait_for_book(A, timeout=5).is_live


# -- books ---------------------------------------------------------------------------------------------------


def test_every_question_of_a_book(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    view = book.view()
    assert isinstance(book, OrderBook)
    assert isinstance(view, BookView)
    for it in (book, view):
        assert (it.market_ticker, it.status, it.is_live, it.version, it.seq, it.clock) == (
            A,
            BookStatus.LIVE,
            True,
            1,
            1,
            0,
        )
        assert it.updated_at is not None and it.updated_at.tzinfo is not None
        assert abs((it.updated_at - datetime.now(timezone.utc)).total_seconds()) < 5
        assert 0 <= (it.age() or 0) < 5
        assert it.best_bid() == it.best_bid("yes") == Level(D("0.40"), D(10))
        assert it.best_bid("no") == Level(D("0.54"), D(7))
        assert it.best_ask("yes") == Level(D("0.46"), D(7))  # 1 - 0.54
        assert it.best_ask("no") == Level(D("0.60"), D(10))
        assert it.bids("yes") == ((D("0.40"), 10), (D("0.395"), D("2.5")))
        assert it.bids("no", depth=1) == ((D("0.54"), 7),)
        assert it.asks("yes") == ((D("0.46"), 7), (D("0.50"), 100))
        assert it.asks("no", 1) == ((D("0.60"), 10),)
        assert (it.mid("yes"), it.mid("no"), it.spread("yes"), it.spread("no")) == (
            D("0.43"),
            D("0.57"),
            D("0.06"),
            D("0.06"),
        )
        assert it.microprice("yes") == pytest.approx(D("0.40") + D("0.06") * 10 / 17)
        assert (it.depth_at("yes", "0.395"), it.depth_at("yes", D("0.39")), it.depth_at("no", 0.5)) == (
            D("2.5"),
            0,
            100,
        )
        assert it.imbalance(1) == D(3) / D(17)
        assert it.cost_to_buy("yes", 8) == 7 * D("0.46") + D("0.50")
        assert it.cost_to_sell("yes", "11") == 10 * D("0.40") + D("0.395")
        assert it.cost_to_buy("yes", 108) is None  # there are only 107
        dumped = json.loads(json.dumps(it.to_dict()))
        assert dumped["market_ticker"] == A and dumped["status"] == "LIVE"
        for bad in ("maybe", None, 5):
            with pytest.raises(ConfigurationError):
                it.best_bid(bad)  # type: ignore[arg-type]
    assert view == pickle.loads(pickle.dumps(view))
    exchange.change(A, "yes", "0.45", 1)
    wait_equal(feed, exchange, A)
    assert view.best_bid() == (D("0.40"), 10)  # a view stays what it was
    assert (book.version, book.seq) == (2, 2)


def test_one_sided_and_empty_books(exchange: Exchange, feed: KalshiFeed) -> None:
    exchange.add_market("KXONE", yes={"0.01": "0.01"})
    exchange.add_market("KXNONE")
    exchange.add_market("KXEDGE", yes={"0.9999": 1}, no={"0.0001": "1000000.01"})
    one, none, edge = (feed.wait_for_book(ticker, timeout=5) for ticker in ("KXONE", "KXNONE", "KXEDGE"))
    assert (one.best_bid(), one.best_ask(), one.best_bid("no"), one.best_ask("no")) == (
        (D("0.01"), D("0.01")), None, None, (D("0.99"), D("0.01")),
    )  # fmt: skip
    assert (one.mid(), one.spread(), one.microprice(), one.imbalance(5)) == (None, None, None, 1)
    assert (none.best_bid(), none.best_ask(), none.mid(), none.spread(), none.imbalance(5)) == (None,) * 5
    assert (none.bids(), none.asks("no"), none.is_live, none.depth_at("yes", "0.5")) == ((), (), True, 0)
    assert edge.best_ask() == (D("0.9999"), D("1000000.01"))
    assert edge.spread() == 0


def test_settled_market_is_empty_and_live(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    book = feed.wait_for_book(A, timeout=5)
    exchange.settle(A)
    wait_until(lambda: book.best_bid() is None)
    assert (book.is_live, sides(book)) == (True, {"yes": {}, "no": {}})
    wait_until(lambda: len(heard.of("orderbook_snapshot")) == 2)
    last = heard.of("orderbook_snapshot")[-1]
    assert (last.yes, last.no, last.market_ticker) == ((), (), A)
    assert heard.faults == []  # the market is known, unlike the one with an empty market_id


def test_book_handles_and_the_mapping(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    handle = feed.book(A)
    assert feed.book(A) is handle
    assert (handle.status, handle.version, handle.seq, handle.clock) == (BookStatus.PENDING, 0, None, None)
    assert (handle.best_bid(), handle.updated_at, handle.age(), handle.is_live) == (None, None, None, False)
    assert isinstance(feed.books, Mapping)
    assert (len(feed.books), A in feed.books, feed.books.get(A)) == (0, False, None)
    feed.start().subscribe("orderbook_delta", [B, A]).wait(5)
    wait_equal(feed, exchange, A, B)
    assert handle.is_live
    assert list(feed.books) == [B, A]
    assert dict(feed.books) == {A: handle, B: feed.book(B)}
    with pytest.raises(KeyError):
        feed.books["KXOTHER"]
    with pytest.raises(TypeError):
        feed.books["KXOTHER"] = handle  # type: ignore[index]
    with pytest.raises(AttributeError):
        handle.status = BookStatus.LIVE  # type: ignore[misc]


def test_stale_book_answers_and_can_be_insisted_upon(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(reconnect=ReconnectPolicy(initial_delay=30))
    book = feed.start().wait_for_book(A, timeout=5)
    exchange.reset()
    wait_until(lambda: book.status is BookStatus.STALE)
    assert sides(book) == exchange.book(A)
    assert book.view().best_bid() == (D("0.40"), 10)
    with pytest.raises(StaleBookError, match=f"{A} is STALE") as caught:
        book.view(require_live=True)
    assert (caught.value.market_ticker, caught.value.status) == (A, "STALE")
    assert feed.health().status == "down"


def test_version_only_grows_and_seq_starts_again(exchange: Exchange, feed: KalshiFeed) -> None:
    book = feed.wait_for_book(A, timeout=5)
    seen = [book.version]
    for _ in range(3):
        for _ in range(5):
            exchange.change(A, "yes", "0.4", 1)
        wait_equal(feed, exchange, A)
        seen.append(book.version)
        assert book.seq == 6
        exchange.reset()
        reconnects = feed.stats().reconnects
        wait_until(lambda: feed.stats().reconnects > reconnects)  # noqa: B023
        wait_equal(feed, exchange, A)
        assert book.seq == 1
        seen.append(book.version)
    assert seen == sorted(set(seen))


# -- messages ------------------------------------------------------------------------------------------------


def test_decode_is_public() -> None:
    frame = (
        '{"type":"orderbook_delta","sid":2,"seq":3,"msg":{"market_ticker":"M","price_dollars":"0.960","delta_fp":"-54.00",'
        '"side":"no","ts_ms":1785901540025,"ts":"2026-08-05T03:45:40.025Z"},"sending_ts_ms":1785901540026}'
    )
    for given in (frame, frame.encode()):
        delta: Any = decode(given)
        assert (delta.market_ticker, delta.price, delta.delta, delta.price_dollars, delta.delta_fp) == (
            "M", D("0.96"), D(-54), "0.960", "-54.00",
        )  # fmt: skip
        assert (delta.sid, delta.seq, delta.sending_ts_ms, delta.ts_ms) == (
            2,
            3,
            1785901540026,
            1785901540025,
        )
        assert delta.time == datetime(2026, 8, 5, 3, 45, 40, 25000, tzinfo=timezone.utc)
    flipped: Any = decode(frame, use_yes_price=True)
    assert flipped.price == D("0.04")
    old: Any = decode(
        '{"type":"orderbook_delta","sid":1,"seq":2,"msg":{"market_ticker":"M","price":96,"delta":5,"side":"yes"}}'
    )
    assert (old.price, old.delta, old.price_cents, old.delta_int) == (D("0.96"), 5, 96, 5)
    assert isinstance(decode('{"type":"news"}'), UnknownMessage)
    with pytest.raises(ProtocolError):
        decode("{")


def test_fills_and_the_other_private_channels(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    fills: list[Any] = []
    feed.on_fill(fills.append, market_tickers=A)
    feed.subscribe("fill", [A, B])
    feed.subscribe(["user_orders", "market_positions", "order_group_updates"])
    for subscription in feed.subscriptions:
        subscription.wait(5)
    exchange.fill(A, side="no", price="0.54", count="2.5", fee_cost="0.0123")
    exchange.fill(B)
    exchange.send("user_orders", {"order_id": "o-1", "ticker": A, "status": "resting"}, check=False)
    exchange.send("market_positions", {"market_ticker": B, "position_fp": "-3.00"}, check=False)
    exchange.send("order_group_updates", {"event_type": "created", "order_group_id": "g"}, check=False)
    wait_until(lambda: len(heard.messages) == 7)  # each fill has its position, too
    assert [fill.market_ticker for fill in heard.of("fill")] == [A, B]
    (fill,) = fills
    assert (fill.count, fill.fee, fill.yes_price, fill.outcome_side) == (
        D("2.5"),
        D("0.0123"),
        D("0.46"),
        "no",
    )
    assert isinstance(fill.time, datetime) and fill.time.tzinfo is not None
    assert heard.of("user_order")[0].msg["order_id"] == "o-1"
    assert heard.of("market_position")[-1].market_ticker == B
    assert heard.gaps == heard.faults == []
    exchange.reset()  # after a reconnect, the interval says what to read over REST
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_until(lambda: heard.states[-1].gap_ended is not None)


# -- metrics and health --------------------------------------------------------------------------------------


def test_stats(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    before = feed.stats()
    assert isinstance(before, FeedStats)
    assert (before.state, before.connected_since, before.messages_total, before.last_message_age) == (
        FeedState.IDLE,
        None,
        0,
        None,
    )
    assert (before.processing_latency_p50, before.exchange_latency_p99, before.clock_skew) == (
        None,
        None,
        None,
    )
    assert before.stalls == Stalls() == Stalls(count=0, longest=0.0)
    feed.on_delta(lambda delta: None)
    feed.start().subscribe("orderbook_delta", A).wait(5)
    wait_equal(feed, exchange, A)
    for _ in range(50):
        exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    wait_until(lambda: feed.stats().processing_latency_p50 is not None)
    stats = feed.stats()
    assert stats.state is FeedState.CONNECTED
    assert stats.connected_since is not None
    assert abs((stats.connected_since - datetime.now(timezone.utc)).total_seconds()) < 5
    assert dict(stats.messages) == {"subscribed": 1, "orderbook_snapshot": 1, "orderbook_delta": 50}
    assert stats.messages_total == 52
    assert set(stats.bytes) == set(stats.messages)
    assert stats.bytes["orderbook_delta"] > 50 * 100
    assert stats.rate_1s > 0 and stats.rate_10s > 0 and stats.rate_60s > 0
    assert (stats.reconnects, stats.gaps, stats.resyncs, stats.dropped, stats.callback_errors) == (
        0,
        0,
        0,
        0,
        0,
    )
    assert stats.queue_high_water >= 1
    assert 0 <= (stats.last_message_age or 0) < 5
    for latency in (
        "processing_latency_p50",
        "processing_latency_p99",
        "exchange_latency_p50",
        "exchange_latency_p99",
    ):
        assert 0 <= getattr(stats, latency) < 5
    assert stats.processing_latency_p50 <= stats.processing_latency_p99  # type: ignore[operator]
    assert stats.clock_skew is not None and abs(stats.clock_skew) < 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.gaps = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.stalls.count = 1  # type: ignore[misc]
    assert stats.stalls.to_dict() == {"count": stats.stalls.count, "longest": stats.stalls.longest}
    json.dumps(stats.to_dict())


def test_health(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(HurriedFeed, reconnect=ReconnectPolicy(initial_delay=30))
    assert feed.health() == Health("down", ("the feed is IDLE",))
    feed.start().wait_until_connected(5)
    wait_until(lambda: feed.health() == Health("ok"))
    exchange.ignore_commands(n=None)
    feed.subscribe("orderbook_delta", A)
    wait_until(lambda: feed.health().status == "degraded", what="a book without a snapshot in time")
    assert feed.health().reasons == (f"1 book is still without a snapshot: {A}",)
    exchange.reset()
    wait_until(lambda: feed.health().status == "down")
    assert "reset" in feed.health().reasons[0]
    feed.close()
    assert feed.health().status == "down"


class PatientFeed(KalshiFeed):
    _timing = Timing(snapshot=1.0)


def test_health_gives_a_book_its_time_on_an_old_connection_too(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(PatientFeed).start().wait_until_connected(5)
    since = time.monotonic()
    wait_until(lambda: time.monotonic() - since > 1.1)
    exchange.ignore_commands(n=None)
    began = time.monotonic()
    feed.subscribe("orderbook_delta", A)
    wait_until(lambda: feed.health().status == "degraded", what="a book without a snapshot in time")
    assert time.monotonic() - began >= 1.0


# -- liveness ------------------------------------------------------------------------------------------------


def test_pings_are_answered_and_sent(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.heartbeat = 0.05
    feed = make_feed(idle_timeout=0.6).start().wait_until_connected(5)
    wait_until(lambda: exchange.pongs >= 3)
    assert exchange.pings_received == 0  # the exchange's own pings are enough
    exchange.pings = False
    wait_until(lambda: exchange.pings_received >= 2)  # after half of idle_timeout in silence
    assert feed.stats().reconnects == 0
    assert feed.state is FeedState.CONNECTED


def test_silent_connection_is_replaced(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(idle_timeout=0.4)
    heard = Recorder(feed)
    book = feed.start().wait_for_book(A, timeout=5)
    exchange.freeze()
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    assert book.is_live
    wait_until(
        lambda: (
            [change.state for change in heard.states[-2:]] == [FeedState.RECONNECTING, FeedState.CONNECTED]
        )
    )
    lost = next(change for change in heard.states if change.state is FeedState.RECONNECTING)
    assert "no byte for 0.4 s" in lost.reason
    back = heard.states[-1]
    assert back.gap_started is not None and back.gap_ended is not None
    assert (
        back.gap_ended - back.gap_started
    ).total_seconds() >= 0.35  # from the last byte, not from the discovery


def test_T04_connect_timeout_is_for_the_whole_dial(make_feed: FeedMaker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        feed = make_feed(
            url=f"wss://127.0.0.1:{port}/",
            connect_timeout=0.2,
            reconnect=ReconnectPolicy(max_retries=1, initial_delay=0),
        ).start()
        began = time.monotonic()
        with pytest.raises(kalshi_feed.ConnectionFailed, match="no answer in the time allowed"):
            feed.wait_until_connected(10)
        assert 0.3 < time.monotonic() - began < 2
        feed.close()


@pytest.mark.parametrize("ending", ["reset", "disconnect", "close 1000", "close 1011", "close None"])
def test_every_lost_connection_is_replaced(ending: str, exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    endings: dict[str, Callable[[], None]] = {
        "reset": exchange.reset,
        "disconnect": exchange.disconnect,
        "close 1000": lambda: exchange.close_connections(1000, "bye"),
        "close 1011": lambda: exchange.close_connections(1011, "trouble"),
        "close None": lambda: exchange.close_connections(None),
    }
    endings[ending]()
    wait_until(lambda: feed.stats().reconnects == 1)
    wait_equal(feed, exchange, A)
    if ending == "close 1011":
        assert "1011: trouble" in heard.states[2].reason


# -- the clock -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [90.0, -90.0])
def test_H02_wrong_clock_costs_one_401(offset: float, exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.clock_offset = offset
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    assert [handshake.status for handshake in exchange.handshakes] == [401, 101]
    assert feed.stats().clock_skew == pytest.approx(-offset, abs=3)
    assert feed.health().status == "degraded"
    assert "clock" in feed.health().reasons[0]
    exchange.reset()
    wait_until(lambda: feed.stats().reconnects == 1)
    assert [handshake.status for handshake in exchange.handshakes] == [401, 101, 101]  # remembered
    wait_until(lambda: len(heard.states) == 4)
    assert heard.steps() == [
        FeedState.CONNECTING,
        FeedState.CONNECTED,
        FeedState.RECONNECTING,
        FeedState.CONNECTED,
    ]


def test_H02_wrong_key_and_wrong_clock_is_tried_once_more_only(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    exchange.clock_offset = 90.0
    with Exchange(key_type="ed25519") as stranger:
        feed = make_feed(credentials=Credentials.from_pem(exchange.api_key_id, stranger.private_key_pem))
    with pytest.raises(AuthenticationError):
        feed.start().wait_until_connected(30)
    assert [handshake.status for handshake in exchange.handshakes] == [401, 401]


# -- proxies -------------------------------------------------------------------------------------------------


def test_through_a_proxy(exchange: Exchange, make_feed: FeedMaker) -> None:
    tunnel = Tunnel()
    with RawServer(tunnel) as proxy:
        feed = make_feed(proxy=f"http://user:pass%20word@127.0.0.1:{proxy.port}").start()
        assert sides(feed.wait_for_book(A, timeout=5)) == exchange.book(A)
        feed.close()
    (request,) = tunnel.requests
    lines = request.decode().splitlines()
    assert lines[0] == f"CONNECT 127.0.0.1:{exchange.port} HTTP/1.1"
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'user:pass word').decode()}" in lines
    # the signed headers go through the tunnel, inside TLS
    assert b"KALSHI" not in (request + tunnel.seen).upper()


def test_P06_proxy_of_the_environment_is_not_for_loopback(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert make_feed().start().wait_for_book(A, timeout=5).is_live
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        make_feed(url=PRODUCTION_URL)
    make_feed(url=PRODUCTION_URL, proxy="")
