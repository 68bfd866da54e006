"""ProcessFeed: one feed in each process that asks."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from kalshi_feed import FeedState, KalshiFeed
from kalshi_feed.contrib.process import ProcessFeed
from tests.cli.support import Access

from .support import needs_fork


def feed_of(access: Access) -> ProcessFeed:
    exchange = access.exchange

    def make() -> KalshiFeed:
        feed = KalshiFeed(exchange.credentials, url=exchange.url, ssl_context=exchange.ssl_context)
        feed.subscribe("orderbook_delta", "KX-A")
        return feed

    return ProcessFeed(make)


@pytest.mark.greenlets
def test_made_when_first_asked_for_and_only_once(access: Access) -> None:
    feeds = feed_of(access)
    assert feeds.started is None
    found: list[KalshiFeed] = []
    threads = [threading.Thread(target=lambda: found.append(feeds.get())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and set(found) == {feeds.started}
    found[0].wait_for_book("KX-A", timeout=10)
    assert len(access.exchange.handshakes) == 1
    feeds.close()
    feeds.close()
    assert found[0].state is FeedState.CLOSED and feeds.started is None


@pytest.mark.greenlets
def test_another_one_after_close(access: Access) -> None:
    feeds = feed_of(access)
    first = feeds.get()
    feeds.close()
    second = feeds.get()
    try:
        assert second is not first
        second.wait_for_book("KX-A", timeout=10)
    finally:
        feeds.close()


def test_what_make_raises_is_raised_each_time() -> None:
    calls = []

    def make() -> KalshiFeed:
        calls.append(1)
        raise LookupError("no key today")

    feeds = ProcessFeed(make)
    for _ in range(2):
        try:
            feeds.get()
        except LookupError as error:
            assert str(error) == "no key today"
        else:
            raise AssertionError("nothing was raised")
    assert len(calls) == 2 and feeds.started is None
    feeds.close()


@needs_fork
def test_a_child_has_its_own_even_if_its_parent_was_busy(access: Access) -> None:
    feeds = feed_of(access)
    parent = feeds.get()
    parent.wait_for_book("KX-A", timeout=10)
    reading, writing = os.pipe()
    held, forked = threading.Event(), threading.Event()

    def hold() -> None:
        with feeds._guard():  # as if another thread of the parent were just making one
            held.set()
            forked.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # if it hangs, it ends here, and the test with it
        said = "nothing"
        try:
            feed = feeds.get()
            said = feed.wait_for_book("KX-A", timeout=10).status.value
            feeds.close()
        except BaseException as error:
            said = repr(error)
        os.write(writing, json.dumps([feed is not parent, said]).encode())
        os._exit(0)
    forked.set()
    holder.join()
    os.waitpid(pid, 0)
    assert json.loads(os.read(reading, 1000)) == [True, "LIVE"]
    os.close(reading)
    os.close(writing)
    assert feeds.get() is parent and parent.wait_for_book("KX-A", timeout=10).is_live
    feeds.close()
