"""The exchange's answers to commands: subscribed, unsubscribed, ok, error (PROTOCOL.md 4, 8).

Owns the four types and their older forms. The session knows the codes and what to do about them.
"""

from __future__ import annotations

from typing import ClassVar

from msgspec import field
from msgspec.structs import force_setattr

from .base import Body, Id, Int64, Message

__all__ = [
    "ErrorMessage",
    "ListSubscriptions",
    "Ok",
    "Reply",
    "Subscribed",
    "SubscriptionEntry",
    "Unsubscribed",
]


class Reply(Message, frozen=True, gc=False, kw_only=True):
    """Base of the answers; ``id`` is the command's, or None if not sent. Thread-safe: immutable."""

    id: Id | None = None


class SubscribedBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of a subscribed. Thread-safe: immutable."""

    channel: str | None = None
    sid: Id | None = None


class Subscribed(Reply, frozen=True, gc=False, kw_only=True, tag_field="type", tag="subscribed"):
    """One channel was opened as subscription ``sid``. Thread-safe: immutable.

    In the form of the 2025 guide, ``channel`` is at the top level, and there is no sid.
    """

    type: ClassVar[str] = "subscribed"

    channel: str | None = None
    msg: SubscribedBody | None = None

    def __post_init__(self) -> None:
        # On the wire both are inside msg. They are copied here, before anyone else has seen the object.
        if self.msg is not None:
            if self.msg.channel is not None:
                force_setattr(self, "channel", self.msg.channel)
            if self.msg.sid is not None:
                force_setattr(self, "sid", self.msg.sid)


class Unsubscribed(Reply, frozen=True, gc=False, kw_only=True, tag_field="type", tag="unsubscribed"):
    """Subscription ``sid`` has ended; on sequenced channels it takes a ``seq``. Thread-safe: immutable."""

    type: ClassVar[str] = "unsubscribed"


class SubscriptionEntry(Body, frozen=True, gc=False, kw_only=True):
    """One entry of the answer to list_subscriptions. Thread-safe: immutable."""

    channel: str
    sid: Id


class OkBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of an ok that answers a change of a subscription. Thread-safe: immutable."""

    market_tickers: tuple[str, ...] | None = None
    market_ids: tuple[str, ...] | None = None
    index_ids: tuple[str, ...] | None = None
    underlying_tickers: tuple[str, ...] | None = None


class Ok(Reply, frozen=True, gc=False, kw_only=True, tag_field="type", tag="ok"):
    """A command was carried out. Thread-safe: immutable.

    After a change, ``market_tickers`` (or ``market_ids``, ``index_ids``, ``underlying_tickers``) is the
    subscription's full list, or None if the exchange left it out (skip_ticker_ack). After list_subscriptions,
    ``subscriptions`` is a tuple of (channel, sid); otherwise it is None.
    """

    type: ClassVar[str] = "ok"

    msg: OkBody | tuple[SubscriptionEntry, ...] | None = None
    # until 2026-02-11
    top_market_tickers: tuple[str, ...] | None = field(default=None, name="market_tickers")
    # until 2026-01-31
    top_subscriptions: tuple[SubscriptionEntry, ...] | None = field(default=None, name="subscriptions")

    @property
    def market_tickers(self) -> tuple[str, ...] | None:
        """The subscription's markets after the change."""
        inside = self.msg.market_tickers if isinstance(self.msg, OkBody) else None
        return self.top_market_tickers if inside is None else inside

    @property
    def market_ids(self) -> tuple[str, ...] | None:
        """The subscription's markets after the change, if they were given by id."""
        return self.msg.market_ids if isinstance(self.msg, OkBody) else None

    @property
    def index_ids(self) -> tuple[str, ...] | None:
        """The subscription's indices after the change."""
        return self.msg.index_ids if isinstance(self.msg, OkBody) else None

    @property
    def underlying_tickers(self) -> tuple[str, ...] | None:
        """The subscription's underlyings after the change."""
        return self.msg.underlying_tickers if isinstance(self.msg, OkBody) else None

    @property
    def subscriptions(self) -> tuple[tuple[str, int], ...] | None:
        """The answer to list_subscriptions as (channel, sid); None after any other command."""
        entries = self.msg if isinstance(self.msg, tuple) else self.top_subscriptions
        return None if entries is None else tuple((entry.channel, entry.sid) for entry in entries)


class ListSubscriptions(Ok, frozen=True, gc=False, kw_only=True, tag="list_subscriptions"):
    """The Ok of list_subscriptions under the type name it had until 2026-01-31. Thread-safe: immutable."""

    type: ClassVar[str] = "list_subscriptions"


class ErrorBody(Body, frozen=True, gc=False, kw_only=True):
    """``msg`` of an error. Thread-safe: immutable."""

    code: Int64 | None = None
    msg: str | None = None
    message: str | None = None
    market_ticker: str | None = None
    market_tickers: tuple[str, ...] | None = None


class ErrorMessage(Reply, frozen=True, gc=False, kw_only=True, tag_field="type", tag="error"):
    """The exchange refused a command, or ended subscription ``sid`` (codes 10 and 25).

    Values inside ``msg`` win over those at the frame's top level; a ``msg`` that is a string is the message.
    Thread-safe: immutable.
    """

    type: ClassVar[str] = "error"

    msg: ErrorBody | str | None = None
    top_code: Int64 | None = field(default=None, name="code")
    top_message: str | None = field(default=None, name="message")
    top_market_ticker: str | None = field(default=None, name="market_ticker")
    top_market_tickers: tuple[str, ...] | None = field(default=None, name="market_tickers")

    def _body(self) -> ErrorBody:
        if isinstance(self.msg, str):
            return ErrorBody(msg=self.msg)
        return self.msg or _NO_BODY

    @property
    def code(self) -> int | None:
        """The error's number, see PROTOCOL.md 4.1; unknown ones are passed on unchanged."""
        inside = self._body().code
        return self.top_code if inside is None else inside

    @property
    def message(self) -> str | None:
        """The exchange's message."""
        return self._body().msg or self._body().message or self.top_message

    @property
    def market_ticker(self) -> str | None:
        """The market the error is about."""
        return self._body().market_ticker or self.top_market_ticker

    @property
    def market_tickers(self) -> tuple[str, ...] | None:
        """The markets the error is about."""
        return self._body().market_tickers or self.top_market_tickers


_NO_BODY = ErrorBody()
