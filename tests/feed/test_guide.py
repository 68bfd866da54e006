"""The flows of the exchange's integration guide of 2025-10-11, each as a user sees it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trustme

from kalshi_feed import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    ConnectionLost,
    Credentials,
    FeedState,
    HandshakeRejected,
    KalshiFeed,
    ReconnectPolicy,
    SubscriptionError,
    SubscriptionState,
    TLSError,
)
from kalshi_feed.simulator import Exchange
from tests.connection.raw_server import Peer, RawServer
from tests.feed.support import A, B, FeedMaker, HurriedFeed, Recorder, sides, wait_equal
from tests.support import wait_until

GUIDE = ReconnectPolicy(max_retries=5, initial_delay=1, max_delay=60, jitter=False)


# -- connecting ----------------------------------------------------------------------------------------------


def test_handshake_is_signed_and_without_origin(exchange: Exchange, make_feed: FeedMaker) -> None:
    make_feed().start().wait_until_connected(5)
    (handshake,) = exchange.handshakes
    assert handshake.status == 101
    assert handshake.path == "/trade-api/ws/v2"
    assert handshake.api_key_id == exchange.api_key_id
    assert abs(int(handshake.timestamp_ms) - time.time() * 1000) < 5000
    assert "ORIGIN" not in handshake.headers  # Known Issue #1: it caused the 403


def test_environment_is_enough(exchange: Exchange, tmp_path: Path) -> None:
    key, _ = exchange.write_credentials(tmp_path)
    environ = {"KALSHI_API_KEY_ID": exchange.api_key_id, "KALSHI_PRIVATE_KEY_PATH": str(key)}
    with KalshiFeed.from_env(environ=environ, url=exchange.url, ssl_context=exchange.ssl_context) as feed:
        assert feed.wait_for_book(A, timeout=5).best_bid() == (Decimal("0.4"), Decimal(10))


@pytest.mark.parametrize(("status", "advice"), [(401, "key id"), (403, "Origin")])
@pytest.mark.parametrize(
    "wait", ["connected", "book", "message", "forever", "stream", "subscription", "list"]
)
def test_H01_H03_refused_handshake_ends_every_wait_at_once(
    wait: str, status: int, advice: str, exchange: Exchange, make_feed: FeedMaker
) -> None:
    exchange.reject_next(status=status, body=b"Forbidden\n")
    feed = make_feed()
    waits: dict[str, Callable[[], object]] = {
        "connected": lambda: feed.start().wait_until_connected(timeout=30),
        "book": lambda: feed.start().wait_for_book(A, timeout=30),
        "message": lambda: feed.start().wait_for("trade", timeout=30),
        "forever": feed.run_forever,
        "stream": lambda: next(feed.start().messages("trade")),
        "subscription": lambda: feed.start().subscribe("orderbook_delta", A).wait(30),
        "list": lambda: feed.start().list_subscriptions(30),
    }
    began = time.monotonic()
    with pytest.raises(AuthenticationError, match=advice) as caught:
        waits[wait]()
    assert time.monotonic() - began < 5
    assert caught.value.status == status
    assert "Forbidden" in caught.value.reason
    assert feed.state is FeedState.FAILED
    for later in (
        feed.start,
        lambda: feed.subscribe("trade"),
        lambda: feed.book(A),
        lambda: feed.wait_for_book(A, 1),
    ):
        with pytest.raises(AuthenticationError):
            later()
    assert len(exchange.handshakes) == 1  # a refused key is not retried
    health = feed.health()
    assert health.status == "down"
    assert str(status) in health.reasons[0]


def test_wrong_key_is_refused(exchange: Exchange, make_feed: FeedMaker) -> None:
    with Exchange(key_type="ed25519") as stranger:
        feed = make_feed(credentials=stranger.credentials)
    with pytest.raises(AuthenticationError) as caught:
        feed.start().wait_until_connected(30)
    assert caught.value.status == 401
    assert "NOT_FOUND" in caught.value.reason


def test_wrong_private_key_is_refused(exchange: Exchange, make_feed: FeedMaker) -> None:
    with Exchange(key_type="ed25519") as stranger:
        feed = make_feed(credentials=Credentials.from_pem(exchange.api_key_id, stranger.private_key_pem))
    with pytest.raises(AuthenticationError, match="does not belong to that key id"):
        feed.start().wait_until_connected(30)


def test_close_and_start_after_a_fatal_error(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.reject_next(status=401)
    feed = make_feed().start()
    with pytest.raises(AuthenticationError):
        feed.wait_for_book(A, timeout=30)
    feed.close()  # at once: the reader thread may still be ending
    assert feed.state is FeedState.CLOSED
    feed.start()
    assert feed.wait_for_book(A, timeout=5).is_live


@pytest.mark.parametrize("status", [400, 404])
def test_H03_other_refusals_are_fatal_too(status: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.reject_next(status=status)
    with pytest.raises(HandshakeRejected) as caught:
        make_feed().start().wait_until_connected(30)
    assert caught.value.status == status
    assert len(exchange.handshakes) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_H05_temporary_refusals_are_retried(status: int, exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.reject_next(2, status=status)
    feed = make_feed()
    heard = Recorder(feed)
    feed.start().wait_until_connected(5)
    wait_until(lambda: len(heard.states) == 4)
    assert [handshake.status for handshake in exchange.handshakes] == [status, status, 101]
    assert [change.attempt for change in heard.states] == [0, 1, 2, 0]
    assert str(status) in heard.states[1].reason


# -- TLS -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["certifi", "another CA"])
def test_T03_unknown_ca_is_reported_at_once(context: str, exchange: Exchange, make_feed: FeedMaker) -> None:
    with Exchange(key_type="ed25519") as stranger:
        feed = make_feed(ssl_context=None if context == "certifi" else stranger.ssl_context)
    began = time.monotonic()
    with pytest.raises(TLSError, match="issuer is not known") as caught:
        feed.start().wait_until_connected(30)
    assert time.monotonic() - began < 5
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert caught.value.__cause__.__traceback__ is None
    assert exchange.handshakes == []  # nothing signed was sent
    assert feed.state is FeedState.FAILED


def test_T02_wrong_host_name_is_reported_at_once(make_feed: FeedMaker) -> None:
    ca = trustme.CA()
    server_context, client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    ca.issue_cert("somebody-else.example").configure_cert(server_context)
    ca.configure_trust(client_context)
    with RawServer(Peer.handshake, server_context) as server:
        feed = make_feed(url=f"wss://127.0.0.1:{server.port}/trade-api/ws/v2", ssl_context=client_context)
        with pytest.raises(TLSError, match=r"was not accepted for the host 127\.0\.0\.1"):
            feed.start().wait_until_connected(30)
        assert server.connections == 1


def test_T10_verification_cannot_be_switched_off_for_the_exchange() -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    with Exchange(key_type="ed25519") as exchange, pytest.raises(ConfigurationError, match="check_hostname"):
        KalshiFeed(exchange.credentials, ssl_context=context)


# -- subscribing ---------------------------------------------------------------------------------------------


def test_pattern_1_specific_markets(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    feed.subscribe(["orderbook_delta"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.change(A, "yes", "0.4", -3)
    exchange.change(B, "no", "0.8", "1.5")
    wait_until(lambda: len(heard.of("orderbook_delta")) == 2)
    wait_equal(feed, exchange, A, B)
    first, second = heard.of("orderbook_delta")
    assert (first.market_ticker, first.side, first.price, first.delta) == (
        A,
        "yes",
        Decimal("0.4"),
        Decimal(-3),
    )
    assert (second.market_ticker, second.side, second.price, second.delta) == (
        B,
        "no",
        Decimal("0.8"),
        Decimal("1.5"),
    )
    (command,) = [c for c in exchange.commands if c["cmd"] == "subscribe"]
    assert command["params"] == {
        "channels": ["orderbook_delta"],
        "market_tickers": [A, B],
        "use_yes_price": True,
    }


def test_pattern_2_all_markets(exchange: Exchange, feed: KalshiFeed) -> None:
    heard = Recorder(feed)
    subscription = feed.subscribe(["ticker"]).wait(5)
    assert subscription.market_tickers == ()
    for ticker in (A, B, A):
        exchange.ticker(ticker)
    wait_until(lambda: len(heard.of("ticker")) == 3)
    assert [t.market_ticker for t in heard.of("ticker")] == [A, B, A]
    assert heard.of("ticker")[0].yes_bid == Decimal("0.4")
    assert exchange.subscriptions[0]["market_tickers"] is None


def test_params_required_is_refused_before_it_is_sent(exchange: Exchange, feed: KalshiFeed) -> None:
    with pytest.raises(ConfigurationError, match="Params required") as caught:
        feed.subscribe("orderbook_delta")
    assert "subscribe('orderbook_delta', ['MARKET-TICKER', …])" in str(caught.value)
    assert feed.subscriptions == ()
    feed.list_subscriptions(5)
    assert [c["cmd"] for c in exchange.commands] == ["list_subscriptions"]


@pytest.mark.parametrize(
    ("channel", "instead"),
    [
        (f"ticker:{A}", f"subscribe('ticker', ['{A}'])"),
        (f"orderbook:{A}", f"subscribe('orderbook_delta', ['{A}'])"),
        ("orderbook_snapshot", "write 'orderbook_delta'"),
        ("orderbok_delta", "did you mean 'orderbook_delta'"),
        ("fills", "did you mean 'fill'"),
        ("ticker_v2", "write 'ticker'"),
        ("user_order", "its channel is 'user_orders'"),
    ],
)
def test_unknown_channel_name_is_refused_before_it_is_sent(
    channel: str, instead: str, exchange: Exchange, feed: KalshiFeed
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        feed.subscribe([channel], [A])
    assert instead in str(caught.value)
    feed.list_subscriptions(5)
    assert [c["cmd"] for c in exchange.commands] == ["list_subscriptions"]


SERVER_ERRORS = [
    (2, "Params required"),
    (8, "Unknown channel name"),
    (9, "Authentication required"),
    (11, "Invalid parameter"),
    (14, "Market Ticker required"),
    (16, "Market not found"),
    (99, "An error of the future"),
]


@pytest.mark.parametrize(("code", "text"), SERVER_ERRORS)
def test_S23_server_errors_reach_the_subscription(
    code: int, text: str, exchange: Exchange, feed: KalshiFeed
) -> None:
    heard = Recorder(feed)
    exchange.refuse_commands(code, text, cmd="subscribe")
    subscription = feed.subscribe("orderbook_delta", [A])
    with pytest.raises(SubscriptionError, match=text) as caught:
        subscription.wait(30)
    error = caught.value
    assert (error.code, error.message, error.channel, error.market_tickers) == (
        code,
        text,
        "orderbook_delta",
        (A,),
    )
    assert subscription.state is SubscriptionState.FAILED
    assert subscription.error is not None and subscription.error.code == code
    wait_until(lambda: heard.kinds() == ["exchange_error"])
    assert text in heard.faults[0].message
    assert heard.faults[0].context["code"] == code
    assert A not in feed.books
    # the feed is unharmed
    assert feed.wait_for_book(B, timeout=5).is_live


def test_unknown_channel_goes_through_when_asked_to(exchange: Exchange, feed: KalshiFeed) -> None:
    subscription = feed.subscribe("weather", [A], allow_unknown=True)
    with pytest.raises(SubscriptionError, match="Unknown channel name") as caught:
        subscription.wait(30)
    assert caught.value.code == 8
    assert exchange.commands[-1]["params"]["channels"] == ["weather"]


# -- reconnecting --------------------------------------------------------------------------------------------


def test_the_guides_policy_counts_from_1_s_to_60_s() -> None:
    assert [GUIDE.delay(retry, 0.0) for retry in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    with_jitter = ReconnectPolicy(max_retries=5, initial_delay=1, max_delay=60)
    assert [with_jitter.delay(3, chance) for chance in (0.0, 0.5, 1.0)] == [2, 3, 4]


def test_first_delay_of_the_guides_policy_is_reported_and_close_ends_it(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed = make_feed(reconnect=GUIDE)
    heard = Recorder(feed)
    feed.start().wait_until_connected(5)
    exchange.reset()
    wait_until(lambda: FeedState.RECONNECTING in heard.steps())
    assert (heard.states[-1].attempt, heard.states[-1].delay) == (1, 1.0)
    began = time.monotonic()
    feed.close()
    assert time.monotonic() - began < 0.9


def test_five_tries_then_the_error(exchange: Exchange, make_feed: FeedMaker) -> None:
    scale = 0.02
    feed = make_feed(
        reconnect=ReconnectPolicy(max_retries=5, initial_delay=1 * scale, max_delay=12 * scale, jitter=False)
    )
    heard = Recorder(feed)
    feed.start().wait_for_book(A, timeout=5)
    exchange.close()
    began = time.monotonic()
    with pytest.raises((ConnectionLost, ConnectionFailed), match="gave up after 5 retries"):
        feed.run_forever()
    assert time.monotonic() - began >= (1 + 2 + 4 + 8 + 12) * scale
    wait_until(lambda: heard.steps()[-1] is FeedState.FAILED)
    retries = heard.states[2:-1]
    assert [change.state for change in retries] == [FeedState.RECONNECTING] * 5
    assert [change.attempt for change in retries] == [1, 2, 3, 4, 5]
    assert [change.delay for change in retries] == pytest.approx(
        [1 * scale, 2 * scale, 4 * scale, 8 * scale, 12 * scale]
    )


def test_reconnects_by_itself_and_every_book_is_right_again(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    heard = Recorder(feed)
    subscription = feed.start().subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    version = feed.book(A).version
    exchange.reset()
    wait_until(lambda: feed.stats().reconnects == 1)
    exchange.change(A, "yes", "0.41", 5)
    wait_equal(feed, exchange, A, B)
    subscription.wait(5)
    assert feed.book(A).version > version
    wait_until(lambda: len(heard.steps()) >= 4)  # the worker may be behind the books
    assert heard.steps() == [
        FeedState.CONNECTING,
        FeedState.CONNECTED,
        FeedState.RECONNECTING,
        FeedState.CONNECTED,
    ]
    lost, back = heard.states[2:]
    assert lost.gap_started is not None and lost.gap_ended is None
    assert back.gap_started == lost.gap_started
    assert back.gap_ended is not None and back.gap_ended >= back.gap_started
    first, second = exchange.handshakes
    assert first.signature_sha256 != second.signature_sha256  # signed again


def test_a_healthy_session_resets_the_count(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed(
        HurriedFeed, reconnect=ReconnectPolicy(max_retries=2, initial_delay=0.01, max_delay=0.01)
    )
    heard = Recorder(feed)
    feed.start()
    for _ in range(4):  # twice as many as the policy allows without a healthy session in between
        feed.wait_for_book(A, timeout=5)
        connected = feed.stats().connected_since
        assert connected is not None
        wait_until(lambda: time.time() - connected.timestamp() > 0.25)  # noqa: B023
        exchange.reset()
        wait_until(lambda: feed.book(A).status.value == "STALE" or feed.stats().connected_since != connected)  # noqa: B023
    feed.wait_for_book(A, timeout=5)
    assert [c.attempt for c in heard.states if c.state is FeedState.RECONNECTING] == [1, 1, 1, 1]


# -- performance advice --------------------------------------------------------------------------------------


def test_heavy_work_never_makes_a_book_late(exchange: Exchange, feed: KalshiFeed) -> None:
    begun, go_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    @feed.on_delta
    def heavy(delta: Any) -> None:
        begun.set()
        go_on.wait(10)
        seen.append((delta.delta, feed.book(A).version))

    feed.wait_for_book(A, timeout=5)
    for n in range(1, 51):
        exchange.change(A, "yes", "0.30", n)
    assert begun.wait(5)
    wait_equal(feed, exchange, A)  # while the callback is still busy with the first of them
    newest = feed.book(A).version
    go_on.set()
    wait_until(lambda: len(seen) == 50)
    assert [delta for delta, _ in seen] == list(range(1, 51))
    assert all(version == newest for _, version in seen)  # a callback finds the book at its message or newer


def test_batches_with_a_list_and_a_stream(exchange: Exchange, feed: KalshiFeed) -> None:
    """The guide's write_queue: ten at a time from the user's own thread, nothing lost."""
    batches: list[list[Any]] = []
    stream = feed.messages("orderbook_delta", market_tickers=[A])

    def write() -> None:
        queue = []
        for delta in stream:
            queue.append(delta.delta)
            if len(queue) >= 10:
                batches.append(queue)
                queue = []
        batches.append(queue)

    writer = threading.Thread(target=write)
    writer.start()
    feed.wait_for_book(A, timeout=5)
    for n in range(1, 36):
        exchange.change(A, "no", "0.01", n)
    wait_equal(feed, exchange, A)
    feed.close()
    writer.join(5)
    assert not writer.is_alive()
    assert [len(batch) for batch in batches] == [10, 10, 10, 5]
    assert [delta for batch in batches for delta in batch] == list(range(1, 36))


def test_market_filter_of_callbacks(exchange: Exchange, feed: KalshiFeed) -> None:
    """The guide's target_ticker test, done by the feed."""
    only_a: list[Any] = []
    feed.on_message(only_a.append, market_tickers=A)
    feed.subscribe(["orderbook_delta", "trade"], [A, B]).wait(5)
    wait_equal(feed, exchange, A, B)
    exchange.trade(B, "yes", "0.2", 1)
    exchange.trade(A, "no", "0.6", 2)
    wait_until(lambda: len(only_a) == 2)
    snapshot, trade = only_a
    assert (snapshot.type, snapshot.market_ticker) == ("orderbook_snapshot", A)
    assert (trade.market_ticker, trade.yes_price, trade.no_price, trade.count) == (
        A,
        Decimal("0.4"),
        Decimal("0.6"),
        2,
    )
    assert sides(feed.book(B)) == exchange.book(B)
