"""The session against an exchange that is right and a wire that is not.

Whatever is lost, doubled, swapped or garbled, a LIVE book is the exchange's at its seq, and all is well again once the
wire is.

The Driver checks after every step; see there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kalshi_feed.messages import Trade
from kalshi_feed.session.wanted import Want
from tests.session.driver import BOOK, Driver, Frame, encoded, trade

MARKETS = ("A", "B", "C", "D")
market = st.sampled_from(MARKETS)


class Wire(RuleBasedStateMachine):
    """Commands and frames are on their way for as long as hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.venue = self.driver.venue
        self.up: deque[Frame] = deque()
        self.down: deque[bytes] = deque()
        self.ends: list[bytes] = []
        self.wants: list[Want] = []
        self.last_trade: dict[int, int] = {}

    def _turn(self, *frames: bytes) -> None:
        self.up.extend(self.driver.turn(*frames))
        if self.driver.give_up is not None:
            self._reconnect()

    def _reconnect(self) -> None:
        self.trades_come_once_and_in_order()
        self.driver.disconnect()
        self.up.clear()
        self.down.clear()
        self.last_trade.clear()
        self.up.extend(self.driver.connect())

    def _send(self, frames: list[Frame]) -> None:
        self.down.extend(encoded(frame) for frame in frames)

    @initialize(tickers=st.sets(market, min_size=1))
    def begin(self, tickers: set[str]) -> None:
        self.wants.append(self.driver.want(BOOK, *sorted(tickers)))
        self.up.extend(self.driver.connect())

    # the exchange

    @rule(n=st.integers(1, 5))
    def exchange_works(self, n: int) -> None:
        for _ in range(min(n, len(self.up))):
            self._send(self.venue.answer(self.up.popleft()))

    @rule(ticker=market, size=st.integers(-300, 300).filter(bool), side=st.sampled_from(["yes", "no"]))
    def change(self, ticker: str, size: int, side: str) -> None:
        self._send(self.venue.change(ticker, size, 4000 if side == "yes" else 5500, side))

    @rule(ticker=market)
    def trade(self, ticker: str) -> None:
        subscription = self.venue.subscriptions.get("trade")
        if subscription is not None:
            self._send([trade(ticker, subscription.sid, subscription.next_seq())])

    @rule(ticker=market)
    def ends_a_subscription(self, ticker: str) -> None:
        subscription = self.venue.subscriptions.pop(BOOK, None)
        if subscription is not None:
            kinds: list[Frame] = [
                {"type": "unsubscribed", "sid": subscription.sid, "seq": subscription.next_seq()},
                {"type": "error", "sid": subscription.sid, "seq": subscription.next_seq(), "msg": {"code": 25}},
            ]
            end = kinds[MARKETS.index(ticker) % 2]
            self.ends.append(encoded(end))
            self._send([end])

    # the wire

    @rule(n=st.integers(1, 8))
    def deliver(self, n: int) -> None:
        self._turn(*[self.down.popleft() for _ in range(min(n, len(self.down)))])

    @rule()
    def drop(self) -> None:
        """Any frame but an end that the exchange tells by itself: nothing would follow that shows the loss."""
        if self.down and self.down[0] not in self.ends:
            self.down.popleft()

    @rule()
    def duplicate(self) -> None:
        if self.down:
            self.down.appendleft(self.down[0])

    @rule()
    def swap(self) -> None:
        if len(self.down) > 1:
            self.down[0], self.down[1] = self.down[1], self.down[0]

    @rule(spoil=st.sampled_from([b"[]", b'"seq":"x"', b'"market_ticker":7', b'"delta_fp":"NaN"', b"{"]))
    def garble(self, spoil: bytes) -> None:
        if self.down:
            frame = self.down.popleft()
            spoilt = frame[:-1] + b"," + spoil + b"}" if spoil.startswith(b'"') else spoil
            self.down.appendleft(spoilt)
            if frame in self.ends:
                self.ends.append(spoilt)

    @rule()
    def lose_the_connection(self) -> None:
        self._reconnect()

    @rule(seconds=st.sampled_from([0.01, 0.03, 0.6, 11.0]))
    def clock(self, seconds: float) -> None:
        self.up.extend(self.driver.pass_time(seconds))
        self._turn()

    # the users

    @rule(tickers=st.sets(market, min_size=1, max_size=3))
    def want(self, tickers: set[str]) -> None:
        if len(self.wants) < 4:
            self.wants.append(self.driver.want(BOOK, *sorted(tickers)))

    @rule(only=st.booleans())
    def want_trades(self, only: bool) -> None:
        if len(self.wants) < 4:
            self.wants.append(self.driver.want("trade", *MARKETS[: 2 * only]))

    @rule(i=st.integers(0, 3))
    def unwant(self, i: int) -> None:
        if i < len(self.wants):
            self.driver.unwant(self.wants.pop(i))

    @rule(i=st.integers(0, 3), ticker=market, change=st.sampled_from([Driver.add, Driver.delete]))
    def change_markets(self, i: int, ticker: str, change: Callable[[Driver, Want, str], None]) -> None:
        if i < len(self.wants) and self.wants[i].selector is not None:
            change(self.driver, self.wants[i], ticker)

    @rule()
    def look(self) -> None:
        self._turn()

    # what must hold

    @invariant()
    def trades_come_once_and_in_order(self) -> None:
        for message in self.driver.take(Trade):
            assert message.sid is not None and message.seq is not None
            assert message.seq > self.last_trade.get(message.sid, 0)
            self.last_trade[message.sid] = message.seq

    @invariant()
    def only_wanted_books_are_live(self) -> None:
        assert all(self.driver.wanted.wants_book(ticker) for ticker in self.driver.live())

    def teardown(self) -> None:
        """The wire behaves again. Each market changes now and then: a loss at the very end could not be seen."""
        driver = self.driver
        for _ in range(40):
            while self.up or self.down:
                while self.up:
                    self._send(self.venue.answer(self.up.popleft()))
                self.deliver(len(self.down))
            for ticker in MARKETS:
                self._send(self.venue.change(ticker, 100))
            self.deliver(len(self.down))
            self.clock(5.0)
            self.trades_come_once_and_in_order()
        wanted = {name: set(channel.keys) for name, channel in driver.wanted.channels.items() if set(channel.keys)}
        books = wanted.get(BOOK, set())
        assert driver.live() == books
        assert {link.name: link.confirmed for link in driver.session.control.links if link.is_open} == wanted
        for name, keys in wanted.items():
            assert driver.session.confirmed(name, keys)
            subscription = self.venue.subscriptions[name]
            assert driver.session.sid_of(name) == subscription.sid
            assert set(subscription.keys) == {key for key in keys if key != "*all*"}
        assert set(self.venue.subscriptions) == set(wanted)
        for ticker in books:
            book = driver.books[ticker]
            assert {"yes": book.yes, "no": book.no} == self.venue.books[ticker]


TestWire = Wire.TestCase
TestWire.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
