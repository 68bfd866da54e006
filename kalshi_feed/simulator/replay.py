"""Recorded frames served as markets: a file is played into the exchange's books and out to their subscribers.

Owns the reading of the file, the recordings being played, and their threads.

A frame's fields go out as they were recorded, but sid and seq are the subscriber's, ``sending_ts_ms`` is now,
and the no side is converted for a subscriber with ``use_yes_price``. A market whose first book frame in the
file is a delta had levels before the file began: it gets the smallest book to which every delta before its
first snapshot can be applied without going below zero, so that a subscriber has a snapshot to start from. A
market whose first book frame is a snapshot is empty until that frame.
"""

from __future__ import annotations

import gzip
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from .core import Core
from .listing import Listing
from .markets import Market
from .matching import Matching
from .schemas import types_of
from .subscriptions import SEQUENCED
from .wire import WireMessage, price_units, size_units

FRAMES_AT_ONCE = 200
AHEAD_BYTES = 1024 * 1024  # how far a replay runs ahead of the slowest reader

CHANNELS = {type_: channel for channel in reversed(SEQUENCED) for type_ in types_of(channel)}
"""The channel of each message type (for event_lifecycle, the one that is not multivariate)."""

REPLIES = {
    "subscribed",
    "unsubscribed",
    "ok",
    "error",
    *(type_ for type_ in CHANNELS if type_.endswith("list")),
}


class _Event(msgspec.Struct):
    type: str
    msg: msgspec.Raw = msgspec.Raw(b"{}")


class _Line(msgspec.Struct):
    recv_ms: int | None = None
    event: msgspec.Raw = msgspec.Raw()


@dataclass
class Frame:
    """One recorded data message."""

    recv_ms: int | None
    type: str
    raw: bytes  # msg as it was recorded
    msg: dict[str, Any]

    @property
    def channel(self) -> str:
        if self.type == "event_lifecycle" and str(self.msg.get("event_ticker", "")).startswith("KXMVE"):
            return "multivariate_market_lifecycle"
        return CHANNELS.get(self.type, self.type)

    @property
    def ticker(self) -> str:
        return str(
            self.msg.get("market_ticker") or (self.msg.get("ticker", "") if self.type == "user_order" else "")
        )


def read(path: str | os.PathLike[str], market_ticker: str | None = None) -> list[Frame]:
    """The data messages of a recording (``.ndjson`` or ``.ndjson.gz``), of one market or of all, in file
    order.

    Lines are raw frames or ``{"recv_ms": ..., "event": {...}}``; frames without ``msg`` are left out. Raises
    ValueError with the line number for a line that is neither, OSError.
    """
    opener: Any = gzip.open if str(path).endswith(".gz") else open
    frames = []
    with opener(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                wrapper = msgspec.json.decode(line, type=_Line)
                event = msgspec.json.decode(bytes(wrapper.event) or line, type=_Event)
                raw = bytes(event.msg)
                msg = msgspec.json.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}, line {number}: not a recorded frame: {error}") from None
            if not isinstance(msg, dict) or not msg or event.type in REPLIES:
                continue
            frame = Frame(wrapper.recv_ms, event.type, raw, msg)
            if market_ticker is None or frame.ticker == market_ticker:
                frames.append(frame)
    return frames


def base_book(frames: list[Frame], ticker: str) -> dict[str, dict[int, int]]:
    """The smallest book to which the market's deltas before its first snapshot can be applied."""
    level: dict[tuple[str, int], int] = {}
    lowest: dict[tuple[str, int], int] = {}
    for frame in frames:
        if frame.ticker != ticker or frame.channel != "orderbook_delta":
            continue
        if frame.type == "orderbook_snapshot":
            break
        key = (frame.msg["side"], price_units(frame.msg["price_dollars"]))
        level[key] = level.get(key, 0) + size_units(frame.msg["delta_fp"])
        lowest[key] = min(lowest.get(key, 0), level[key])
    book: dict[str, dict[int, int]] = {"yes": {}, "no": {}}
    for (side, price), size in lowest.items():
        if size < 0:
            book[side][price] = -size
    return book


class Replay:
    """A recording being played. Thread-safe; its thread ``kalshi-exchange-replay`` ends with the file or the
    exchange."""

    def __init__(
        self,
        core: Core,
        frames: list[Frame],
        markets: dict[str, Market],
        *,
        speed: float | None,
        wait_for_subscriber: bool,
    ) -> None:
        self.frames = len(frames)  # how many the file has
        self.anomalies = 0  # deltas below zero: the recording has a hole, the level was removed
        self._core = core
        self._frames = frames
        self._markets = markets
        self._speed = speed
        self._waiting = wait_for_subscriber  # guarded by the exchange's lock, like the four below
        self._position = 0
        self._limit = self.frames
        self._stopped = False
        self._origin: tuple[float, float] | None = None  # monotonic seconds, recorded seconds
        self._thread = threading.Thread(target=self._run, name="kalshi-exchange-replay", daemon=True)

    # -- any thread ------------------------------------------------------------------------------------------
    @property
    def position(self) -> int:
        """How many frames have been played: sent to subscribers, and applied to the exchange's books."""
        return self._position

    @property
    def done(self) -> bool:
        """Whether the whole file has been played."""
        return self._position >= self.frames

    @property
    def market_tickers(self) -> tuple[str, ...]:
        """The markets of the recording."""
        return tuple(self._markets)

    def pause_at(self, position: int) -> None:
        """Play up to ``position`` frames and no further (it never goes back). Returns at once."""
        with self._core.changed:
            self._limit = max(self._position, min(position, self.frames))
            self._origin = None
            self._core.changed.notify_all()

    def resume(self) -> None:
        """Play to the end of the file. Returns at once."""
        self.pause_at(self.frames)

    def run_to(self, position: int, timeout: float = 10.0) -> None:
        """Play up to ``position`` frames, with or without a subscriber, and return once they are out.

        Raises TimeoutError.
        """
        with self._core.changed:
            self._waiting = False
        self.pause_at(position)
        target = min(position, self.frames)
        with self._core.changed:
            self._core.changed.wait_for(lambda: self._position >= target or self._stopped, timeout)
            if self._position < target:
                raise TimeoutError(f"the replay is at frame {self._position} of {target} after {timeout:g} s")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the file; False if the timeout (seconds) passed before it."""
        with self._core.changed:
            self._core.changed.wait_for(lambda: self.done or self._stopped, timeout)
            return self.done

    def start(self) -> None:
        """Begin to play; the exchange does this."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread, wherever it is in the file; waits at most ``timeout`` seconds."""
        with self._core.changed:
            self._stopped = True
            self._core.changed.notify_all()
        self._thread.join(timeout)

    # -- the replay's thread ---------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            with self._core.changed:
                while not (self._stopped or self._may_play()):
                    self._core.changed.wait()
                if self._stopped:
                    return
                pause = self._pause()
                if pause:
                    self._core.changed.wait(pause)
                    continue
            with self._core.step():
                self._play_batch()
                self._core.changed.notify_all()
                if self._position >= self.frames:
                    return

    def _may_play(self) -> bool:
        if self._waiting and self._core.heard(self._markets.values()):
            self._waiting = False
        return self._position < self._limit and not self._waiting and self._core.backlog() <= AHEAD_BYTES

    def _pause(self) -> float:
        """Seconds until the next frame is due."""
        frame = self._frames[self._position]
        if self._speed is None or frame.recv_ms is None:
            return 0.0
        now, recorded = time.monotonic(), frame.recv_ms / 1000
        if self._origin is None:
            self._origin = (now, recorded)
        return max(0.0, self._origin[0] + (recorded - self._origin[1]) / self._speed - now)

    def _play_batch(self) -> None:
        end = min(self._limit, self._position + (FRAMES_AT_ONCE if self._speed is None else 1))
        for frame in self._frames[self._position : end]:
            market = self._markets.get(frame.ticker)
            if market is not None:
                self._apply(market, frame)
            self._send(market, frame)
            self._position += 1

    def _send(self, market: Market | None, frame: Frame) -> None:
        """Send a frame to the subscriptions that want its market, or its index or underlying."""
        message = WireMessage(frame.type, frame.msg, frame.raw)
        name = frame.msg.get("index_id") or frame.msg.get("underlying_ticker")
        for session, subscription in self._core.subscribed(frame.channel, market):
            if name is None or subscription.wants_name(name):
                session.publish(subscription, message)

    def _apply(self, market: Market, frame: Frame) -> None:
        msg = frame.msg
        if "clock" in msg:
            market.clock = int(msg["clock"])
        if frame.type == "orderbook_snapshot":
            market.book = {
                side: {
                    price_units(price): size_units(size)
                    for price, size in msg.get(f"{side}_dollars_fp") or []
                }
                for side in ("yes", "no")
            }
        elif frame.type == "orderbook_delta":
            price, delta = price_units(msg["price_dollars"]), size_units(msg["delta_fp"])
            try:
                market.apply(msg["side"], price, delta)
            except ValueError:
                self.anomalies += 1
                market.book[msg["side"]].pop(price, None)
        elif frame.type == "trade":
            market.record_trade(price_units(msg["yes_price_dollars"]), size_units(msg["count_fp"]))


class Replays:
    """The recordings that an exchange plays. Thread-safe."""

    def __init__(self, core: Core, listing: Listing, matching: Matching) -> None:
        self._core = core
        self._listing = listing
        self._matching = matching
        self._players: list[Replay] = []  # guarded by the exchange's lock

    def start(
        self,
        path: str | os.PathLike[str],
        speed: float | None,
        market_ticker: str | None,
        wait_for_subscriber: bool,
    ) -> Replay:
        """List a recording's markets and begin to play it; see ``Exchange.replay``. Raises OSError,
        ValueError."""
        if speed is not None and not speed > 0:
            raise ValueError(f"speed must be above zero or None, got {speed!r}")
        frames = read(path, market_ticker)
        markets = {}
        for ticker, market_id in tickers_of(frames):
            market = Market(ticker, market_id=market_id)
            market.status = "replayed"  # its book is the recording's: it takes no orders
            market.clock = None
            market.book = base_book(frames, ticker)
            markets[ticker] = market
        player = Replay(self._core, frames, markets, speed=speed, wait_for_subscriber=wait_for_subscriber)
        with self._core.step():
            for market in markets.values():
                self._matching.list_market(market)
                self._listing.send_snapshot(market)
            self._players.append(player)
        player.start()
        return player

    def stop(self, deadline: float) -> None:
        """End every replay's thread, until ``deadline`` on the monotonic clock."""
        with self._core.lock:
            players, self._players = self._players, []
        for player in players:
            player.stop(max(0.0, deadline - time.monotonic()))


def tickers_of(frames: list[Frame]) -> Iterator[tuple[str, str | None]]:
    """The markets of a recording with their ids (None if no frame has one), in order of appearance."""
    ids: dict[str, str | None] = {}
    for frame in frames:
        if frame.ticker:
            market_id = frame.msg.get("market_id") or None
            ids[frame.ticker] = ids.get(frame.ticker) or market_id
    return iter(ids.items())
