"""Every public call, interrupted at every line: it has happened completely or not at all, and the feed goes
on.

At every seventeenth line, that is; with KALSHI_EFFORT=17, at every line.
"""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import ConfigurationError, FeedState, KalshiFeed, KalshiFeedError, Subscription, WaitTimeout
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.effort import TIMES
from tests.faults.interrupts import hold, interrupt
from tests.feed.support import A, B, FeedMaker, program, wait_equal
from tests.support import wait_until

BOOK = "orderbook_delta"
# about what an interrupted constructor had made
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
STRIDES = [max(1, 17 // TIMES)]
Call = Callable[[], object]


def keep_calm(trade: Any) -> None:
    """A callback."""


class Scene:
    """A feed with one subscription of A, which is restored after each interruption."""

    def __init__(self, feed: KalshiFeed, exchange: Exchange) -> None:
        self.feed, self.exchange = feed, exchange
        self.base = feed.subscribe([BOOK, "trade"], [A]).wait(5)
        self.book = feed.wait_for_book(A, 5)

    def restore(self) -> None:
        for subscription in self.feed.subscriptions:
            if (
                subscription.market_tickers != self.base.market_tickers
                or subscription.channels != self.base.channels
            ):
                subscription.unsubscribe()
        if B in self.base.market_tickers:
            self.base.delete_markets(B)
        if A not in self.base.market_tickers:
            self.base.add_markets(A)
        self.feed.off(keep_calm)

    # each one prepares, and returns the call to interrupt

    def subscribe(self) -> Call:
        return lambda: self.feed.subscribe([BOOK, "ticker"], [B])

    def add_markets(self) -> Call:
        return lambda: self.base.add_markets(B)

    def delete_markets(self) -> Call:
        self.base.add_markets(B)
        return lambda: self.base.delete_markets(B)

    def unsubscribe(self) -> Call:
        other: Subscription = self.feed.subscribe([BOOK, "fill"], [B])
        return other.unsubscribe

    def request_snapshot(self) -> Call:
        return lambda: self.base.request_snapshot(A)

    def wait_for_book(self) -> Call:
        return lambda: self.feed.wait_for_book(B, 5)

    def wait_for_update(self) -> Call:
        version = self.book.version
        return lambda: (
            self.book.wait_for_update(5, version - 1),
            timed_out(lambda: self.book.wait_for_update(0.001)),
        )

    def wait_for(self) -> Call:
        return lambda: timed_out(lambda: self.feed.wait_for("trade", timeout=0.001))

    def messages(self) -> Call:
        def call() -> None:
            with self.feed.messages("trade") as stream:
                timed_out(lambda: stream.get(0.001))

        return call

    def on_and_off(self) -> Call:
        return lambda: self.feed.off(self.feed.on_trade(keep_calm))

    def list_subscriptions(self) -> Call:
        return lambda: self.feed.list_subscriptions(5)

    def subscription_wait(self) -> Call:
        return lambda: self.base.wait(5)

    def stats_and_health(self) -> Call:
        return lambda: (
            self.feed.stats(),
            self.feed.health(),
            self.feed.books,
            self.feed.subscriptions,
            self.feed.state,
        )


def timed_out(call: Call) -> None:
    with suppress(WaitTimeout):
        call()


CALLS = [
    name for name, thing in vars(Scene).items() if callable(thing) and name not in ("__init__", "restore")
]


def places(call: Callable[[int], bool], stride: int) -> Iterator[int]:
    """Return the lines to interrupt, until the call has no more."""
    for n in itertools.count(1, stride):
        if not call(n):
            return
        yield n


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("name", CALLS)
def test_R28_an_interrupted_call_has_happened_or_not(
    exchange: Exchange, feed: KalshiFeed, name: str, stride: int
) -> None:
    scene = Scene(feed, exchange)
    count = 0
    for _ in places(lambda n: interrupt(getattr(scene, name)(), n), stride):
        count += 1
        hold(feed, exchange)
        scene.restore()
        hold(feed, exchange)
    assert count > 3
    exchange.change(A, "yes", "0.4", 1)
    wait_equal(feed, exchange, A)
    assert feed.state is FeedState.CONNECTED and feed.stats().reconnects == 0


@pytest.mark.parametrize("stride", STRIDES)
def test_R32_an_interrupted_start_can_be_made_again(
    exchange: Exchange, make_feed: FeedMaker, stride: int
) -> None:
    feed = make_feed()
    feed.subscribe(BOOK, [A])
    for _ in places(lambda n: interrupt(feed.start, n), stride):
        feed.start()
        feed.wait_for_book(A, 5)
        hold(feed, exchange)
        feed.close()
        assert feed.state is FeedState.CLOSED


@pytest.mark.parametrize("stride", STRIDES)
def test_R28_an_interrupted_close_can_be_made_again(
    exchange: Exchange, make_feed: FeedMaker, stride: int
) -> None:
    feed = make_feed()
    feed.subscribe(BOOK, [A])

    def closed(n: int) -> bool:
        feed.start()
        feed.wait_for_book(A, 5)
        return interrupt(feed.close, n)

    for _ in places(closed, stride):
        feed.close()
        assert feed.state is FeedState.CLOSED
        with pytest.raises(KalshiFeedError):
            feed.wait_for_book(A, 0.1)
    assert feed.state is FeedState.CLOSED


@pytest.mark.parametrize("stride", STRIDES)
def test_R28_an_interrupted_record_leaves_a_feed_that_can_be_recorded(
    exchange: Exchange, make_feed: FeedMaker, tmp_path: Path, stride: int
) -> None:
    feed = make_feed()
    numbers = itertools.count()
    feed.subscribe(BOOK, [A])
    for _ in places(
        lambda n: interrupt(lambda: feed.record(tmp_path / f"{next(numbers)}.ndjson").close(), n), stride
    ):
        again = tmp_path / f"{next(numbers)}.again.ndjson"
        try:
            recording = feed.record(again)
        except ConfigurationError:  # the interrupted call has begun one, which ends with the feed
            feed.close()
            recording = feed.record(again)
        feed.start()
        feed.wait_for_book(A, 5)
        feed.close()
        recording.close()
        replay = KalshiFeed.replay(again)
        replay.run_forever()
        assert replay.book(A).seq is not None
        replay.close()


# -- finalizers ----------------------------------------------------------------------------------------------


class Regrets:
    """An object in a cycle, so that only the collector frees it, wherever it happens to run; then it calls
    the feed."""

    def __init__(self, call: Call) -> None:
        self.me, self.call = self, call

    def __del__(self) -> None:
        self.call()


def test_R27_finalizers_that_call_the_feed_on_the_reader(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed = make_feed()
    base = feed.subscribe([BOOK, "trade"], [A])
    errors: list[BaseException] = []

    def safely(call: Call) -> Call:
        def run() -> None:
            try:
                call()
            except BaseException as error:
                errors.append(error)

        return run

    begun, done = itertools.count(), itertools.count()
    counts = [0, 0]  # calls of litter() begun, and finished

    def litter(message: object) -> None:
        counts[0] = next(begun) + 1
        other = feed.subscribe([BOOK, "ticker"], [B])
        Regrets(safely(other.unsubscribe))
        Regrets(safely(lambda: base.add_markets(B)))
        Regrets(safely(lambda: base.delete_markets(B) if B in base.market_tickers else None))
        Regrets(
            safely(
                lambda: (feed.books, feed.stats(), feed.health(), feed.book(A).best_bid(), feed.subscriptions)
            )
        )
        counts[1] = next(done) + 1

    feed.on_delta(litter)
    feed.on_ticker(litter)
    before = gc.get_threshold()
    gc.set_threshold(20, 2, 2)
    try:
        feed.start()
        feed.wait_for_book(A, 5)
        for number in range(400):
            exchange.change(A, "yes", "0.4", 1 + number % 7)
        wait_until(lambda: feed.stats().messages.get("orderbook_delta", 0) >= 400, 20)
    finally:
        gc.set_threshold(*before)
    feed.off(litter)
    wait_until(lambda: feed.stats().queue_depth == 0 and counts[0] == counts[1])
    gc.collect()
    for subscription in feed.subscriptions:
        if subscription.channels == (BOOK, "ticker"):
            subscription.unsubscribe()
    hold(feed, exchange)
    assert [error for error in errors if not isinstance(error, ConfigurationError)] == []
    assert feed.stats().reconnects == 0 and "defect" not in feed.stats().faults


def test_R27_a_finalizer_on_the_reader_is_put_off_to_the_next_tick(
    exchange: Exchange, feed: KalshiFeed
) -> None:
    """Exactly in the middle of the session, with the lock held, as when the collector runs there."""
    other = feed.subscribe([BOOK, "trade"], [A, B]).wait(5)
    feed.wait_for_book(B, 5)
    with inside.store(feed).lock:
        wanted = inside.wanted(feed)
        walk = iter(wanted.channels[BOOK].holders)
        next(walk)
        other.unsubscribe()
        feed.subscribe(BOOK, [B])
        next(walk)  # a change would raise here
        with pytest.raises(KalshiFeedError, match="wait for itself"):
            feed.wait_for_book(B, 5)
    hold(feed, exchange)
    assert set(feed.books) == {B}


# -- signals -------------------------------------------------------------------------------------------------

# An alarm raises in the main thread at random moments, as Celery's soft time limit does, while that thread
# keeps changing what it wants.
STORM = """
import random
from tests.faults.interrupts import Interrupt
dice, armed, hits = random.Random(7), False, 0
def alarm(signum, frame):
    global hits, armed
    if armed:
        armed, hits = False, hits + 1
        raise Interrupt
signal.signal(signal.SIGALRM, alarm)
feed = make().start()
base = feed.subscribe(["orderbook_delta", "trade"], ["{a}"]).wait(5)
def forget():
    for one in feed.subscriptions:
        if one.channels != base.channels:
            one.unsubscribe()
calls = [
    lambda: feed.subscribe(["orderbook_delta", "ticker"], ["{b}"]), forget, forget,
    lambda: base.add_markets("{b}"), lambda: base.delete_markets("{b}") if "{b}" in base.market_tickers else None,
    lambda: feed.wait_for_book("{b}", 0.05), lambda: base.request_snapshot(), lambda: feed.list_subscriptions(0.05),
    lambda: base.wait(0.05), lambda: feed.off(feed.on_trade(print)), lambda: feed.wait_for("trade", timeout=0.002),
]
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    signal.setitimer(signal.ITIMER_REAL, dice.uniform(0.00002, 0.002))
    armed = True
    try:
        try:
            while armed:
                dice.choice(calls)()
        finally:
            armed = False
    except (Interrupt, WaitTimeout, ConfigurationError, SubscriptionError):
        pass
signal.setitimer(signal.ITIMER_REAL, 0)
forget()
books = [feed.wait_for_book("{a}", 5).is_live]
for one in feed.subscriptions:
    one.wait(5)
stats, until = feed.stats(), time.monotonic() + 5
while True:  # unsubscribing does not wait for the exchange, which may be about to confirm one
    sids = sorted(feed.list_subscriptions(5))
    if len(sids) == 2 or time.monotonic() > until:
        break
print(json.dumps(dict(hits=hits, books=books, state=feed.state.value, faults=dict(stats.faults), reconnects=stats.reconnects,
                      sids=sids)))
feed.close()
"""  # noqa: E501


@pytest.mark.parametrize("seconds", [3])
def test_R28_signals_that_raise_at_random_moments(exchange: Exchange, tmp_path: Path, seconds: int) -> None:
    body = STORM.replace("{a}", A).replace("{b}", B).replace("{seconds}", str(seconds))
    done = subprocess.run(
        program(exchange, tmp_path, body), capture_output=True, text=True, timeout=seconds + 30, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]

    found = json.loads(done.stdout.splitlines()[-1])
    assert found["hits"] > 50 * seconds / 3 and found["books"] == [True] and found["state"] == "CONNECTED"
    assert found["reconnects"] == 0 and "defect" not in found["faults"]
    assert [name for name, _ in found["sids"]] == [BOOK, "trade"]
