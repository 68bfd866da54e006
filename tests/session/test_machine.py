"""The session against an exchange that is right and a wire that is not.

Whatever is lost, duplicated, delayed or garbled, a LIVE book is the exchange's at its seq, a program that
follows the messages has the same books and learns of every loss before the next message, and all is well
again once the wire is. The Driver, too, checks after every step.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kalshi_feed.errors import ConnectionLost
from kalshi_feed.events import Gap
from kalshi_feed.session.retry import ReconnectPolicy, Retries
from kalshi_feed.session.wanted import Want
from tests.effort import effort
from tests.session.driver import BOOK, Driver, Frame, encoded, error, ticker, trade
from tests.session.follower import Follower

MARKETS = ("A", "B", "C")
PRICES = (4000, 4100, 5500)
CHANNELS = ("trade", "ticker")
market = st.sampled_from(MARKETS)
change_of_a_level = st.tuples(
    market, st.sampled_from([-300, -100, 100, 200]), st.sampled_from(PRICES), st.sampled_from(["yes", "no"])
)
event = st.one_of(
    *[change_of_a_level] * 3,
    st.just("trade"),
    st.sampled_from(["trade", "ticker", "snapshot", "unknown type", "unknown sid"]),
)
SPOILS = (
    "[]",
    '"seq":"x"',
    '"seq":999999',
    '"sid":98',
    '"market_ticker":7',
    '"delta_fp":"NaN"',
    '"delta_fp":"-99999.00"',
    "{",
)
spoil = st.sampled_from(SPOILS)
FAULTS = ("drop", "duplicate", "delay", "garble")
commands_wait = precondition(lambda self: self.up)
frames_wait = precondition(lambda self: self.down)
PASSING, FINAL, LIMIT, TERMINAL = (18, 27), (8, 11, 14, 16), 26, (10, 17, 25)


class Wire(RuleBasedStateMachine):
    """Commands and frames are in transit for as long as Hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver()
        self.venue = self.driver.venue
        self.up: deque[Frame] = deque()
        self.down: deque[bytes] = deque()
        self.ends: dict[bytes, str] = {}  # by frame, what it ended
        self.wants: list[Want] = []
        self.trades: defaultdict[int, list[int]] = defaultdict(list)
        self.follower = Follower(self.venue, self.trades)
        self.policy = ReconnectPolicy(jitter=False)
        self.retries = Retries(self.policy, lambda: 0.0)
        self.losses = 0  # since the last healthy session
        self.connected_at = 0.0
        self.is_spotless = True  # nothing bad has happened yet

    def _turn(self, *frames: bytes) -> list[Frame]:
        commands = self.driver.turn(*frames)
        self._hear(len(frames))
        assert len(commands) <= 2 * (len(CHANNELS) + 1) + len(frames), "one turn, and a flood of commands"
        self.up.extend(commands)
        if self.driver.give_up is not None:
            assert not self.is_spotless, self.driver.give_up
            self._reconnect()
        return commands

    def _hear(self, frames: int) -> None:
        taken = self.driver.take()
        assert len(taken) <= 4 * frames + 20, f"{frames} frames, and {len(taken)} reports"
        for item in taken:
            assert not (self.is_spotless and isinstance(item, Gap) and item.expected), (
                f"{item}, and nothing was lost"
            )
            self.follower.hear(item)

    def _connect(self) -> None:
        self.connected_at = self.driver.now
        self.up.extend(self.driver.connect())

    def _reconnect(self) -> None:
        """Only after a healthy session (long, or with everything wanted) the next dial comes early."""
        driver = self.driver
        lasted, books = (
            driver.now - self.connected_at,
            {name for name in MARKETS if driver.wanted.wants_book(name)},
        )
        healthy = lasted >= 30.0 or (lasted >= 5.0 and driver.live() == books)
        assert driver.disconnect() is healthy
        assert not driver.live()
        self.losses = 1 if healthy else self.losses + 1
        delay = self.retries.next_delay(ConnectionLost(None, "gone"), healthy=healthy)
        assert delay == min(self.policy.initial_delay * 2 ** (self.losses - 1), self.policy.max_delay)
        driver.now += delay
        for on_the_way in (self.up, self.down, self.trades):
            on_the_way.clear()
        driver.take()
        self.follower = Follower(self.venue, self.trades)
        self._connect()

    def _send(self, frames: list[Frame]) -> None:
        self.down.extend(encoded(frame) for frame in frames)

    @initialize(
        tickers=st.sets(market, min_size=1),
        trades=st.booleans(),
        counts_replies=st.booleans(),
        stands=st.booleans(),
    )
    def begin(self, tickers: set[str], trades: bool, counts_replies: bool, stands: bool) -> None:
        self.venue.counts_replies = counts_replies
        for name in MARKETS:
            self.venue.change(name, 200)
        self.wants.append(self.driver.want(BOOK, *sorted(tickers)))
        if trades:
            self.wants.append(self.driver.want("trade"))
        self._connect()
        if stands:
            self.all_goes_well()

    # the exchange

    @commands_wait
    @rule(n=st.integers(1, 5))
    def exchange_works(self, n: int) -> None:
        for _ in range(min(n, len(self.up))):
            self._send(self.venue.answer(self.up.popleft()))

    @commands_wait
    @rule(code=st.sampled_from([*PASSING, *FINAL, LIMIT, *TERMINAL]), is_done=st.booleans())
    def exchange_refuses(self, code: int, is_done: bool) -> None:
        """The next command. After a timeout (18) it may have been carried out all the same."""
        command, params = self.up[0], self.up[0].get("params", {})
        if code not in PASSING and params.get("action", command["cmd"]) not in (
            "subscribe",
            "add_markets",
            "get_snapshot",
        ):
            return
        if code not in PASSING and set(params.get("channels", ())) & self.venue.subscriptions.keys():
            return  # a second subscribe to an open channel is answered "already subscribed"
        if code not in (*PASSING, *TERMINAL) and self._has_added(params):
            return  # an add_markets that was carried out, and repeated because its answer is late
        self.is_spotless = False
        self.up.popleft()
        refusal = error(code, command["id"])
        if code in TERMINAL and "sids" in params:
            refusal["sid"] = params["sids"][0]
            for name, subscription in tuple(self.venue.subscriptions.items()):
                if subscription.sid in params["sids"]:
                    del self.venue.subscriptions[name]
            self.ends[encoded(refusal)] = BOOK
        answer = self.venue.answer(command) if code == 18 and is_done else []
        self._send([refusal, *answer[1:]])

    def _has_added(self, params: Frame) -> bool:
        has = {key for one in self.venue.subscriptions.values() for key in one.keys}
        return params.get("action") == "add_markets" and not has.isdisjoint(params["market_tickers"])

    @rule(is_deaf=st.booleans())
    def exchange_ignores(self, is_deaf: bool) -> None:
        """A command is neither answered nor carried out; or no get_snapshot is, for some time."""
        self.is_spotless = False
        if is_deaf:
            self.venue.ignored ^= {"get_snapshot"}
        elif self.up:
            self.up.popleft()

    @rule(name=market)
    def repair_meets_silence(self, name: str) -> None:
        """A delta is lost, and the get_snapshot that would repair it is not answered."""
        if self.venue.counts_replies:  # otherwise see _hurt_next
            self.is_spotless = False
            self.venue.ignored.add("get_snapshot")
            self.venue.change(name, 100)
            self._send(self.venue.change(name, 100))
            self.all_goes_well()
            self.clock(0.6, asleep=False)
            self.all_goes_well()

    @rule(
        burst=st.lists(st.tuples(event, st.sampled_from([*FAULTS, *[""] * 6])), min_size=1, max_size=10),
        spoil=spoil,
        waits=st.booleans(),
    )
    def much_happens(self, burst: list[tuple[Any, str]], spoil: str, waits: bool) -> None:
        """Some of it is damaged on the wire."""
        for what, fault in burst:
            for frame in self._happens(what):
                lot, self.down = self.down, deque([encoded(frame)])
                if fault:
                    self._hurt_next(fault, spoil, 1)
                lot.extend(self.down)
                self.down = lot
                if fault == "delay" and len(lot) > 1:  # it overtakes the one before: that one is late
                    lot[-2], lot[-1] = lot[-1], lot[-2]
        if self.down and not waits:
            self.deliver(len(self.down))

    def _happens(self, what: Any) -> list[Frame]:
        if isinstance(what, tuple):
            return self.venue.change(*what)
        subscription = self.venue.subscriptions.get(what if what in CHANNELS else BOOK)
        if what == "unknown sid":  # attributed to a channel whose sid is not known yet
            self.is_spotless = False
            return [trade("A", 99, 1)]
        if subscription is None:
            return []
        if what == "ticker":
            return [ticker("A", subscription.sid)]
        if what == "snapshot":
            return [self.venue._snapshot(subscription, name) for name in subscription.keys]
        seq = subscription.next_seq()
        assert seq is not None
        if what == "unknown type":
            return [{"type": "hello_v9", "sid": subscription.sid, "seq": seq, "msg": {}}]
        self.trades[subscription.sid].append(seq)
        return [trade("A", subscription.sid, seq)]

    @rule(channel=st.sampled_from([BOOK, "trade"]), code=st.sampled_from([None, *TERMINAL]))
    def ends_a_subscription(self, channel: str, code: int | None) -> None:
        subscription = self.venue.subscriptions.pop(channel, None)
        if subscription is not None:
            self.is_spotless = False
            about = {"sid": subscription.sid, "seq": subscription.next_seq()}
            end = (
                {"type": "unsubscribed", **about}
                if code is None
                else {"type": "error", **about, "msg": {"code": code}}
            )
            self.ends[encoded(end)] = channel
            self._send([end])

    @rule(changes=st.lists(change_of_a_level, min_size=1, max_size=3))
    def counts_anew(self, changes: list[tuple[str, int, int, str]]) -> None:
        """The sid's seq starts again at 1: noticed only if no seq in between is lost."""
        theirs, ours = (
            self.venue.subscriptions.get(BOOK),
            self.driver.session.reconciler.subscriptions.get(BOOK),
        )
        if theirs is None or ours is None or self.down or ours.next_seq != theirs.seq + 1 or theirs.seq < 4:
            return
        if not set(MARKETS) & set(theirs.keys):
            return
        self.is_spotless = False
        theirs.seq = 0
        for key in [key for key in self.venue.history if key[0] == theirs.sid]:
            del self.venue.history[key]
        self.follower.number_anew(theirs.sid)
        for name, size, price, side in changes:
            self._send(
                self.venue.change(name if name in theirs.keys else next(iter(theirs.keys)), size, price, side)
            )
        self.deliver(len(self.down))

    # the wire

    @frames_wait
    @rule(n=st.integers(1, 8))
    def deliver(self, n: int) -> None:
        self._turn(*[self.down.popleft() for _ in range(min(n, len(self.down)))])

    @rule()
    def all_goes_well(self) -> None:
        for _ in range(3):
            if self.up:
                self.exchange_works(len(self.up))
            if self.down:
                self.deliver(len(self.down))

    @frames_wait
    @rule(fault=st.sampled_from(FAULTS), spoil=spoil, behind=st.integers(1, 6))
    def hurt(self, fault: str, spoil: str, behind: int) -> None:
        self._hurt_next(fault, spoil, behind)

    def _hurt_next(self, fault: str, spoil: str, behind: int) -> None:
        self.is_spotless = False
        frame = self.down.popleft()
        if not self.venue.counts_replies:
            # a reply that repeats the last number hides that the message of that number was lost
            fault = "duplicate"
        end_of = self.ends.get(frame)
        if end_of and (fault == "drop" or (fault == "garble" and end_of != BOOK)):
            # otherwise nothing would show that an end was lost: only books are requested after a bad frame
            fault = "duplicate"
        if fault == "duplicate":
            self.down.extendleft([frame, frame])
        elif fault == "delay":
            self.down.insert(behind, frame)
        elif fault == "garble":
            self.down.appendleft(_spoilt(frame, spoil))
            if end_of:
                self.ends[self.down[0]] = end_of

    @rule()
    def lose_the_connection(self) -> None:
        self._reconnect()

    # the clock

    @rule(seconds=st.sampled_from([0.01, 0.03, 0.6, 6.0, 11.0, 40.0]), asleep=st.booleans())
    def clock(self, seconds: float, asleep: bool) -> None:
        """Time goes on; ``asleep``: the machine was suspended, and nothing ran meanwhile."""
        self.is_spotless &= seconds < 1.0  # an answer may be overdue
        if asleep:
            self.driver.now += seconds
        else:
            self.up.extend(self.driver.pass_time(seconds))
        self._turn()

    @rule(offset=st.sampled_from([-0.001, 0.0, 0.001]))
    def deadline(self, offset: float) -> None:
        """Just before a deadline nothing is done; at the deadline, something may be."""
        self._turn()
        due = self.driver.session.next_deadline()
        if due < math.inf and due + offset > self.driver.now:
            self.is_spotless = False
            self.driver.now = due + offset
            commands = self._turn()
            assert offset >= 0 or not commands, "done before its time"

    # the users

    @rule(tickers=st.sets(market, min_size=1))
    def want(self, tickers: set[str]) -> None:
        if len(self.wants) < 4:
            self.wants.append(self.driver.want(BOOK, *sorted(tickers)))

    @rule(channel=st.sampled_from(CHANNELS), only=st.booleans())
    def want_more(self, channel: str, only: bool) -> None:
        if len(self.wants) < 4:
            self.wants.append(self.driver.want(channel, *MARKETS[: 2 * only]))

    @rule(i=st.integers(0, 3))
    def unwant(self, i: int) -> None:
        if i < len(self.wants):
            self.driver.unwant(self.wants.pop(i))

    @rule(i=st.integers(0, 3), name=market, change=st.sampled_from([Driver.add, Driver.delete]))
    def change_markets(self, i: int, name: str, change: Callable[[Driver, Want, str], None]) -> None:
        if i < len(self.wants) and self.wants[i].selector is not None:
            change(self.driver, self.wants[i], name)

    @rule(name=st.none() | market)
    def look(self, name: str | None) -> None:
        """A turn after users have changed their requests; one of them requests a snapshot, too."""
        if name is not None and self.driver.wanted.wants_book(name):
            self.driver.wanted.snapshots[name] = None
        self._turn()

    # what must hold

    @invariant()
    def only_wanted_books_are_live(self) -> None:
        assert all(self.driver.wanted.wants_book(name) for name in self.driver.live())

    @invariant()
    def live_books_are_what_was_told(self) -> None:
        for name in self.driver.live():
            book = self.driver.books[name]
            assert {"yes": book.yes, "no": book.no} == self.follower.books[name]

    def teardown(self) -> None:
        """The wire behaves again. Markets change now and then: a loss at the very end goes unnoticed."""
        self.venue.ignored.clear()
        for _ in range(40):
            self._quiet_tick(5.0)
        self._check_all_is_well()
        sent = len(self.driver.all_sent)
        for _ in range(6):
            self._quiet_tick(11.0)
        assert len(self.driver.all_sent) == sent, "all is well, and it goes on asking"
        self._check_all_is_well()

    def _quiet_tick(self, seconds: float) -> None:
        self._exchange_everything()
        for name in MARKETS:
            self._send(self.venue.change(name, 100))
        self._exchange_everything()
        self.clock(seconds, asleep=False)

    def _exchange_everything(self) -> None:
        for _ in range(100):
            if not (self.up or self.down):
                return
            if self.up:
                self.exchange_works(len(self.up))
            if self.down:
                self.deliver(len(self.down))
        raise AssertionError("commands go on and on")

    def _check_all_is_well(self) -> None:
        driver = self.driver
        wanted = {
            name: set(channel.keys) for name, channel in driver.wanted.channels.items() if set(channel.keys)
        }
        books = wanted.get(BOOK, set())
        assert driver.live() == books
        assert {
            subscription.name: subscription.confirmed
            for subscription in driver.session.reconciler.subscriptions
            if subscription.is_open
        } == wanted
        for name, keys in wanted.items():
            assert driver.session.confirmed(name, keys)
            subscription = self.venue.subscriptions[name]
            assert driver.session.sid_of(name) == subscription.sid
            assert set(subscription.keys) == {key for key in keys if key != "*all*"}
        assert set(self.venue.subscriptions) == set(wanted)
        for name in books:
            book = driver.books[name]
            assert {"yes": book.yes, "no": book.no} == self.venue.books[name]


def _spoilt(frame: bytes, spoil: str) -> bytes:
    """A different string in place of the frame, or the frame with a field repeated: the last one counts."""
    text = frame.decode()
    if "seq" in spoil and '"orderbook_delta"' not in text:
        spoil = '"seq":"x"'  # a message that is accepted would have a seq that is not a number
    if spoil.startswith(('"m', '"d')) and text.endswith("}}"):
        return f"{text[:-2]},{spoil}}}}}".encode()
    return f"{text[:-1]},{spoil}}}".encode() if spoil.startswith('"') else spoil.encode()


TestWire = Wire.TestCase
TestWire.settings = effort(300, stateful_step_count=50)
