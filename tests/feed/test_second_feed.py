"""A second feed with the key and url of one that is running: the log says so, once."""

from __future__ import annotations

import gc
import logging
import os
import weakref
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import FeedState, KalshiFeed
from kalshi_feed.engine import second_feed
from kalshi_feed.simulator import Exchange
from tests.support import end_if_it_hangs, wait_until

from .support import A, FeedMaker


def about_second(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING and "a second feed" in record.getMessage()
    ]


def test_a_cell_that_runs_three_times(
    exchange: Exchange, make_feed: FeedMaker, caplog: pytest.LogCaptureFixture
) -> None:
    first = make_feed().start()
    first.start()  # it runs already
    assert about_second(caplog) == []
    make_feed().start()
    make_feed().start()
    (text,) = about_second(caplog)
    assert first.url in text and "close() the first feed" in text and "Out[...]" in text
    assert exchange.api_key_id not in caplog.text and exchange.api_key_id[:4] in text


@pytest.mark.filterwarnings("ignore:a KalshiFeed for .* was dropped:ResourceWarning")
def test_a_feed_that_was_closed_or_dropped_is_none(
    make_feed: FeedMaker, exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    first = make_feed().start()
    first.close()
    second = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context).start()
    first.close()
    engine = weakref.ref(second._engine)
    second.wait_until_connected(5)
    del second
    gc.collect()
    wait_until(lambda: gc.collect() >= 0 and engine() is None, what="the list to let go of the dropped feed")
    first.start()
    first.wait_for_book(A, 5)
    assert about_second(caplog) == []


def test_a_feed_that_failed_is_none(
    make_feed: FeedMaker, exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    with Exchange(key_type="ed25519") as other:
        exchange.reject_next(status=401)
        first = make_feed(credentials=exchange.credentials).start()
        wait_until(lambda: first.state is FeedState.FAILED, what="the refusal")
        make_feed().start()
        assert about_second(caplog) == []
        # another exchange, then another key
        make_feed(url=other.url, ssl_context=other.ssl_context).start()
        make_feed(credentials=other.credentials).start()
        assert about_second(caplog) == []
        make_feed().start()
        assert len(about_second(caplog)) == 1


def test_a_replay_is_none(
    make_feed: FeedMaker, exchange: Exchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with make_feed() as feed:
        recording = feed.record(tmp_path / "a.ndjson")
        feed.wait_for_book(A, 5)
        recording.close()
        for _ in range(2):
            with KalshiFeed.replay(tmp_path / "a.ndjson") as replay:
                replay.run_forever()
    assert about_second(caplog) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_none_of_its_parents(
    make_feed: FeedMaker, caplog: pytest.LogCaptureFixture
) -> None:
    make_feed().start()
    mine = make_feed()
    child = os.fork()
    if not child:
        code = 1
        try:
            end_if_it_hangs()
            code = 2
            again = make_feed()
            again.start().wait_for_book(A, 10)
            code = 3 if about_second(caplog) else 0
            again.close()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    mine.start()
    assert len(about_second(caplog)) == 1


class Dropped:
    """All that the list needs of an engine. Only the collector finds it."""

    peer = "wss://127.0.0.1"

    def __init__(self) -> None:
        self.itself = self


def test_feeds_that_are_collected_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """At whichever allocation the collector runs. Python 3.10 and 3.11 miscount a dict's copy then."""
    thresholds = gc.get_threshold()
    started: Any = second_feed.started
    try:
        for allocations in range(12):
            gc.collect()
            gc.disable()
            monkeypatch.setattr(second_feed, "_started", {})
            for number in range(3):
                started(Dropped(), f"key {number}")
            last = Dropped()
            dicts: list[dict[str, str]] = [{} for _ in range(200)]  # so that a new one is an allocation
            gc.set_threshold(gc.get_count()[0] + allocations)
            gc.enable()
            started(last, "another key")
            del dicts
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
