"""Captures of other programs: one of the exchange's frames per line, bare or in a wrapper.

The wrapper is ``{"recv_ms": …, "event": frame}``. Owns the two passes over such a file. The first one finds
out which subscriptions there were, because no one wrote that down; the second one yields the frames. A new
connection is assumed where a sid turns up for another channel, a channel under another sid, or a snapshot
whose sequence number went back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import msgspec

from ..session.channels import BOOK_CHANNEL, CHANNEL_OF_TYPE, is_name
from ..session.memory import SubscriptionMemory
from .checkpoint import Checkpoint
from .lines import ChangeLine, HeaderLine, Ns, SessionLine, WantLine
from .reading import Connected, FileLines, Lost, Record, Trouble, Turn

__all__ = ["ForeignSource"]

_MOST_AT_ONCE: Final = 256  # frames with the same time that become one turn
_SHARED: Final = ("event_lifecycle",)  # types that two channels send, so they do not reveal the channel
_LAST_MS: Final = 9_223_372_036_854  # in ns it still fits into 64 bits


class _Wrapper(msgspec.Struct):
    recv_ns: Ns | None = None
    recv_ms: Annotated[float, msgspec.Meta(ge=0, le=_LAST_MS)] | None = None
    event: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    market_ticker: str | None = None
    channel: str | None = None
    sid: int | None = None
    ts_ms: int | None = None


class _Frame(msgspec.Struct):
    type: str
    sid: int | None = None
    seq: int | None = None
    sending_ts_ms: int | None = None
    msg: _Body | None = None


_wrapper: Final = msgspec.json.Decoder(_Wrapper).decode
_frame: Final = msgspec.json.Decoder(_Frame).decode


@dataclass
class _Connection:
    """What was subscribed on one connection, and the number of its first frame in the file."""

    first_frame: int
    sids: dict[str, int] = field(default_factory=dict)
    channels: dict[int, str] = field(default_factory=dict)
    last_seq: dict[int, int] = field(default_factory=dict)


class ForeignSource:
    """The frames of these files. Not thread-safe.

    The constructor reads them once to learn the subscriptions. Raises ConfigurationError.
    """

    def __init__(self, paths: list[Path], use_yes_price: bool) -> None:
        self.paths = paths
        self.size = sum(path.stat().st_size for path in paths)
        self.read_bytes = 0
        self._tickers: dict[str, dict[str, None]] = {}
        self._connections = [_Connection(0)]
        self._unreadable = 0
        for number, (_, payload) in enumerate(self._frames()):
            self._learn(number, payload)
        self.header = HeaderLine(format=0, channels=sorted(self._tickers), use_yes_price=use_yes_price)

    def records(self) -> Iterator[tuple[HeaderLine, Record]]:
        """Yield every record, as Source does; the header is the same for all."""
        for record in self._records():
            yield self.header, record

    def _records(self) -> Iterator[Record]:
        starts = {connection.first_frame: connection for connection in self._connections}
        pending: list[bytes] = []
        ns = last = 0
        for number, (ns, payload) in enumerate(self._frames()):
            ns = max(ns, last)  # a frame without a time gets that of the frame before
            connection = starts.get(number)
            if pending and (ns != last or connection is not None or len(pending) >= _MOST_AT_ONCE):
                yield Turn(last, pending, None)
                pending = []
            last = ns
            if connection is not None:
                if number:
                    yield Lost(ns, ChangeLine("another connection begins in the capture"))
                    yield Connected(ns, ChangeLine("connected"))
                yield self._checkpoint(connection, ns)
            pending.append(payload)
        if pending:
            yield Turn(last, pending, None)
        if self._unreadable:
            yield Trouble(
                f"{self._unreadable} lines of {self.paths[0]} were skipped: not frames, or their time is "
                "impossible"
            )

    def _checkpoint(self, connection: _Connection, ns: int) -> Checkpoint:
        wants = [
            WantLine(number, [channel], "market_tickers" if tickers else None, list(tickers))
            for number, (channel, tickers) in enumerate(self._tickers.items(), 1)
            if tickers or channel != BOOK_CHANNEL
        ]
        subscriptions = [
            SubscriptionMemory(channel, sid, True, None, None, list(self._tickers.get(channel, ())))
            for channel, sid in connection.sids.items()
        ]
        return Checkpoint(ns, SessionLine(state="CONNECTED", wants=wants, subscriptions=subscriptions), [])

    def _learn(self, number: int, payload: bytes) -> None:
        try:
            frame = _frame(payload)
        except (ValueError, RecursionError):
            return  # the session will report it
        body = frame.msg or _Body()
        connection = self._connections[-1]
        if frame.type == "subscribed" and body.channel:
            self._tickers.setdefault(body.channel, {})
            if body.channel in connection.sids:
                connection = self._another(number)
            if body.sid is not None:
                self._name(connection, body.sid, body.channel)
            return
        channel = CHANNEL_OF_TYPE.get(frame.type)
        if channel is None or frame.sid is None or frame.type in _SHARED:
            return
        tickers = self._tickers.setdefault(channel, {})
        # the session reports any other ticker
        if body.market_ticker and is_name(body.market_ticker):
            tickers[body.market_ticker] = None
        went_back = frame.seq is not None and frame.seq < connection.last_seq.get(frame.sid, 0)
        if (
            connection.channels.get(frame.sid, channel) != channel
            or connection.sids.get(channel, frame.sid) != frame.sid
            or (went_back and frame.type == "orderbook_snapshot")
        ):
            connection = self._another(number)
        self._name(connection, frame.sid, channel)
        if frame.seq is not None:
            connection.last_seq[frame.sid] = frame.seq

    def _another(self, number: int) -> _Connection:
        connection = _Connection(number)
        self._connections.append(connection)
        return connection

    def _name(self, connection: _Connection, sid: int, channel: str) -> None:
        connection.sids[channel] = sid
        connection.channels[sid] = channel

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield every frame with the time of its line in ns, 0 if the line has none."""
        self.read_bytes = self._unreadable = 0
        done = 0
        for path in self.paths:
            lines = FileLines(path)
            for text in lines:
                self.read_bytes = done + lines.read_bytes
                try:
                    wrapper = _wrapper(text)
                    if bytes(wrapper.event):
                        yield _time_of(wrapper), bytes(wrapper.event)
                    else:
                        yield _sent_at(_frame(text)), text
                except (ValueError, RecursionError):
                    self._unreadable += 1
            self._unreadable += lines.too_long
            done += lines.read_bytes


def _time_of(wrapper: _Wrapper) -> int:
    return wrapper.recv_ns if wrapper.recv_ns is not None else round((wrapper.recv_ms or 0) * 1_000_000)


def _sent_at(frame: _Frame) -> int:
    """A bare frame has only the exchange's own time."""
    ms = frame.sending_ts_ms or (frame.msg.ts_ms if frame.msg is not None else None) or 0
    return ms * 1_000_000 if 0 < ms <= _LAST_MS else 0
