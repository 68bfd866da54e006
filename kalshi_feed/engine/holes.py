"""The holes in what came over a live feed: from when to when messages of a channel may have been missed.

Owns Holes, which only a feed with ``fill_gaps`` has. It notes what comes on ``trade`` and on the account's
channels, so that it knows which of the messages that REST lists for a hole are missing. A hole begins when
a connection or a subscription is lost, or with a Gap. It ends when the exchange has confirmed its markets
again, which for a gap in the sequence is at once; from then on it can be filled. All times are the
exchange's, in Unix seconds. Pure; guarded by the store's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ..messages import Message
from ..session.channels import ALL_MARKETS
from ..session.session import Session

__all__ = ["CHANNELS", "STATE_CHANNELS", "Hole", "Holes", "Seen", "key_of", "time_of"]

STREAM_CHANNELS: Final = ("trade", "fill")  # each message is an event: those that are missing are delivered
STATE_CHANNELS: Final = ("user_orders", "market_positions")  # each is a state: all are read again
CHANNELS: Final = (*STREAM_CHANNELS, *STATE_CHANNELS)

WINDOW: Final = 30.0  # seconds around a hole for which messages are remembered
OVERLAP: Final = 5.0  # seconds before a hole that are asked for as well: clocks and whole seconds may be off
DISORDER: Final = 0.5  # seconds by which a market's messages may be out of order
_MERGE: Final = 2.0  # seconds; a hole that begins so soon after the one before it is the same one
# seconds after the first connection in which a program may call subscribe() several times
_SUBSCRIBING: Final = 1.0
_MOST_KNOWN: Final = 50_000  # messages remembered for each channel, and for each hole

_KEYS: Final = {
    "trade": "trade_id",
    "fill": "trade_id",
    "user_order": "order_id",
    "market_position": "market_ticker",
}


def key_of(message: Message) -> str | None:
    """What identifies the message on its channel: a trade's id, an order's, a position's market."""
    key = getattr(message, _KEYS[message.type])
    return key if isinstance(key, str) else None


def time_of(message: Message) -> float | None:
    """The message's own time, in Unix seconds; None if it has none."""
    at = getattr(message, "ts_ms", None)
    return at / 1000 if isinstance(at, int) else None


class Seen(NamedTuple):
    """A message that came over the feed: its own time, its market, and when it came."""

    at: float
    market_ticker: str | None
    received: float


class Hole(NamedTuple):
    """A hole that can be filled. Immutable; ``known`` is a copy.

    ``market_tickers`` is empty for all markets. The channel was first confirmed at ``begun``; ``is_exact``
    says that the hole begins before that, exactly where the user has said. From
    ``sure_since`` to ``since`` it was surely connected, and everything that came is in ``known``; the last
    message of each market came at ``latest``. ``extended`` counts how often the hole grew.
    """

    number: int
    channel: str
    market_tickers: tuple[str, ...]
    since: float
    until: float
    begun: float
    is_exact: bool
    sure_since: float
    extended: int
    known: Mapping[str, Seen]
    latest: Mapping[str | None, float]


class _OpenHole:
    """A hole that has not been filled. Guarded by the store's lock."""

    def __init__(
        self,
        number: int,
        channel: str,
        market_tickers: tuple[str, ...],
        since: float,
        begun: float,
        is_exact: bool,
        sure_since: float,
        known: dict[str, Seen],
    ) -> None:
        self.number = number
        self.channel = channel
        self.market_tickers: dict[str, None] | None = dict.fromkeys(market_tickers) or None  # None: all
        self.since = since
        # Where it began at first. If it was extended to before that, it was so for these markets only: of the
        # others, what came before is known no more.
        self._began = since
        self._earlier: dict[str, None] = {}
        self.until: float | None = None  # None until the markets are confirmed again
        self.begun = begun
        self.is_exact = is_exact
        self.sure_since = sure_since
        self.extended = 0
        self.found = 0  # messages delivered so far
        self.known = known
        # by market, the time of the last message that came before: what is older was not missed in here
        self.latest: dict[str | None, float] = {}
        for seen in () if is_exact else known.values():
            self.latest[seen.market_ticker] = max(self.latest.get(seen.market_ticker, 0.0), seen.at)

    def extend(self, market_tickers: tuple[str, ...], since: float, is_exact: bool) -> None:
        """It goes on, for these markets as well; ``since`` may be before its beginning."""
        self.until = None
        if is_exact:
            self.since, self.is_exact, self.latest = since, True, {}
        elif since < self.since:
            self.since = since
            self._earlier.update(dict.fromkeys(market_tickers))
            if not market_tickers:
                self._began = since
        self.extended += 1
        if self.channel in STATE_CHANNELS:
            self.known.clear()  # what came before may be older than what REST says now
        if not market_tickers or self.market_tickers is None:
            self.market_tickers = None
        else:
            self.market_tickers.update(dict.fromkeys(market_tickers))

    def lacks(self, row: Message) -> bool:
        """Whether a message that REST lists was missed in here."""
        if key_of(row) in self.known:
            return False
        at, market = time_of(row), row.market_ticker
        if at is None:
            return True
        if not self.is_exact and market not in self._earlier and at < self._began - OVERLAP:
            return False
        return at >= self.latest.get(market, 0.0) - DISORDER

    def snapshot(self) -> Hole:
        """As it is now; it must have an end."""
        assert self.until is not None
        return Hole(
            self.number,
            self.channel,
            tuple(self.market_tickers or ()),
            self.since,
            self.until,
            self.begun,
            self.is_exact,
            self.sure_since,
            self.extended,
            self.known.copy(),
            self.latest,
        )


class _Recent:
    """What came on a channel in the last WINDOW seconds before its last message."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.complete_since = float("-inf")  # everything since then is in ``seen``
        self._order: deque[tuple[str, float]] = deque()  # keys by the time they came

    def add(self, key: str, seen: Seen) -> None:
        """Note a message, and forget old ones."""
        self.seen[key] = seen
        order = self._order
        order.append((key, seen.received))
        while order[0][1] < seen.received - WINDOW or len(order) > _MOST_KNOWN:
            oldest, received = order.popleft()
            known = self.seen.get(oldest)
            if known is not None and known.received <= received:
                del self.seen[oldest]
            self.complete_since = received


class Holes:
    """The open holes of one feed. Guarded by the store's lock.

    ``clock`` returns the exchange's time, ``last_byte_at`` its time when the connection's last byte came.
    """

    def __init__(self, clock: Callable[[], float], last_byte_at: Callable[[], float]) -> None:
        self._clock = clock
        self._last_byte_at = last_byte_at
        self._last_number = 0
        self._open: dict[str, list[_OpenHole]] = {channel: [] for channel in CHANNELS}  # oldest first
        self._recent = {channel: _Recent() for channel in STREAM_CHANNELS}
        self._last: dict[str, float] = {}  # by channel, when the last message came
        # by channel, the confirmed markets at the last look, and since when they are the same
        self._confirmed: dict[str, tuple[str, ...] | None] = {}
        self._sure: dict[str, float] = {}
        self._joined: dict[str, float] = {}  # by channel, when it was subscribed the last time
        self._begun: dict[str, float] = {}  # and the first time
        # channels that have to be filled once they are confirmed, and since when (None: then)
        self._first: dict[str, float | None] = {}

    # -- what comes over the feed ----------------------------------------------------------------------------

    def heard(self, channel: str, message: Message) -> None:
        """Note a message that came over the feed."""
        key, now = key_of(message), self._clock()
        self._last[channel] = now
        if key is None:
            return
        at = time_of(message)
        self._note(channel, key, Seen(now if at is None else at, message.market_ticker, now))

    def _note(self, channel: str, key: str, seen: Seen) -> None:
        recent = self._recent.get(channel)
        if recent is not None:
            recent.add(key, seen)
        for hole in self._open[channel]:
            is_near = hole.until is None or recent is None or seen.received <= hole.until + WINDOW
            if is_near and len(hole.known) < _MOST_KNOWN:
                hole.known[key] = seen

    def start(self, since: float | None) -> None:
        """The feed starts: states have to be read, and messages have been missed ``since`` then, if given."""
        self._confirmed.clear()
        self._begun.clear()
        self._first = dict.fromkeys(STATE_CHANNELS) if since is None else dict.fromkeys(CHANNELS, since)

    def look(self, session: Session, now: float) -> bool:
        """Note what is confirmed at ``now`` (the session's clock). Returns whether a hole of ``trade`` has
        ended with that."""
        connected_at = session.connected_at
        if connected_at is None:
            return False
        has_ended = False
        if self._first and now >= connected_at + _SUBSCRIBING:
            for channel, since in tuple(self._first.items()):
                markets = session.markets_of(channel)
                if markets is not None and session.reconciler.settled(channel):
                    del self._first[channel]
                    begins = self._clock() if since is None else since
                    self._begin(channel, markets, begins, is_exact=since is not None)
        for channel in CHANNELS:
            markets = session.markets_of(channel)
            before = self._confirmed.get(channel)
            if markets is not before:
                self._confirmed[channel] = markets
                self._sure[channel] = self._clock()
                if markets is not None and before is None:
                    self._joined[channel] = self._clock()
                    self._begun.setdefault(channel, self._joined[channel])
            for hole in self._open[channel]:
                named = hole.market_tickers or ALL_MARKETS
                if hole.until is None and session.confirmed(channel, named):
                    hole.until = self._sure[channel] = max(self._clock(), hole.since)
                    has_ended |= channel == "trade"
        return has_ended

    # -- holes -----------------------------------------------------------------------------------------------

    def gap(self, channel: str, market_tickers: tuple[str, ...]) -> None:
        """Messages of these markets (none named: of all) are missing since the channel's last one."""
        joined = self._joined.get(channel, self._clock())
        self._begin(channel, market_tickers, max(self._last.get(channel, joined), joined))

    def missed(self, channel: str, market_tickers: tuple[str, ...], since: float) -> None:
        """Messages of these markets are missing since then: they are going to be subscribed to too late."""
        self._begin(channel, market_tickers, since)

    def lost(self, confirmed: Mapping[str, tuple[str, ...] | None]) -> None:
        """The connection is lost. ``confirmed``: by channel, the markets that were confirmed on it."""
        for channel, markets in confirmed.items():
            if markets is not None:
                self._begin(channel, markets, self._last_byte_at())
        self._confirmed.clear()

    def _begin(
        self, channel: str, market_tickers: tuple[str, ...], since: float, *, is_exact: bool = False
    ) -> None:
        holes = self._open[channel]
        newest = holes[-1] if holes else None
        # one of which so much was delivered is not asked for again from its beginning
        if newest is not None and max(len(newest.known), newest.found) < _MOST_KNOWN:
            if newest.until is None or since < newest.until + _MERGE:
                newest.extend(market_tickers, since, is_exact)
                return
        recent = self._recent.get(channel)
        begun, sure = self._begun.get(channel, since), self._sure.get(channel, since)
        if recent is not None:
            sure = max(sure, recent.complete_since)
        self._last_number += 1
        known = recent.seen.copy() if recent is not None else {}
        holes.append(
            _OpenHole(self._last_number, channel, market_tickers, since, begun, is_exact, sure, known)
        )

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Number and channel of those that can be filled."""
        return (
            (hole.number, channel)
            for channel, holes in self._open.items()
            for hole in holes
            if hole.until is not None
        )

    def get(self, number: int) -> Hole | None:
        """The hole with this number; None if it is filled, or goes on."""
        hole = self._find(number)
        return None if hole is None or hole.until is None else hole.snapshot()

    def is_current(self, hole: Hole) -> bool:
        """Whether the hole is open, and has not grown."""
        found = self._find(hole.number)
        return found is not None and found.until is not None and found.extended == hole.extended

    def all(self) -> list[Hole]:
        """All holes; those that go on end here."""
        holes = [hole for holes in self._open.values() for hole in holes]
        for hole in holes:
            if hole.until is None:
                hole.until = max(self._clock(), hole.since)
        return [hole.snapshot() for hole in holes]

    def missing(self, number: int, rows: Iterable[Message]) -> list[Message]:
        """Those of REST's messages for the hole that did not come over the feed."""
        hole = self._find(number)
        return [] if hole is None else [row for row in rows if hole.lacks(row)]

    def delivered(self, number: int, count: int) -> int:
        """So many messages that were missing are delivered; returns how many that are in all."""
        hole = self._find(number)
        if hole is None:
            return 0
        hole.found += count
        return hole.found

    def newest(self, channel: str) -> int | None:
        """The number of the newest hole; None if there is none."""
        holes = self._open[channel]
        return holes[-1].number if holes else None

    def close(self, number: int) -> None:
        """The hole is filled, or will not be."""
        hole = self._find(number)
        if hole is not None:
            self._open[hole.channel].remove(hole)

    def _find(self, number: int) -> _OpenHole | None:
        return next((hole for holes in self._open.values() for hole in holes if hole.number == number), None)
