"""What is between session and dispatcher in a feed with ``fill_gaps``: trades wait there after a gap.

Owns Holding. After a hole in ``trade``, the live trades of its markets are held back until REST's answer is
there, so that each market's trades are delivered in order: what was missed, then what was held. They are
released without it when the time is up, when the connection is lost again, and at the end; what REST has then
comes later, out of order. Trades and fills that have come over REST are not delivered again if they also come
over the feed.

What is delivered and when is a function of what is recorded: the session's inputs, REST's answers, and the
moments at which the time was up. So the same class works in a replay, there without ``holes``, which only a
live feed needs. Pure; guarded by the store's lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ..events import Event, Gap, GapFilled
from ..messages import Fill, MarketPosition, Message, Trade, UserOrder
from ..session.channels import ALL_MARKETS
from ..session.session import Session
from .holes import CHANNELS, STREAM_CHANNELS, Hole, Holes, key_of
from .tap import Tap

__all__ = ["Holding", "HoldingMemory"]

_NEVER: Final = float("inf")
_MOST_HELD: Final = 100_000
_MOST_IDS: Final = 50_000  # ids of what came over REST
_MOST_SAVED: Final = 5_000  # of these, in a checkpoint: what comes over the feed as well does so soon
_CHANNEL_OF: Final[dict[type, str]] = {
    Trade: "trade",
    Fill: "fill",
    UserOrder: "user_orders",
    MarketPosition: "market_positions",
}
_NEWS: Final = frozenset({*_CHANNEL_OF, Gap})

Item = Message | Event


class HoldingMemory(msgspec.Struct, omit_defaults=True):
    """What a Holding knows, as plain values. ``markets`` is None if nothing is held back; ``held`` contains
    messages, and dicts after it was read."""

    holds: bool = True
    begins: bool = False
    markets: list[str] | None = None
    held: list[Any] = []
    ids: dict[str, list[str]] = {}


class Holding:
    """Holds back trades after a gap. Guarded by the store's lock.

    ``holds``: whether trades are held back at all; ``begins``: whether a hole comes before the first of them.
    ``holes`` notes the holes of a live feed, and ``timeout`` is how long it holds trades, in seconds.
    """

    def __init__(
        self, *, holds: bool, begins: bool = False, holes: Holes | None = None, timeout: float = _NEVER
    ) -> None:
        self.holds = holds
        self.begins = begins
        self.holes = holes
        self._timeout = timeout
        self.release_at = _NEVER  # when the time is up (time.monotonic()); never in a replay
        # The markets whose trades are held back, or ALL_MARKETS. None: those of none.
        self._markets: frozenset[str] | None = None
        self._held: list[Trade] = []
        # By channel, the ids that came over REST, the newest last. A fill has the id of its trade.
        self._ids: dict[str, dict[str, None]] = {channel: {} for channel in STREAM_CHANNELS}
        self._passed = 0  # of the output's items, how many have been through here

    @classmethod
    def restored(cls, memory: HoldingMemory, before: Holding | None = None) -> Holding:
        """What save() saved, for a replay. Raises ValueError for trades that cannot be read.

        ``before`` is the one that it replaces: what both hold is delivered from here alone.
        """
        holding = cls(holds=memory.holds, begins=memory.begins)
        if memory.markets is not None:
            holding._markets = frozenset(memory.markets)
        holding._held = [msgspec.convert(trade, Trade) for trade in memory.held]
        for channel, ids in holding._ids.items():
            ids.update(dict.fromkeys(memory.ids.get(channel, ())))
        if before is not None:
            held = {key_of(trade) for trade in holding._held}
            before._held = [trade for trade in before._held if key_of(trade) not in held]
        return holding

    def save(self) -> HoldingMemory:
        """Everything that a replay needs."""
        markets = None if self._markets is None else sorted(self._markets)
        ids = {channel: list(ids)[-_MOST_SAVED:] for channel, ids in self._ids.items()}
        return HoldingMemory(self.holds, self.begins, markets, list(self._held), ids)

    @property
    def is_holding(self) -> bool:
        """Whether trades are held back."""
        return self._markets is not None

    # -- what the session brings -----------------------------------------------------------------------------

    def pass_on(self, items: list[Item], session: Session, now: float) -> list[Item]:
        """What to deliver of the session's items; ``now`` is the session's."""
        passed, self._passed = self._passed, 0
        if len(items) > passed and not _NEWS.isdisjoint(map(type, items)):
            out = items[:passed]
            for item in items[passed:]:
                self._take(item, out, session, now)
            items = out
        if self.holes is not None and self.holes.look(session, now) and self._markets is not None:
            self.release_at = min(self.release_at, now + self._timeout)
        return items

    def _take(self, item: Item, out: list[Item], session: Session, now: float) -> None:
        if type(item) is Gap:
            out.append(item)
            if item.channel in CHANNELS:
                if self.holes is not None:
                    self.holes.gap(item.channel, item.market_tickers)
                if item.channel == "trade":
                    self._hold(item.market_tickers)
            return
        channel = _CHANNEL_OF.get(type(item))
        if channel is not None and isinstance(item, Message):
            if key_of(item) in self._ids.get(channel, ()):
                session.output.counts.ignored["duplicate"] += 1  # it has come over REST
                return
            if self.holes is not None:
                self.holes.heard(channel, item)
            if self.begins and isinstance(item, Trade):
                self.begins = False
                self._hold(())
            if isinstance(item, Trade) and self._holds(item):
                self._held.append(item)
                if len(self._held) == 1:
                    self.release_at = min(self.release_at, now + self._timeout)
                elif len(self._held) >= _MOST_HELD:
                    self._release(out)
                return
        out.append(item)

    def _holds(self, trade: Trade) -> bool:
        return self._markets is not None and (
            self._markets == ALL_MARKETS or trade.market_ticker in self._markets
        )

    def _hold(self, market_tickers: Iterable[str]) -> None:
        """Hold back the trades of these markets, too (none named: of all)."""
        if self.holds:
            named, markets = frozenset(market_tickers), self._markets
            everything = not named or markets == ALL_MARKETS
            self._markets = ALL_MARKETS if everything else named if markets is None else markets | named

    # -- connections -----------------------------------------------------------------------------------------

    def lost(self, session: Session, now: float) -> None:
        """The connection is lost; ``session`` still knows what was confirmed on it. What was held is
        delivered."""
        before = self._markets
        self.release(session, now)
        self._markets = before  # those not confirmed yet: they are still waiting for the same answer
        markets = session.markets_of("trade")
        if markets is not None:
            self._hold(markets)
        if self.holes is not None:
            self.holes.lost({channel: session.markets_of(channel) for channel in CHANNELS})

    def leave(self, session: Session, now: float) -> None:
        """The session is about to be replaced, and its connection as well: its items are delivered as they
        are then."""
        self.lost(session, now)
        session.output.items = self.pass_on(session.output.items, session, now)

    # -- what REST brings, and when the time is up -----------------------------------------------------------

    def missing(self, hole: Hole, rows: Iterable[Message]) -> list[Message | str]:
        """Choose what to deliver of REST's list for a hole, oldest first: messages that are missing, and the
        ids of held trades, which say where those belong."""
        assert self.holes is not None
        places = {key_of(trade) for trade in self._held} if hole.channel == "trade" else set()
        rows = list(rows)
        missing = {id(row) for row in self.holes.missing(hole.number, rows)}
        found: dict[str, Message | str] = {}
        for row in rows:
            key = key_of(row)
            if key is None or key in found:
                continue
            if key in places:
                found[key] = key
            elif id(row) in missing and key not in self._ids.get(hole.channel, ()):
                found[key] = row
        return list(found.values())

    def fill(
        self,
        session: Session,
        now: float,
        channel: str,
        entries: Iterable[Message | str],
        *,
        releases: bool,
        event: GapFilled | None,
    ) -> None:
        """Deliver what missing() chose, and each held trade in its place. ``releases``: then all of those
        that are held, and hold none anymore."""
        out, ids = self.pass_on(session.output.items, session, now), self._ids.get(channel)
        held = {key_of(trade): trade for trade in self._held}
        has_moved = False
        waiting: dict[str | None, list[Trade]] = {}  # by market, oldest first
        for trade in self._held:
            waiting.setdefault(trade.market_ticker, []).append(trade)
        for entry in entries:
            if isinstance(entry, Message):
                key = key_of(entry)
                if ids is not None and key is not None:
                    ids[key] = None
                out.append(entry)
            elif (place := held.get(entry)) is not None:
                has_moved = True
                self._out_of(waiting[place.market_ticker], entry, out)
        if ids is not None and len(ids) > 2 * _MOST_IDS:
            self._ids[channel] = dict.fromkeys(list(ids)[-_MOST_IDS:])
        if has_moved:
            left = {id(trade) for trades in waiting.values() for trade in trades}
            self._held = [trade for trade in self._held if id(trade) in left]
        if releases:
            self._release(out)
        if event is not None:
            out.append(event)
        self._keep(session, out)

    @staticmethod
    def _out_of(waiting: list[Trade], key: str, out: list[Item]) -> None:
        """Move a market's held trades up to and including this one."""
        for count, trade in enumerate(waiting, 1):
            if trade.trade_id == key:
                out += waiting[:count]
                del waiting[:count]
                return

    def release(self, session: Session, now: float, tap: Tap | None = None) -> None:
        """Deliver what is held, and hold nothing anymore. ``tap``: the recording, unless this follows from
        what is recorded anyway."""
        if tap is not None:
            tap.released(now)
        out = self.pass_on(session.output.items, session, now)
        self._release(out)
        self._keep(session, out)

    def _keep(self, session: Session, out: list[Item]) -> None:
        """These are the session's items now, for the next turn, and they have been through here."""
        session.output.items, self._passed = out, len(out)

    def _release(self, out: list[Item]) -> None:
        out += self._held
        self._held, self._markets, self.release_at = [], None, _NEVER
