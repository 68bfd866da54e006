"""S39 in a recording: a market that was asked for again replays the same, and older recordings as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedClosedError, KalshiFeed, UnknownMarketError
from kalshi_feed.session.timing import Timing
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, Recorder, wait_equal
from tests.support import wait_until

TYPO = "KXTYPO-26-A"


class Curious(KalshiFeed):
    """Asks again soon."""

    _timing = Timing(ask_unknown=0.1, ask_unknown_max=0.2, ask_unknown_pace=0.01)


class Incurious(KalshiFeed):
    """Never asks again, like earlier versions."""

    _timing = Timing(ask_unknown=1e6, ask_unknown_max=1e6)


def live(exchange: Exchange, kind: type[KalshiFeed]) -> KalshiFeed:
    return kind(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)


def reported(feed: KalshiFeed) -> Callable[[], list[Any]]:
    heard = Recorder(feed)
    return lambda: (
        [(m.type, m.market_ticker, getattr(m, "seq", None)) for m in heard.messages] + heard.kinds()
    )


def replayed(path: Path, kind: type[KalshiFeed] = Curious) -> tuple[KalshiFeed, list[Any]]:
    feed = kind.replay(path)
    found = reported(feed)
    feed.run_forever()
    return feed, found()


@pytest.mark.parametrize("begun", ["before", "while"])
def test_S39_what_was_asked_again_replays_the_same(begun: str, tmp_path: Path) -> None:
    path = tmp_path / "one.ndjson"
    with Exchange() as exchange, live(exchange, Curious) as feed:
        exchange.add_market(A, yes={"0.40": 10})
        if begun == "before":
            recording, found = feed.record(path), reported(feed)
        feed.subscribe("orderbook_delta", [A, TYPO])
        feed.wait_for_book(A, timeout=5)
        wait_until(lambda: feed.book(TYPO).status is BookStatus.UNKNOWN)
        if begun == "while":
            recording, found = feed.record(path), reported(feed)
        with pytest.raises(UnknownMarketError):
            feed.wait_for_book(TYPO, timeout=5)
        wait_until(lambda: len(exchange.commands) > 6)
        exchange.add_market(TYPO, yes={"0.30": 3})
        feed.wait_for_book(TYPO, timeout=5)
        exchange.change(TYPO, "no", "0.30", 4)
        wait_equal(feed, exchange, TYPO)
        truth = feed.book(TYPO).view().bids("yes"), feed.book(TYPO).view().bids("no")
        recording.close()
        wait_until(lambda: found() != [])
        feed.close()
        lived = found()
    again, heard = replayed(path)
    if begun == "while":  # the replay begins with the checkpoint
        lived = lived[-len(heard) :]
    assert len(heard) >= 5 and heard == lived
    book = again.book(TYPO)
    assert (book.status, book.bids("yes"), book.bids("no")) == (BookStatus.LIVE, *truth)


def test_S39_a_recording_from_before_is_not_disturbed(tmp_path: Path) -> None:
    path, old = tmp_path / "new.ndjson", tmp_path / "old.ndjson"
    with Exchange() as exchange, live(exchange, Incurious) as feed:
        exchange.add_market(A, yes={"0.40": 10})
        exchange.add_market(B, yes={"0.10": 1})
        exchange.quirks.unknown_markets_flow = True
        recording, found = feed.record(path), reported(feed)
        subscription = feed.subscribe("orderbook_delta", [A, TYPO])
        feed.wait_for_book(A, timeout=5)
        wait_until(lambda: feed.book(TYPO).status is BookStatus.UNKNOWN)
        for _ in range(30):
            exchange.change(A, "yes", "0.01", 1)
            wait_equal(feed, exchange, A)
            feed.list_subscriptions(5)
        subscription.add_markets(B).wait(5)
        feed.wait_for_book(B, timeout=5)
        recording.close()
        feed.close()
        lived = found()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "session" in line:
            del line["session"]["unknown_markets"]
    # stretched by seconds, so that a session that asks again would do so; lines of one turn share a time
    times = {ns: n for n, ns in enumerate(sorted({line["recv_ns"] for line in lines if "recv_ns" in line}))}
    shifted = [
        line
        | ({"recv_ns": line["recv_ns"] + times[line["recv_ns"]] * 50_000_000} if "recv_ns" in line else {})
        for line in lines
    ]
    old.write_text("".join(json.dumps(line) + "\n" for line in shifted))
    again, heard = replayed(old)
    assert heard == lived and again.stats().faults == {"unknown_market": 1}
    assert {ticker: book.status.value for ticker, book in again.books.items()} == {
        A: "LIVE",
        B: "LIVE",
        TYPO: "UNKNOWN",
    }


def test_S39_in_a_replay_a_wait_asks_no_one(tmp_path: Path) -> None:
    path = tmp_path / "one.ndjson"
    with Exchange() as exchange, live(exchange, Incurious) as feed:
        exchange.add_market(A, yes={"0.40": 10})
        feed.subscribe("orderbook_delta", [A, TYPO])
        wait_until(lambda: feed.book(TYPO).status is BookStatus.UNKNOWN)
        feed.record(path).close()
    again = KalshiFeed.replay(path)
    again.run_forever()
    with pytest.raises(UnknownMarketError):
        again.wait_for_book(TYPO, timeout=5)
    with pytest.raises(FeedClosedError):
        again.wait_for_book("KXNEVER", timeout=5)
    with pytest.raises(FeedClosedError):
        again.book("KXNEVER").wait_for_update(5)
