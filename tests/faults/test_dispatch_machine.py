"""The dispatcher, with the test in place of its threads: hypothesis chooses who puts, who delivers, who
closes, and when.

Whatever it chooses: each market's messages come in order, and none twice; a loss is announced in its place
and counted; every book that changed is seen in its newest view; and callbacks that raise, close or register
others do no harm. Faults R01, R02, R04–R06.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kalshi_feed.dispatch import BOOKS, Dispatcher
from kalshi_feed.dispatch.worker import Worker
from kalshi_feed.errors import WaitTimeout
from kalshi_feed.events import Event, FeedFault, FeedState, Gap, Lagged, StateChange
from tests.dispatch.support import delta, put, trade, unknown
from tests.effort import effort

pytestmark = pytest.mark.slow

MARKETS = ("A", "B")
things = st.one_of(
    *[st.tuples(st.sampled_from(["delta", "trade"]), st.sampled_from(MARKETS))] * 6,
    st.sampled_from([("gap", ""), ("state", ""), ("unwanted", "A")]),
)
mischief = st.sampled_from([ValueError("no"), SystemExit(1), "register", "close", None, None])
is_open = precondition(lambda self: not self.queue.closing)


class Duty(RuleBasedStateMachine):
    """The queues as they should be, next to the real ones."""

    @initialize(
        size=st.integers(1, 40), workers=st.integers(1, 2), blocks=st.booleans(), chunk=st.integers(1, 16)
    )
    def begin(self, size: int, workers: int, blocks: bool, chunk: int) -> None:
        self.faults: list[FeedFault] = []
        self.dispatcher = dispatcher = Dispatcher(
            queue_size=size,
            overflow="block" if blocks else "drop_oldest",
            workers=workers,
            view_of=lambda ticker: (ticker, self.changes[ticker]),  # type: ignore[arg-type, return-value]
            report_fault=self.faults.append,
        )
        self.queue, self.counters, self.size, self.blocks = (
            dispatcher._queue,
            dispatcher.counters,
            size,
            blocks,
        )
        self.workers = [
            Worker(
                self.queue,
                box,
                dispatcher._registry,
                dispatcher._lock,
                self.counters,
                self.dispatcher._view_of,
                self.faults.append,
            )
            for box in self.queue.boxes
        ]
        self.chunk = chunk
        for kind in ("orderbook_delta", "trade", Event):
            dispatcher.register(kind, self._heard)
        dispatcher.register("trade", lambda message: self.of_a.append(message), ["A"])
        dispatcher.register(BOOKS, self._book)
        # by worker: what it has yet to deliver
        self.waiting: list[deque[Any]] = [deque() for _ in range(workers)]
        self.at = 0  # the worker whose turn it is
        self.number = self.put = self.delivered = self.lagged = self.errors = self.put_too_late = 0
        self.events_told: list[Event] = []
        self.events_put: list[Event] = []
        self.changes: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.of_a: list[Any] = []
        self.late: list[Any] = []
        self.late_is_registered = False
        self.should_be_of_a: list[Any] = []
        self.should_be_late: list[Any] = []
        self.mischief: deque[Any] = deque()

    # the reader

    @rule(
        things=st.lists(things, min_size=1, max_size=12),
        status_changed=st.sets(st.sampled_from(MARKETS), max_size=1),
    )
    def reads(self, things: list[tuple[str, str]], status_changed: set[str]) -> None:
        items: list[Any] = []
        # any more, and this thread would wait for itself
        room = self.size - self.queue.depth if self.blocks else math.inf
        for kind, ticker in things:
            self.number += 1
            if kind == "gap" or kind == "state":
                event = (
                    Gap("trade", 1, self.number, None)
                    if kind == "gap"
                    else StateChange(FeedState.IDLE, FeedState.CLOSED, str(self.number))
                )
                items.append(event)
                self.events_put.append(event)
                for waiting in self.waiting:
                    waiting.append(event)
            elif kind == "unwanted":
                items.append(unknown("nobody_wants_it"))
            elif room > 0:
                room -= 1
                items.append(delta(ticker, self.number) if kind == "delta" else trade(ticker, self.number))
                self.put += 1
                if self.queue.discarded:
                    self.put_too_late += 1
                else:
                    self.waiting[hash(ticker) % len(self.waiting)].append(items[-1])
                self.changes[ticker] += kind == "delta"
        self.changes.update(status_changed)
        put(self.dispatcher, *items, status_changed=tuple(status_changed))

    # the workers

    @rule(at=st.integers(0, 1), steps=st.integers(1, 8))
    def delivers(self, at: int, steps: int) -> None:
        self.at = at % len(self.workers)
        for _ in range(steps):
            for box in self.queue.boxes:
                box.chunk = self.chunk  # as if callbacks had been slow
            if not self.workers[self.at].step():
                return

    def _heard(self, item: Any) -> None:
        waiting = self.waiting[self.at]
        if isinstance(item, FeedFault):
            self.errors += 1
            return
        while waiting and waiting[0] in self.events_told:  # another worker announced it
            waiting.popleft()
        if isinstance(item, Lagged):
            gone = [waiting.popleft() for _ in range(item.dropped)]
            assert not any(isinstance(one, Event) for one in gone), "a loss in the wrong place"
            assert set(item.market_tickers) == {one.market_ticker for one in gone}
            self.lagged += item.dropped
            return
        assert item is waiting.popleft(), "out of order, twice, or after a loss that was not announced"
        if isinstance(item, Event):
            self.events_told.append(item)
            return
        self.delivered += 1
        if item.type == "trade":
            self.should_be_of_a += [item] if item.market_ticker == "A" else []
            self.should_be_late += [item] if self.late_is_registered else []
        self._be_bad()

    def _be_bad(self) -> None:
        deed = self.mischief.popleft() if self.mischief else None
        if deed == "register":
            if self.late_is_registered:
                assert self.dispatcher.off(self._late) == 1
            else:
                self.dispatcher.register("trade", self._late)
            self.late_is_registered = not self.late_is_registered
        elif deed == "close":
            self.dispatcher.close(time.monotonic())
        elif deed is not None:
            raise deed

    def _late(self, message: Any) -> None:
        self.late.append(message)

    def _book(self, view: tuple[str, int]) -> None:
        ticker, version = view
        assert version >= self.seen[ticker]
        self.seen[ticker] = version

    @rule(deeds=st.lists(mischief, min_size=1, max_size=5))
    def callbacks_will(self, deeds: list[Any]) -> None:
        self.mischief.extend(deeds)

    # the end

    @is_open
    @rule(at_once=st.booleans())
    def closes(self, at_once: bool) -> None:
        if at_once:
            self.dispatcher.close(time.monotonic())
        else:
            self.queue.begin_close(math.inf)  # as close() does first, with plenty of time

    # what must hold

    @invariant()
    def the_counts_add_up(self) -> None:
        counters, boxes = self.counters, self.queue.boxes
        assert counters.depth == self.queue.depth == sum(box.depth for box in boxes) <= self.size
        assert self.put == self.delivered + counters.dropped + counters.depth
        assert counters.depth <= counters.high_water <= self.size
        assert self.errors == len(self.faults) == counters.callback_errors
        assert not self.blocks or self.queue.discarded or not counters.dropped

    @invariant()
    def the_others_get_theirs(self) -> None:
        assert self.of_a == self.should_be_of_a
        assert self.late == self.should_be_late

    def teardown(self) -> None:
        self.mischief.clear()
        for _ in range(2):
            for at in range(len(self.workers)):
                self.delivers(at, 1_000)
        self.the_counts_add_up()
        self.the_others_get_theirs()
        assert not self.counters.depth
        assert self.lagged == self.counters.dropped - self.put_too_late
        assert self.events_told == self.events_put
        assert all(one in self.events_told for waiting in self.waiting for one in waiting)
        if not self.queue.discarded:
            assert +self.seen == +self.changes
        self.dispatcher.close(time.monotonic())


class Stream(RuleBasedStateMachine):
    """A user's loop over feed.messages(), next to callbacks that hear of its losses."""

    @initialize(size=st.integers(1, 6), only_a=st.booleans())
    def begin(self, size: int, only_a: bool) -> None:
        self.dispatcher = Dispatcher(view_of=lambda ticker: None)
        self.stream = self.dispatcher.stream("trade", ["A"] if only_a else None, maxsize=size)
        self.markets = ("A",) if only_a else MARKETS
        self.size = size
        self.waiting: deque[Any] = deque()
        self.number = self.dropped = 0

    @rule(tickers=st.lists(st.sampled_from(MARKETS), min_size=1, max_size=8))
    def reads(self, tickers: list[str]) -> None:
        self.number += 1
        trades = [trade(ticker, self.number * 100 + i) for i, ticker in enumerate(tickers)]
        put(self.dispatcher, delta("A"), *trades)
        self.waiting.extend(one for one in trades if one.market_ticker in self.markets)
        while len(self.waiting) > self.size:
            self.waiting.popleft()
            self.dropped += 1

    @rule(count=st.integers(1, 4))
    def takes(self, count: int) -> None:
        for _ in range(count):
            try:
                message = self.stream.get(0)
            except WaitTimeout:
                assert not self.waiting
                return
            assert message is self.waiting.popleft()

    @invariant()
    def losses_are_counted(self) -> None:
        assert self.stream.dropped == self.dispatcher.counters.dropped == self.dropped


TestDuty = Duty.TestCase
TestDuty.settings = effort(120, stateful_step_count=30)
TestStream = Stream.TestCase
TestStream.settings = effort(40, stateful_step_count=20)
