"""The session: payloads in, messages and commands out, and the books kept up to date on the way.

Owns the sequence check, the changes to the books, and what is delivered. Callers pass in `now`
(time.monotonic(), in seconds; in a replay, the recording's clock) and take the effects from `output`. Not
thread-safe; the reader uses it and holds the store's lock.

**The sequence rules.** The exchange numbers the frames of each subscription (sid) 1, 2, 3 … in `seq`, on most
channels. One number covers all markets of the subscription, so a missing one may hide a change to any of its
books. `ServerSubscription.next_seq` is the number that must come next, `hole` the numbers that the last gap
skipped. A frame that carries a seq is judged like this:

    the next one                        accepted
    greater: some frames are missing    accepted, but with a Gap: the books are STALE until repaired
    the last one again                  ignored as a duplicate
    lower, and in the hole              ignored as late: the gap has been reported
    lower, and not in the hole          ignored, with a Gap ("sequence went back"): very late, or the exchange
                                        counts from 1 again; the next frame will tell

A snapshot that was requested may repeat the last number instead of taking its own; it is accepted once,
because then its book is LIVE and no longer waits for it. Replies take a number too, or repeat the last one;
the session finds out which from the first reply that repeats. A book message without a seq is unreadable. On
other channels such frames are accepted without a check.

After a frame that cannot be read, or a seq that went back, the count is *lost* (`next_seq` is None): the next
frame's number is accepted whatever it is, unless it is below `floor`, and the count continues from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from ..books.book import Book, BookStatus, NegativeSize
from ..errors import ProtocolError
from ..messages import (
    Decoder,
    ErrorMessage,
    MarketLifecycle,
    Message,
    MultivariateMarketLifecycle,
    Ok,
    OrderbookDelta,
    OrderbookSnapshot,
    Subscribed,
    Ticker,
    Trade,
    UnknownMessage,
    Unsubscribed,
)
from ..messages.decoder import undecodable
from ..messages.values import OTHER_SIDE, PRICES, SIZES, new_size_units
from .channels import ALL_MARKETS, BOOK_CHANNEL
from .cross_check import CrossCheck
from .left_out import LeftOut
from .listen_only import ListenOnly
from .memory import CrossCheckMemory, OutputMemory, RepairMemory, SessionMemory
from .output import Output
from .reconciler import Reconciler
from .repair import Repair
from .server_subscription import ServerSubscription
from .timing import Timing
from .unknown_markets import UnknownMarkets
from .wanted import Wanted

__all__ = ["Session"]

# At most this many missing seqs are remembered as late; a larger jump was a bogus number.
_LONGEST_HOLE: Final = 1_000


class Session:
    """One feed's session across all its connections. Not thread-safe; owned by the reader.

    ``books`` holds the book of every wanted market; users change ``wanted`` between two calls.
    ``listen_only``: the commands are another program's, see ListenOnly. ``strict=False``: missing seqs mean
    nothing, because only some of the frames were recorded. ``asks_again``: see UnknownMarkets. ``describe``
    gets what is said about markets.
    """

    def __init__(
        self,
        books: Mapping[str, Book],
        wanted: Wanted,
        *,
        use_yes_price: bool = True,
        timing: Timing | None = None,
        listen_only: bool = False,
        strict: bool = True,
        asks_again: bool = True,
        describe: Callable[[MarketLifecycle | MultivariateMarketLifecycle], object] = lambda message: None,
    ) -> None:
        self._books = books
        self._wanted = wanted
        self._timing = timing or Timing()
        self._strict = strict
        self._describe = describe
        self.decoder = Decoder(use_yes_price)
        self._connected_at: float | None = None  # None: no connection
        self._replies_repeat = False  # whether this exchange's replies repeat the last seq, see the module
        self.output = Output(self._timing.faults_a_second)
        self.reconciler = (ListenOnly if listen_only else Reconciler)(
            wanted, self.output, self._timing, use_yes_price, self
        )
        self.repair = Repair(books, self.output, self._timing)
        self.cross_check = CrossCheck(books, self.output, self._timing)
        self.unknown_markets = UnknownMarkets(books, self.output, self._timing)
        self.unknown_markets.asks_again = asks_again
        self.left_out = LeftOut(self.output, self._timing)

    # -- the connection --------------------------------------------------------------------------------------

    def connected(self, now: float) -> None:
        """There is a connection: subscribe to everything that is wanted."""
        self._connected_at = now
        self.output.give_up = None
        self.reconciler.connected(now)

    def save(self, memory: SessionMemory) -> None:
        """Write what matters between two inputs into ``memory``, except for ``books`` and ``wanted``."""
        self.reconciler.save(memory)
        memory.connected_at = self._connected_at
        self.left_out.save(memory)
        memory.replies_repeat = self._replies_repeat
        memory.repair = self.repair.save()
        memory.cross_check = self.cross_check.save()
        memory.unknown_markets = self.unknown_markets.save()
        memory.output = self.output.save()

    def restore(self, memory: SessionMemory, now: float) -> None:
        """Continue from ``memory``; ``books`` and ``wanted`` are as they were when it was saved.

        Sends nothing. If no repair was saved, missing snapshots are looked for later.
        """
        self._connected_at = memory.connected_at
        self.left_out.restore(memory)
        self._replies_repeat = memory.replies_repeat
        self.reconciler.restore(memory, online=memory.connected_at is not None)
        self.repair.restore(memory.repair or RepairMemory())
        self.cross_check.restore(memory.cross_check or CrossCheckMemory())
        self.unknown_markets.restore(memory.unknown_markets)
        self.output.restore(memory.output or OutputMemory())
        if memory.repair is None and memory.connected_at is not None:
            self.repair.expect(now)

    @property
    def next_id(self) -> int:
        """The id of the next command. A replay sets the recorded one."""
        return self.reconciler.next_id

    @next_id.setter
    def next_id(self, id_: int) -> None:
        self.reconciler.next_id = id_

    def open_subscriptions(self) -> tuple[tuple[str, int], ...]:
        """The channels that are open at the exchange, as (channel, sid)."""
        return tuple(
            (one.name, one.sid)
            for one in self.reconciler.subscriptions
            if one.is_open and one.sid is not None
        )

    def disconnected(self, now: float) -> bool:
        """The connection is gone: no book is LIVE. Returns whether it was a healthy one (see Timing)."""
        lasted = now - self._connected_at if self._connected_at is not None else 0.0
        healthy = lasted >= self._timing.healthy or (lasted >= self._timing.healthy_live and self._all_live())
        self._connected_at = None
        self.repair.mark_stale(self.repair.live())
        self.reconciler.disconnected()
        self.repair.reset()
        self.cross_check.reset()
        self.left_out.reset()
        return healthy

    def tick(self, now: float) -> None:
        """Do what is due, and what users have asked for since the last call."""
        self.reconciler.tick(now)
        self.repair.tick(self.reconciler, now)
        self.unknown_markets.tick(self.reconciler, now)
        if self.cross_check.next_deadline() <= now:
            for ticker in self.cross_check.tick(self.reconciler, now):
                text = f"the book of {ticker} looks wrong, and no snapshot has come to check it"
                self._fault_one_market(ticker, "doubted_book", text, None, now)

    def fell_behind(self, now: float) -> None:
        """More has arrived than was read, and answers may be among it: nothing counts as overdue for a while.

        So a slow callback that holds up the reader (overflow="block") does not cost the connection.
        """
        self.reconciler.not_overdue_before = now + self._timing.ack
        self.repair.not_overdue_before = self.cross_check.not_overdue_before = now + self._timing.snapshot

    def arriving(self, since: float | None, now: float) -> None:
        """Note since when an incomplete message has been arriving (session's clock; None: there is none).

        Whatever we wait for can only come after it, so nothing is overdue while a large one arrives (N40).
        """
        if since is not None and now - since > self._timing.large_message:
            self.fell_behind(now)

    def slept(self, seconds: float, last_byte_at: datetime, now: float) -> None:
        """The machine slept while ``now`` stood still: no book is LIVE until its next snapshot (N44).

        The exchange may have gone on without us for ``seconds``, and every book is that much older.
        ``last_byte_at`` is when the last byte came before.
        """
        for book in self._books.values():
            if book.updated is not None and book.updated < now:
                book.updated -= seconds
        live, subscription = self.repair.live(), self.reconciler.subscriptions.get(BOOK_CHANNEL)
        if live and subscription is not None:
            self.repair.gap(
                subscription, None, None, f"the machine slept for {seconds:.0f} s", now, live, last_byte_at
            )
        self.repair.mark_stale(live)

    def next_deadline(self) -> float:
        """When tick() must be called next if nothing else happens; infinity for never."""
        parts = (self.reconciler, self.repair, self.cross_check, self.unknown_markets)
        return min(part.next_deadline() for part in parts)

    @property
    def connected_at(self) -> float | None:
        """When the connection was made (time.monotonic()); None without one."""
        return self._connected_at

    def confirmed(self, channel: str, keys: Iterable[str]) -> bool:
        """Whether the exchange has confirmed ``keys`` (or ALL_MARKETS) of the channel on this connection."""
        if self.reconciler.settled(channel):
            return True
        subscription = self.reconciler.subscriptions.get(channel)
        return subscription is not None and (
            subscription.confirmed == ALL_MARKETS or subscription.confirmed.issuperset(keys)
        )

    def markets_of(self, channel: str) -> tuple[str, ...] | None:
        """The confirmed markets of the channel, empty for all of them; None if nothing is confirmed.

        The same tuple as long as they do not change.
        """
        subscription = self.reconciler.subscriptions.get(channel)
        return subscription.named() if subscription is not None and subscription.confirmed else None

    def sid_of(self, channel: str) -> int | None:
        """The channel's sid on this connection; None if it is not known."""
        subscription = self.reconciler.subscriptions.get(channel)
        return subscription.sid if subscription is not None else None

    # -- the data --------------------------------------------------------------------------------------------

    def receive(self, payloads: Sequence[bytes], now: float) -> None:
        """Process the text messages of one read, in order. Never raises for anything the exchange sends.

        Nearly every frame of a busy feed is the next delta of a LIVE book, a ticker or a trade. The loop
        handles exactly these, with the sid and the next seq of the books' subscription in local variables.
        Every other frame goes through take(), with the seq written back before it and read again after it,
        because take() may change anything.
        """
        books, items, live = self._books, self.output.items, BookStatus.LIVE
        prices, sizes = PRICES.get, SIZES.get
        delta_type, yes_price = self.decoder.delta_type, self.decoder.use_yes_price
        subscription, sid, expected = self._book_subscription()
        by_sid, compare = self.reconciler.subscriptions.by_sid, self.cross_check.compare
        others = other_bytes = 0
        tickers: list[int] = []  # their sizes in bytes
        trades: list[int] = []
        for message, payload in zip(self.decoder.decode_batch(payloads), payloads, strict=True):
            # The next delta of a LIVE book. take() gets one that cannot be applied.
            if type(message) is delta_type and message.seq == expected and message.sid == sid:
                body = message.msg
                book = books.get(body.market_ticker)
                if book is not None and book.status is live:
                    price, size = prices(body.price_dollars), sizes(body.delta_fp)  # type: ignore[arg-type]  # None is in neither
                    if size is None and body.delta_fp is not None:
                        size = new_size_units(body.delta_fp)
                    try:
                        if price is None or size is None:  # unusual strings
                            price, size = message.units()
                        elif yes_price and body.side == "no":
                            price = OTHER_SIDE[price]
                        book.apply(body.side, price, size, expected, body.clock, now)
                    except ValueError:
                        pass
                    else:
                        expected += 1
                        items.append(message)
                        continue
            others += 1
            other_bytes += len(payload)
            # The next trade or ticker of its subscription. take() gets one with an unreadable amount.
            if type(message) is Trade or (type(message) is Ticker and not message.extra_json):
                quoting = by_sid.get(message.sid)  # type: ignore[arg-type]  # None is not in it
                if quoting is not None and quoting is not subscription and quoting.is_next(message.seq):
                    (trades if type(message) is Trade else tickers).append(len(payload))
                    items.append(message)
                    if message.msg.market_ticker in books:
                        compare(message, now)
                    continue
            if subscription is not None:
                subscription.next_seq = expected
            self.take(message, len(payload), now)
            subscription, sid, expected = self._book_subscription()
        if subscription is not None:
            subscription.next_seq = expected
        if others < len(payloads):
            self.output.counts.add(
                OrderbookDelta.type, sum(map(len, payloads)) - other_bytes, len(payloads) - others
            )
        if tickers:
            self.output.counts.add(Ticker.type, sum(tickers), len(tickers))
        if trades:
            self.output.counts.add(Trade.type, sum(trades), len(trades))
        self.cross_check.has_news = True

    def _book_subscription(self) -> tuple[ServerSubscription | None, int | None, int]:
        """The books' subscription, its sid and its next seq; None, None and -1 if either is not known."""
        subscription = self.reconciler.subscriptions.get(BOOK_CHANNEL)
        if subscription is None or subscription.sid is None or subscription.next_seq is None:
            return None, None, -1
        return subscription, subscription.sid, subscription.next_seq

    def take(self, message: Message | ProtocolError, size: int, now: float) -> None:
        """Process one message of any kind, ``size`` bytes long. A replay calls this for each message."""
        self.cross_check.has_news = True
        kind = "unreadable" if isinstance(message, ProtocolError) else message.type
        self.output.counts.add(kind, size)
        if isinstance(message, ProtocolError):
            self._unreadable(message, now)
        elif isinstance(message, OrderbookDelta):
            if self._sequenced(message, now):
                self._delta(message, now)
        else:
            self._other(message, now)

    def _delta(self, message: OrderbookDelta, now: float) -> None:
        """Apply a delta that is in sequence to its book."""
        body = message.msg
        book = self._books.get(body.market_ticker)
        if book is None or book.status is not BookStatus.LIVE:
            self._delta_before_snapshot(message, book, now)
            return
        try:
            price, size = message.units()
            book.apply(body.side, price, size, message.seq, body.clock, now)
        except NegativeSize as error:
            self._fault_one_market(
                body.market_ticker, "negative_size", str(error), error.with_traceback(None), now
            )
        except ValueError as error:
            broken = undecodable(message, error)
            self._fault_one_market(body.market_ticker, "protocol", str(broken), broken, now)
        else:
            self.output.items.append(message)

    def _other(self, message: Message, now: float) -> None:
        """Process anything but a delta."""
        if isinstance(message, OrderbookSnapshot):
            try:
                sides = message.book_sides()
            except ValueError as error:
                self._unreadable(undecodable(message, error), now)
                return
            if self._sequenced(message, now):
                self._snapshot(message, *sides, now)
        elif isinstance(message, Subscribed):
            self.reconciler.subscribed(message, now)
            self.output.items.append(message)
        elif isinstance(message, (Ok, Unsubscribed, ErrorMessage)):
            self._reply(message, now)
        elif self._sequenced(message, now):
            self.output.items.append(message)
            if isinstance(message, (Ticker, Trade)):
                self.cross_check.compare(message, now)
            elif isinstance(message, (MarketLifecycle, MultivariateMarketLifecycle)):
                self.unknown_markets.announced(message)
                self._describe(message)
            self.left_out.unread_amount(message, now)

    def _reply(self, message: Ok | Unsubscribed | ErrorMessage, now: float) -> None:
        """Check a reply's seq, and pass it on: on a sequenced channel, replies take a number too.

        Some exchanges repeat the last number instead (PROTOCOL.md 5.2). Once a reply to one of our commands
        has done so, a reply with the *next* number means that the frame it repeats was lost.
        """
        subscription = self.reconciler.subscriptions.of_sid(message.sid)
        if subscription is not None and subscription.rule.sequenced and message.seq is not None:
            if message.seq + 1 == subscription.next_seq:
                self._replies_repeat = self._replies_repeat or message.id in self.reconciler.in_flight
            elif self._replies_repeat and message.seq == subscription.next_seq:
                # it repeats the number of a frame that was lost
                self.repair.gap(subscription, subscription.next_seq, message.seq + 1, "sequence gap", now)
                subscription.next_seq = message.seq + 1
            else:
                self._in_sequence(subscription, message.seq, now)
        if isinstance(message, Ok):
            self.reconciler.ok(message, now)
        elif isinstance(message, Unsubscribed):
            self.reconciler.unsubscribed(message, now)
        else:
            self.reconciler.error(message, now)
        self.output.items.append(message)

    def _snapshot(
        self, message: OrderbookSnapshot, yes: dict[int, int], no: dict[int, int], now: float
    ) -> None:
        """Any snapshot replaces the book, requested or not; a missing side is empty (PROTOCOL.md 5.5)."""
        ticker = message.market_ticker
        if not self._wanted.wants_book(ticker):
            self.left_out.unwanted(message, now)
            return
        book, subscription = self._books[ticker], self.reconciler.subscriptions[BOOK_CHANNEL]
        is_unknown = message.market_id == "" and not (yes or no)
        if not is_unknown and not self.unknown_markets.admits(ticker, subscription):
            self.output.counts.ignored["unknown_market"] += 1
            return
        if self.cross_check.answered(book, yes, no) and not is_unknown:
            text = f"the book of {ticker} was wrong although no seq was missing: a fresh snapshot differs"
            self._fault_one_market(ticker, "doubted_book", text, None, now)
        before = book.status
        self.output.items.append(message)
        if is_unknown:
            self.unknown_markets.take(book, message, subscription, now)
        else:
            book.replace(yes, no, message.seq, message.clock, now)
        self.left_out.forget((ticker,))
        if book.status is not before:
            self.output.status_changed.add(ticker)
        if before is not BookStatus.LIVE:
            self.repair.answered(ticker, self.reconciler, now)

    def ignored_binary(self, count: int, now: float) -> None:
        """Report and ignore ``count`` binary frames."""
        for _ in range(count):
            self.output.fault("binary_frame", "a binary frame is ignored: the exchange sends text", now)
            self.left_out.bad_frame(now)

    # -- sequence --------------------------------------------------------------------------------------------

    def _sequenced(self, message: Message, now: float) -> bool:
        """Whether a data frame can be used: it belongs to one of our subscriptions and is in sequence."""
        subscription = self.reconciler.subscriptions.of_frame(message.sid, message.type)
        if subscription is None:
            if isinstance(message, UnknownMessage) and message.sid is None:
                return True
            self.left_out.unknown_sid(message, message.sid in self.reconciler.subscriptions.retired, now)
            return False
        if isinstance(message, (OrderbookDelta, OrderbookSnapshot)) and subscription.name != BOOK_CHANNEL:
            self._wrong_channel(subscription, message, now)
            return False
        if not subscription.rule.sequenced:
            return True
        if message.seq is not None:
            is_answer = isinstance(message, OrderbookSnapshot) and self.repair.awaits(message.market_ticker)
            if is_answer and message.seq + 1 == subscription.next_seq:
                return True  # it repeats the last seq; a second copy finds its book LIVE, and is a duplicate
            return self._in_sequence(subscription, message.seq, now)
        if isinstance(message, (OrderbookDelta, OrderbookSnapshot)):
            self._unreadable(undecodable(message, ValueError("seq is missing")), now)
            return False
        return True  # until 2026 such frames had no seq: there is nothing to check

    def _in_sequence(self, subscription: ServerSubscription, seq: int, now: float) -> bool:
        """Apply the sequence rules (see the module); return whether the frame with ``seq`` can be used."""
        expected = subscription.next_seq
        if expected is None and seq < subscription.floor:
            self.output.counts.ignored["late"] += 1
            return False
        if expected is None or seq == expected or (seq > expected and not self._strict):
            subscription.next_seq = seq + 1
            return True
        if seq > expected:
            subscription.next_seq = seq + 1
            if subscription.name == BOOK_CHANNEL:  # other channels have no repair
                subscription.hole = range(max(expected, seq - _LONGEST_HOLE), seq)
            self.repair.gap(subscription, expected, seq, "sequence gap", now)
            return True
        if seq == expected - 1:
            self.output.counts.ignored["duplicate"] += 1
        elif seq in subscription.hole:
            self.output.counts.ignored["late"] += 1
        else:  # very late, or the exchange has started over: the next frame will tell
            subscription.lose_count()
            self.repair.gap(subscription, expected, seq, "sequence went back", now)
        return False

    def _wrong_channel(self, subscription: ServerSubscription, message: Message, now: float) -> None:
        """A book message under the sid of a channel without books: count its seq, and ignore it."""
        if subscription.rule.sequenced and message.seq is not None:
            self._in_sequence(subscription, message.seq, now)
        self.left_out.other_channel(message, subscription, now)

    def _delta_before_snapshot(self, message: OrderbookDelta, book: Book | None, now: float) -> None:
        """A delta for a book that is not LIVE is neither applied nor delivered."""
        market_ticker = message.market_ticker
        if book is None or not self._wanted.wants_book(market_ticker):
            self.left_out.unwanted(message, now)
        elif book.status is BookStatus.STALE:
            self.output.counts.ignored["stale_book"] += 1
        elif book.status is BookStatus.UNKNOWN:
            self.output.counts.ignored["unknown_market"] += 1
            self.unknown_markets.ask_soon(market_ticker)
        elif self.left_out.has_no_snapshot(market_ticker, self.reconciler.waits_for(market_ticker)):
            text = f"a delta of {market_ticker} before its snapshot"
            self._fault_one_market(market_ticker, "delta_before_snapshot", text, None, now)

    # -- what goes wrong -------------------------------------------------------------------------------------

    def _unreadable(self, error: ProtocolError, now: float) -> None:
        """Report an unreadable frame, and treat everything that it may have changed as missing.

        The more of its envelope could be read, the less that is. With sid, seq and market: that market.
        Without the market: every book of the sid. Without the seq: the count of the sid is lost as well.
        Without the sid: all of that for every open subscription.
        """
        subscriptions = self.reconciler.subscriptions
        self.output.fault("protocol", str(error), now, error, frame=error.frame)
        if self.output.give_up is not None:
            return  # the connection ends with this turn, and there may be thousands of such frames
        subscription = subscriptions.of_sid(error.sid)
        if error.sid is None:
            self.left_out.bad_frame(now)
            for subscription in subscriptions:
                if subscription.is_open or subscription.sid is not None:
                    self._break_sequence(subscription, error, now)
        elif subscription is not None:
            if error.seq is None:
                self._break_sequence(subscription, error, now)
            elif subscription.rule.sequenced and self._in_sequence(subscription, error.seq, now):
                known = error.market_ticker in subscription.confirmed
                self.repair.gap(
                    subscription,
                    error.seq,
                    None,
                    "unreadable frame",
                    now,
                    (error.market_ticker or "",) if known else None,
                )

    def _break_sequence(self, subscription: ServerSubscription, error: ProtocolError, now: float) -> None:
        """The frame may have been this subscription's: accept any next seq, and repair its books."""
        if subscription.rule.sequenced:
            expected = subscription.next_seq
            subscription.lose_count(subscription.floor if expected is None else expected)
            self.repair.gap(subscription, expected, error.seq, "unreadable frame", now)

    def _fault_one_market(
        self, market_ticker: str, kind: str, text: str, error: Exception | None, now: float
    ) -> None:
        """Something is wrong with one market only: report it, and repair its book."""
        self.output.fault(kind, text, now, error, market_ticker=market_ticker)
        subscription = self.reconciler.subscriptions[BOOK_CHANNEL]
        self.repair.gap(subscription, None, None, kind.replace("_", " "), now, (market_ticker,))

    # -- what the reconciler reports (Listener) --------------------------------------------------------------

    def snapshots_due(self, now: float) -> None:
        """Give the snapshots time, then ask for those that are missing. See Listener."""
        self.repair.expect(now)

    def subscription_died(self, subscription: ServerSubscription, reason: str, now: float) -> None:
        """Report a Gap; the books are STALE until the next subscription brings snapshots. See Listener."""
        self.repair.gap(subscription, None, None, reason, now)

    def markets_left(
        self, subscription: ServerSubscription, market_tickers: Iterable[str] | None, now: float
    ) -> None:
        """Make those of them STALE that are LIVE. See Listener."""
        self.repair.left(subscription, market_tickers, "no longer subscribed", now)

    def repair_refused(self, code: int, is_passing: bool, now: float) -> None:
        """Ask again a little later, or climb one rung. See Listener."""
        self.repair.refused(code, is_passing, self.reconciler, now)

    def books_unwanted(self, market_tickers: Iterable[str]) -> None:
        """Close these books and forget everything about their markets. See Listener."""
        tickers = tuple(market_tickers)
        self.repair.forget(tickers)
        self.left_out.forget(tickers)
        for ticker in tickers:
            self.cross_check.forget(ticker)
            self.unknown_markets.forget(ticker)
            book = self._books.get(ticker)
            if book is not None and book.set_status(BookStatus.CLOSED):
                self.output.status_changed.add(ticker)

    def _all_live(self) -> bool:
        channel = self._wanted.channels.get(BOOK_CHANNEL)
        right = (BookStatus.LIVE, BookStatus.UNKNOWN)
        return channel is None or all(self._books[ticker].status in right for ticker in channel.holders)
