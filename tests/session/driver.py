"""Drives a session without sockets, threads or clocks: a Venue plays the exchange, a Driver plays the reader.

After every step, the Driver audits what must always hold: no delta without its base, no command forgotten, no
deadline in the past, and every LIVE book equal to the venue's at its seq.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from kalshi_feed.books.book import Book, BookStatus
from kalshi_feed.events import Event, FeedFault, Gap
from kalshi_feed.messages import Message, OrderbookDelta, OrderbookSnapshot
from kalshi_feed.session.channels import CHANNELS
from kalshi_feed.session.session import Session
from kalshi_feed.session.timing import Timing
from kalshi_feed.session.wanted import ListBox, Want, Wanted

__all__ = [
    "BOOK", "Driver", "Frame", "Levels", "Venue",
    "delta", "encoded", "error", "ok", "snapshot", "subscribed", "ticker", "trade", "unsubscribed",
]  # fmt: skip

BOOK = "orderbook_delta"
Frame = dict[str, Any]
Levels = dict[str, dict[int, int]]  # side: own price in 1/10,000 dollar: size in 1/100 contract


# -- frames as the exchange writes them ----------------------------------------------------------------------


def subscribed(id: int | None, channel: str, sid: int) -> Frame:
    return {"id": id, "type": "subscribed", "msg": {"channel": channel, "sid": sid}}


def ok(
    id: int | None, sid: int | None = None, seq: int | None = None, tickers: Iterable[str] | None = None
) -> Frame:
    msg = {"market_tickers": list(tickers)} if tickers is not None else None
    return {"id": id, "type": "ok", "sid": sid, "seq": seq, "msg": msg}


def unsubscribed(id: int | None, sid: int | None, seq: int | None = None) -> Frame:
    return {"id": id, "type": "unsubscribed", "sid": sid, "seq": seq}


def error(code: int, id: int | None = None, sid: int | None = None, **more: Any) -> Frame:
    return {
        "id": id,
        "type": "error",
        "sid": sid,
        "seq": more.pop("seq", None),
        "msg": {"code": code, "msg": "no", **more},
    }


def snapshot(
    market_ticker: str,
    sid: int | None,
    seq: int | None,
    levels: Levels | None = None,
    use_yes_price: bool = True,
    **more: Any,
) -> Frame:
    """Without levels both sides are absent, as for an empty book."""
    msg: dict[str, Any] = {"market_ticker": market_ticker, "market_id": "u", **more}
    for side, prices in (levels or {}).items():
        scale = 10_000 if side == "no" and use_yes_price else 0
        msg[f"{side}_dollars_fp"] = [[_price(abs(scale - p)), _size(size)] for p, size in prices.items()]
    return {"type": "orderbook_snapshot", "sid": sid, "seq": seq, "msg": msg}


def delta(
    market_ticker: str,
    sid: int | None,
    seq: int | None,
    size: int = 100,
    price: int = 4000,
    side: str = "yes",
    **more: Any,
) -> Frame:
    """``size`` is in 1/100 contract; ``price`` is the side's own, and written on the yes scale."""
    wire = 10_000 - price if side == "no" else price
    msg = {
        "market_ticker": market_ticker,
        "side": side,
        "price_dollars": _price(wire),
        "delta_fp": _size(size),
        **more,
    }
    return {"type": "orderbook_delta", "sid": sid, "seq": seq, "msg": msg}


def trade(market_ticker: str, sid: int | None, seq: int | None, price: int = 4000, **more: Any) -> Frame:
    msg = {
        "market_ticker": market_ticker,
        "yes_price_dollars": _price(price),
        "no_price_dollars": _price(10_000 - price),
        "count_fp": "1.00",
        **more,
    }
    return {"type": "trade", "sid": sid, "seq": seq, "msg": msg}


def ticker(market_ticker: str, sid: int | None, **more: Any) -> Frame:
    return {
        "type": "ticker",
        "sid": sid,
        "msg": {"market_ticker": market_ticker, "price_dollars": "0.4000", **more},
    }


def _price(units: int) -> str:
    return f"{units / 10_000:.4f}"


def _size(units: int) -> str:
    return f"{units / 100:.2f}"


# -- the exchange --------------------------------------------------------------------------------------------


class Subscription:
    """One sid of the venue."""

    def __init__(self, channel: str, sid: int, keys: Iterable[str]) -> None:
        self.channel = channel
        self.sid = sid
        self.keys = dict.fromkeys(keys)
        self.deaf: set[str] = (
            set()
        )  # keys that were unknown when they were added: no deltas are sent for them
        self.seq = 0

    def next_seq(self) -> int | None:
        if not CHANNELS[self.channel].sequenced:
            return None
        self.seq += 1
        return self.seq


class Venue:
    """The exchange: true books, and the answers of PROTOCOL.md to commands. One connection at a time."""

    def __init__(self) -> None:
        self.books: dict[str, Levels] = {}
        self.history: dict[tuple[int, str], dict[int, Levels]] = {}  # (sid, market): the book after each seq
        self.subscriptions: dict[str, Subscription] = {}
        self.mute: set[str] = set()  # markets that get no snapshot
        self.unknown: set[str] = set()  # markets that do not exist
        self.ignored: set[str] = set()  # commands that get no answer
        self.refused: dict[str, int] = {}  # commands that get an error
        self.counts_replies = True  # whether ok and unsubscribed use up a number or repeat the last one
        self._next_sid = 1

    def reset(self) -> None:
        """A new connection."""
        self.subscriptions.clear()
        self.history.clear()
        self._next_sid = 1

    def answer(self, command: Frame) -> list[Frame]:
        """The frames that a command draws, in order."""
        cmd, id_, params = command["cmd"], command["id"], command.get("params", {})
        action = params.get("action", cmd)
        if action in self.ignored:
            return []
        if action in self.refused:
            return [error(self.refused[action], id_)]
        if cmd == "subscribe":
            return self._subscribe(id_, params)
        if cmd == "list_subscriptions":
            found = [{"channel": s.channel, "sid": s.sid} for s in self.subscriptions.values()]
            return [{"id": id_, "type": "ok", "msg": found}]
        by_sid = {s.sid: s for s in self.subscriptions.values()}
        subscription = by_sid.get(params["sids"][0])
        if subscription is None:
            return [error(7, id_)]
        if cmd == "unsubscribe":
            del self.subscriptions[subscription.channel]
            return [unsubscribed(id_, subscription.sid, self._reply_seq(subscription))]
        keys = next(v for k, v in params.items() if k not in ("sids", "action", "send_initial_snapshot"))
        if action == "get_snapshot":
            return [self._snapshot(subscription, key) for key in keys if key not in self.mute]
        if action == "delete_markets":
            for key in keys:
                subscription.keys.pop(key, None)
                subscription.deaf.discard(key)
            return [self._ok(id_, subscription)]
        new = [key for key in keys if key not in subscription.keys]
        subscription.keys.update(dict.fromkeys(new))
        return [self._ok(id_, subscription), *self._snapshots(subscription, new)]

    def _subscribe(self, id_: int, params: Frame) -> list[Frame]:
        (channel,) = params["channels"]
        keys = next((v for k, v in params.items() if isinstance(v, list) and k != "channels"), [])
        subscription = self.subscriptions.get(channel)
        if subscription is not None:
            new = [key for key in keys if key not in subscription.keys]
            subscription.keys.update(dict.fromkeys(new))
            return [self._ok(id_, subscription), *self._snapshots(subscription, new)]
        subscription = self.subscriptions[channel] = Subscription(channel, self._next_sid, keys)
        self._next_sid += 1
        return [subscribed(id_, channel, subscription.sid), *self._snapshots(subscription, keys)]

    def _ok(self, id_: int, subscription: Subscription) -> Frame:
        return ok(id_, subscription.sid, self._reply_seq(subscription), subscription.keys)

    def change(self, market_ticker: str, size: int, price: int = 4000, side: str = "yes") -> list[Frame]:
        """Change the true book (1/100 contract); return the frames about it."""
        levels = self.books.setdefault(market_ticker, {"yes": {}, "no": {}})[side]
        size = max(size, -levels.get(price, 0))
        levels[price] = levels.get(price, 0) + size
        if not levels[price]:
            del levels[price]
        subscription = self.subscriptions.get(BOOK)
        if (
            subscription is None
            or market_ticker not in subscription.keys
            or market_ticker in subscription.deaf
        ):
            return []
        seq = subscription.next_seq()
        self._record(subscription, market_ticker, seq)
        return [delta(market_ticker, subscription.sid, seq, size, price, side)]

    def _snapshots(self, subscription: Subscription, keys: Iterable[str]) -> list[Frame]:
        if subscription.channel != BOOK:
            return []
        subscription.deaf |= self.unknown.intersection(keys)
        return [self._snapshot(subscription, key) for key in keys if key not in self.mute]

    def _snapshot(self, subscription: Subscription, market_ticker: str) -> Frame:
        seq = subscription.next_seq()
        self._record(subscription, market_ticker, seq)
        if market_ticker in self.unknown:
            return snapshot(market_ticker, subscription.sid, seq, market_id="")
        return snapshot(market_ticker, subscription.sid, seq, self.books.get(market_ticker))

    def _record(self, subscription: Subscription, market_ticker: str, seq: int | None) -> None:
        assert seq is not None
        levels = self.books.get(market_ticker, {"yes": {}, "no": {}})
        states = self.history.setdefault((subscription.sid, market_ticker), {})
        states[seq] = {side: dict(prices) for side, prices in levels.items()}

    def _reply_seq(self, subscription: Subscription) -> int | None:
        if not CHANNELS[subscription.channel].sequenced:
            return None
        return subscription.next_seq() if self.counts_replies else subscription.seq


# -- the reader ----------------------------------------------------------------------------------------------


class Driver:
    """A session with its books and subscriptions; only the test moves its time."""

    def __init__(self, timing: Timing | None = None, use_yes_price: bool = True) -> None:
        self.timing = timing or Timing(pace=0.0)  # most tests are not about this
        self.now = 1000.0
        self.books: dict[str, Book] = {}
        self.wanted = Wanted()
        self.session = Session(self.books, self.wanted, timing=self.timing, use_yes_price=use_yes_price)
        self.venue = Venue()
        self.inbox: list[Frame] = []  # commands sent, not yet looked at
        self.delivered: list[Message | Event] = []  # delivered, not yet looked at
        self.all_sent: list[Frame] = []
        self._based: set[str] = set()  # markets whose deltas may be delivered
        self._statuses: dict[str, BookStatus] = {}  # as reported
        self._versions: dict[str, int] = {}  # as audited

    # what users do

    def want(
        self, channels: str | tuple[str, ...], *keys: str, selector: str | None = None, **options: Any
    ) -> Want:
        names = (channels,) if isinstance(channels, str) else channels
        want = Want(names, selector or ("market_tickers" if keys else None), keys, options)
        self._open(self.wanted.add(want))
        return want

    def add(self, want: Want, *keys: str) -> None:
        self._open(self.wanted.add_keys(want, keys))

    def delete(self, want: Want, *keys: str) -> None:
        self.session.books_unwanted(self.wanted.delete_keys(want, keys))

    def unwant(self, want: Want) -> None:
        self.session.books_unwanted(self.wanted.remove(want))

    def list_subscriptions(self) -> ListBox:
        box: ListBox = []
        self.wanted.lists.append(box)
        return box

    def _open(self, tickers: Iterable[str]) -> None:
        for ticker_ in tickers:
            self.books.setdefault(ticker_, Book(ticker_)).set_status(BookStatus.PENDING)

    # what the reader does

    def connect(self) -> list[Frame]:
        """A new connection; returns the commands it draws."""
        self.venue.reset()
        self.session.connected(self.now)
        return self.turn()

    def disconnect(self) -> bool:
        healthy = self.session.disconnected(self.now)
        self._based.clear()
        self.session.output.outbox.clear()
        self.inbox.clear()
        self._collect()
        return healthy

    def turn(self, *frames: Frame | bytes) -> list[Frame]:
        """One read of the reader; returns the commands it draws, each of them once."""
        payloads = [frame if isinstance(frame, bytes) else encoded(frame) for frame in frames]
        if payloads:
            self.session.receive(payloads, self.now)
        self.session.tick(self.now)
        self._collect()
        self._audit()
        sent, self.inbox = self.inbox, []
        return sent

    def pass_time(self, seconds: float) -> list[Frame]:
        """Let time pass, waking at each deadline as the reader does; return the commands sent meanwhile."""
        until, sent = self.now + seconds, []
        while self.session.next_deadline() <= until and self.give_up is None:
            self.now = max(self.now, self.session.next_deadline())
            sent += self.turn()
        self.now = until
        return sent + self.turn()

    def play(self, commands: list[Frame] | None = None) -> None:
        """Have the venue answer these commands (default: those of a turn) until nothing more is sent."""
        commands = self.turn() if commands is None else commands
        for _ in range(1000):
            if not commands:
                return
            commands = self.turn(*[frame for command in commands for frame in self.venue.answer(command)])
        raise AssertionError("commands go on and on")

    def play_time(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass while the venue answers."""
        until = self.now + seconds
        while self.now < until:
            self.play(self.pass_time(min(step, until - self.now)))

    def change(self, market_ticker: str, size: int = 100, price: int = 4000, side: str = "yes") -> None:
        """Change the venue's book, and let the session receive it."""
        self.play(self.turn(*self.venue.change(market_ticker, size, price, side)))

    def go_live(self, *market_tickers: str) -> Want:
        """Connected, with the books of these markets LIVE; one contract at 0.40 in each."""
        for ticker_ in market_tickers:
            self.venue.change(ticker_, 100)
        want = self.want(BOOK, *market_tickers)
        self.play(self.connect())
        assert self.live() == set(market_tickers)
        self.take()
        return want

    # what can be seen

    def status(self, market_ticker: str) -> str:
        return self.books[market_ticker].status.value

    def live(self) -> set[str]:
        return {name for name, book in self.books.items() if book.status is BookStatus.LIVE}

    def take(self, kind: type = object) -> list[Any]:
        """What was delivered since the last call (of one kind; the rest is dropped)."""
        delivered, self.delivered = self.delivered, []
        return [item for item in delivered if isinstance(item, kind)]

    def faults(self) -> list[str]:
        return [fault.kind for fault in self.take(FeedFault)]

    @property
    def give_up(self) -> str | None:
        return self.session.output.give_up

    @property
    def sid(self) -> int:
        sid = self.session.sid_of(BOOK)
        assert sid is not None
        return sid

    @property
    def seq(self) -> int:
        """Use up the next seq of the venue's book subscription."""
        seq = self.venue.subscriptions[BOOK].next_seq()
        assert seq is not None
        return seq

    def ignored(self, reason: str) -> int:
        return self.session.output.counts.ignored[reason]

    # what must always hold

    def _collect(self) -> None:
        items, changed, outbox = self.session.output.take()
        assert self.session.output.take() == ([], set(), [])
        sent = [json.loads(payload) for payload in outbox]
        self.inbox += sent
        self.all_sent += sent
        for item in items:
            if isinstance(item, Gap) and item.channel == BOOK:
                self._based.difference_update(item.market_tickers)
            elif isinstance(item, OrderbookSnapshot):
                self._based.add(item.market_ticker)
            elif isinstance(item, OrderbookDelta):
                assert item.market_ticker in self._based, f"{item} without a base"
        self.delivered += items
        for name, book in self.books.items():
            is_reported = name in changed or book.status in (self._statuses.get(name), BookStatus.PENDING)
            assert is_reported, f"it was not reported that {book} changed its status"
            self._statuses[name] = book.status

    def _audit(self) -> None:
        session, reconciler = self.session, self.session.reconciler
        for _ in range(3):
            if session.next_deadline() > self.now:
                break
            session.tick(self.now)
            self._collect()
        if self.give_up is None:  # otherwise the reader ends the connection now
            assert session.next_deadline() > self.now, "the reader would spin"
        for subscription in reconciler.subscriptions:
            is_known = (
                subscription.pending is None
                or reconciler.in_flight.get(subscription.pending.id) is subscription.pending
            )
            assert is_known or self.give_up, "a command is forgotten"
            assert (
                subscription.sid is None or reconciler.subscriptions.by_sid[subscription.sid] is subscription
            )
        assert all(subscription.sid == sid for sid, subscription in reconciler.subscriptions.by_sid.items())
        for book in self.books.values():
            if len(self.books) > 100 and self._versions.get(book.market_ticker) == book.version:
                continue  # if there are many, only those that have changed, or some tests would take a minute
            self._versions[book.market_ticker] = book.version
            book._check()
            states = self.venue.history.get((session.sid_of(BOOK) or 0, book.market_ticker), {})
            if book.status is BookStatus.LIVE and book.seq in states:
                assert {"yes": book.yes, "no": book.no} == states[book.seq], f"{book} is wrong at {book.seq}"


def encoded(frame: Frame) -> bytes:
    """JSON as the exchange writes it: None values are left out."""
    return json.dumps({key: value for key, value in frame.items() if value is not None}).encode()
