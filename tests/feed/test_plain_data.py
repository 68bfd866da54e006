"""Plain data from a running feed: events, metrics, books; what cannot be copied; type names; url, error."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import flask
import pytest

from kalshi_feed import (
    AuthenticationError,
    ConfigurationError,
    FeedFault,
    FeedState,
    FeedStats,
    Gap,
    Health,
    KalshiFeed,
    Lagged,
    ProtocolError,
    Stalls,
    StateChange,
    WaitTimeout,
)
from kalshi_feed.simulator import Exchange
from kalshi_feed.sinks import Batcher, SQLiteSink
from tests.feed.support import A, FeedMaker
from tests.support import wait_until

AT = datetime(2026, 10, 26, 12, 30, tzinfo=timezone.utc)
EVENTS = (
    StateChange(FeedState.CONNECTED, FeedState.RECONNECTING, "reset", 1, 0.5, AT),
    Gap("orderbook_delta", 1, 5, 7, ("A", "B")),
    Lagged(3, ("A",), AT),
    FeedFault("protocol", "bad frame", ProtocolError("bad", "{"), {"frame": "{", "count": 3}),
)
FIGURES = (
    FeedStats(
        FeedState.CONNECTED,
        AT,
        2,
        {"trade": 3},
        {"trade": 400},
        clock_skew=float("nan"),
        stalls=Stalls(2, 6.25),
    ),
    Health("degraded", ("1 book is STALE", "nothing received for 20 s")),
)


@pytest.mark.parametrize("thing", (*EVENTS, *FIGURES), ids=lambda thing: type(thing).__name__)
def test_events_and_metrics_are_plain(thing: Any) -> None:
    told = thing.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told == thing.to_dict(float)
    with flask.Flask("x").app_context():
        assert flask.jsonify(told).get_json() == told


@pytest.mark.filterwarnings("ignore")  # from pandas, about its own future
def test_pandas_takes_them() -> None:
    pandas = pytest.importorskip("pandas")
    for thing in (*EVENTS, *FIGURES):
        assert list(pandas.DataFrame([thing.to_dict(float)] * 2).columns) == list(thing.to_dict())


def test_their_keys_and_shapes() -> None:
    change, gap, lagged, fault = (event.to_dict() for event in EVENTS)
    assert (change["previous"], change["state"], change["gap_started"], change["gap_ended"]) == (
        "CONNECTED", "RECONNECTING", "2026-10-26T12:30:00+00:00", None,
    )  # fmt: skip
    assert (gap["market_tickers"], gap["expected"], gap["reason"]) == (["A", "B"], 5, "sequence gap")
    assert lagged == {"dropped": 3, "market_tickers": ["A"], "at": "2026-10-26T12:30:00+00:00"}
    assert fault["error"] == str(EVENTS[3].error) and fault["context"] == {"frame": "{", "count": 3}  # type: ignore[attr-defined]
    stats, health = (figures.to_dict() for figures in FIGURES)
    assert (stats["state"], stats["messages"], stats["messages_total"], stats["clock_skew"]) == (
        "CONNECTED",
        {"trade": 3},
        3,
        None,
    )
    assert stats["stalls"] == {"count": 2, "longest": 6.25}
    assert health == {
        "status": "degraded",
        "reasons": ["1 book is STALE", "nothing received for 20 s"],
        "notes": [],
    }


def test_views_have_pairs(exchange: Exchange, make_feed: FeedMaker) -> None:
    with make_feed() as feed:
        book = feed.wait_for_book(A, timeout=5)
        told = book.to_dict()
        assert told["yes"][0] == ["0.4000", "10.00"] and told.keys() == book.view().to_dict().keys()
        assert book.to_dict(float)["yes"][0] == [0.4, 10.0] and book.view().to_dict(Decimal)["yes"][0] == [
            Decimal("0.4"),
            10,
        ]
        assert book.view().best_bid().to_dict() == {"price": "0.4000", "quantity": "10.00"}  # type: ignore[union-attr]
        with pytest.raises(ConfigurationError, match="number must be a function"):
            book.to_dict("float")  # type: ignore[arg-type]
        with flask.Flask("x").app_context():
            assert (
                flask.jsonify(feed.stats().to_dict()).status_code
                == flask.jsonify(feed.health().to_dict()).status_code
                == 200
            )


def test_reprs_are_one_readable_line(exchange: Exchange, make_feed: FeedMaker) -> None:
    assert (
        repr(FIGURES[0])
        == "FeedStats(CONNECTED since 2026-10-26T12:30:00+00:00, messages 3, bytes 400, reconnects 2, "
        "clock_skew nan, stalls 2 (longest 6.25 s))"
    )
    assert (
        repr(FIGURES[1]) == "Health(degraded: 1 book is STALE; nothing received for 20 s)"
        and repr(Health("ok")) == "Health(ok)"
    )
    with make_feed() as feed:
        stream, some = feed.messages("orderbook_delta"), feed.messages("trade", [A])
        subscription = feed.subscribe(["orderbook_delta"], [A]).wait(5)
        assert repr(some) == "<MessageStream trade of 1 market, 0 waiting, 0 dropped>"
        assert repr(subscription) == str(subscription) == "<Subscription orderbook_delta, 1 market, ACTIVE>"
        feed.wait_for_book(A, timeout=5)
        exchange.change(A, "no", "0.54", -7)
        wait_until(lambda: repr(stream) == "<MessageStream orderbook_delta, 1 waiting, 0 dropped>")
        assert "messages 0" not in repr(feed.stats()) and len(repr(feed.stats())) < 400
        stream.close()
        assert repr(stream).endswith(", ended>")


def test_live_handles_refuse_to_be_copied(exchange: Exchange, make_feed: FeedMaker, tmp_path: Path) -> None:
    with make_feed() as feed:
        subscription = feed.subscribe("orderbook_delta", A)
        handles: dict[str, Any] = {
            r"view\(\)": feed.book(A),
            r"book\.view\(\)": feed.books,
            r"subscribe\(\)": subscription,
            r"to_dict\(\)": feed.messages("trade"),
            r"replay\(\)": feed.record(tmp_path / "x.ndjson"),
            "make one where it is needed": Batcher(SQLiteSink(tmp_path / "x.db")),
        }
        attempts: tuple[Callable[[Any], Any], ...] = (pickle.dumps, copy.copy, copy.deepcopy)
        for advice, handle in handles.items():
            for attempt in attempts:
                with pytest.raises(TypeError, match=f"cannot be pickled or copied.*{advice}"):
                    attempt(handle)
        handles["make one where it is needed"].close()


def test_faults_are_hashable_and_their_copies_equal() -> None:
    fault = EVENTS[3]
    for twin in (copy.copy(fault), copy.deepcopy(fault), pickle.loads(pickle.dumps(fault))):
        assert twin == fault and hash(twin) == hash(fault) and {twin, fault} == {fault}
    others = [
        FeedFault("protocol", "bad frame", ProtocolError("worse", "{"), {"frame": "{", "count": 3}),
        FeedFault("protocol", "bad frame", ValueError("bad"), {"frame": "{", "count": 3}),
        FeedFault("protocol", "bad frame", ProtocolError("bad", "{"), {"frame": "{"}),
        FeedFault("protocol", "bad frame", None, {"frame": "{", "count": 3}),
        FeedFault("callback", "bad frame", ProtocolError("bad", "{"), {"frame": "{", "count": 3}),
    ]
    assert fault not in others and fault != "bad frame" and len({fault, *others}) == 6


# -- names of message types ----------------------------------------------------------------------------------


def asks(feed: KalshiFeed) -> list[Callable[..., object]]:
    return [
        lambda name, **more: feed.on(name, print, **more),
        lambda name, **more: feed.on(name, **more),
        lambda name, **more: feed.messages(name, **more),
        lambda name, **more: _waited(feed, name, **more),
    ]


def _waited(feed: KalshiFeed, name: str, **more: Any) -> None:
    try:
        feed.wait_for(name, timeout=0, **more)
    except WaitTimeout:
        pass


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("trades", "'trade'"),
        ("Trade", "'trade'"),
        ("orderbook-delta", "'orderbook_delta'"),
        ("orderbook_deltas", "'orderbook_delta'"),
        ("orderbook", "'orderbook_delta'"),
        ("fills", "'fill'"),
        ("ticker_v3", "'ticker_v2'"),
        ("market_lifecycle", "'market_lifecycle_v2'"),
        ("user_orders", "it is a channel; write the type of its messages, 'user_order'"),
        ("market_positions", "it is a channel; write the type of its messages, 'market_position'"),
        ("market-positions", "'market_position'"),
        ("communications", "'rfq_created' or 'rfq_deleted' or"),
    ],
)
def test_K12_a_name_close_to_a_type_and_a_channels_name_are_refused(
    name: str, right: str, make_feed: FeedMaker
) -> None:
    feed = make_feed()
    for ask in asks(feed):
        with pytest.raises(ConfigurationError, match=f"unknown message type '{name}'") as refused:
            ask(name)
        assert right in str(refused.value) and "allow_unknown=True" in str(refused.value)
        ask(name, allow_unknown=True)


def test_K12_any_other_name_is_accepted_with_one_warning(
    make_feed: FeedMaker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "kalshi_feed")
    feed = make_feed()
    for ask in asks(feed):
        ask("silent", allow_unknown=True)
        ask("trade")
        ask("error")
    assert not caplog.records
    for ask in asks(feed):
        ask("brand_new")
        ask("another")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "this version does not know the message type 'brand_new'",
        "this version does not know the message type 'another'",
    ]


@pytest.mark.parametrize("wrong", ["", None, 5, b"trade"])
def test_K12_what_is_not_a_name_is_refused(wrong: Any, make_feed: FeedMaker) -> None:
    feed = make_feed()
    for ask in asks(feed):
        with pytest.raises(ConfigurationError):
            ask(wrong)


# -- url and error -------------------------------------------------------------------------------------------


def test_url_and_error(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    assert feed.url in repr(feed) and feed.url.startswith("wss://127.0.0.1:") and feed.error is None
    exchange.reject_next(status=401)
    with pytest.raises(AuthenticationError) as raised:
        feed.start().wait_until_connected(5)
    assert isinstance(feed.error, AuthenticationError) and str(feed.error) == str(raised.value)
    assert feed.error is not feed.error  # each copy has its own traceback
    feed.close()
    assert feed.error is None


def test_url_has_no_secrets(make_feed: FeedMaker) -> None:
    assert "s3cret" not in make_feed(url="wss://example.com/ws?token=s3cret").url


def test_url_of_a_replay(tmp_path: Path) -> None:
    (tmp_path / "short.ndjson").write_text('{"type":"trade","sid":1,"seq":1,"msg":{"market_ticker":"A"}}\n')
    with KalshiFeed.replay(tmp_path / "short.ndjson") as feed:
        assert (feed.url, feed.error) == ("short.ndjson", None)
