"""The exception tree: every error a user of this package can meet.

    KalshiFeedError
      ConfigurationError (ValueError)     an argument, a url, an environment variable
        CredentialsError                  the api key id or the private key
      ConnectionFailed                    a connection could not be made
        HandshakeRejected                 the server answered the upgrade with something other than 101
          AuthenticationError             401 or 403
        TLSError                          certificate or TLS version
        ProxyError                        the proxy refused or did not answer
      ConnectionLost                      a connection that was made has ended
      ProtocolError                       a frame that is not what the protocol allows
      SubscriptionError                   the exchange refused a subscription
      StaleBookError                      a live book was asked for and the book is not live
        UnknownMarketError                because the exchange knows no such market, or no longer
      WaitTimeout (TimeoutError)          a wait ran out of time; the message says what was missing
      FeedClosedError                     the feed was closed
      FeedForkedError                     the feed was started before fork() and is used in the child
      SinkError                           a store cannot be opened or written (kalshi_feed.sinks)

Owns no logic but the composing of messages; must not import anything else of the package. The data of an
error is on its attributes; every class can be copied and pickled.
"""

from __future__ import annotations

import copy
from datetime import datetime

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "ConnectionFailed",
    "ConnectionLost",
    "CredentialsError",
    "FeedClosedError",
    "FeedForkedError",
    "HandshakeRejected",
    "KalshiFeedError",
    "ProtocolError",
    "ProxyError",
    "SinkError",
    "StaleBookError",
    "SubscriptionError",
    "TLSError",
    "UnknownMarketError",
    "WaitTimeout",
]


class KalshiFeedError(Exception):
    """Root of the package's errors. ``retryable`` says whether the feed itself tries again after it."""

    retryable = False

    def fresh(self) -> KalshiFeedError:
        """A copy to raise in another thread: the same data and cause, a traceback of its own."""
        twin = copy.copy(self)
        twin.__cause__ = self.__cause__
        twin.__suppress_context__ = True
        return twin


class ConfigurationError(KalshiFeedError, ValueError):
    """An argument that cannot work; the message says what to write instead."""


class CredentialsError(ConfigurationError):
    """The api key id or the private key cannot be used. Never holds any part of the key."""


class ConnectionFailed(KalshiFeedError):
    """No connection could be made: DNS, TCP, a timeout, or an answer that is no WebSocket handshake."""

    retryable = True


class HandshakeRejected(ConnectionFailed):
    """The server answered the upgrade request with a status other than 101.

    ``status`` is the HTTP status, ``reason`` the server's own text (shortened), ``retry_after`` its wish in
    seconds or None, ``server_time`` the answer's Date header as an aware datetime or None.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        reason: str = "",
        retry_after: float | None = None,
        server_time: datetime | None = None,
    ) -> None:
        super().__init__(message, status, reason, retry_after, server_time)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.server_time = server_time

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """408, 429, 5xx, a 200 page (a captive portal) and a redirect (a page about maintenance) may pass;
        every other status stays as it is."""
        return self.status in (200, 408, 429) or 300 <= self.status < 400 or self.status >= 500

    def __str__(self) -> str:
        return str(self.args[0])


class AuthenticationError(HandshakeRejected):
    """401 or 403: the exchange does not accept the key, the signature, the clock or the request's headers."""


class TLSError(ConnectionFailed):
    """The server's certificate is not accepted, or it speaks no TLS from 1.2 up.

    Final at first; after a healthy session it is tried again, slowly.
    """

    retryable = False


class ProxyError(ConnectionFailed):
    """The proxy refused, answered nonsense or did not answer.

    ``status`` is its HTTP status, or None; ``reason`` is the proxy's own text (shortened), empty if there is
    none.
    """

    def __init__(self, message: str, status: int | None = None, reason: str = "") -> None:
        super().__init__(message, status, reason)
        self.status = status
        self.reason = reason

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """407, or 401 from some proxies (it wants other credentials), does not pass by itself; after a
        healthy session it is tried slowly."""
        return self.status not in (401, 407)

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectionLost(KalshiFeedError):
    """An open connection ended. ``code`` is the WebSocket close code, None if there was none; ``reason`` its
    text."""

    retryable = True

    def __init__(self, code: int | None = None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        if self.code is None:
            return f"the connection was lost: {self.reason or 'closed without a close frame'}"
        return f"the connection was closed with code {self.code}" + (
            f": {self.reason}" if self.reason else ""
        )


class ProtocolError(KalshiFeedError):
    """A frame that is not what the protocol allows.

    ``frame`` is its text, cut to 200 characters; ``type``, ``sid``, ``seq`` and ``market_ticker`` are what
    could still be read of it, else None.
    """

    def __init__(
        self,
        message: str,
        frame: str = "",
        type: str | None = None,
        sid: int | None = None,
        seq: int | None = None,
        market_ticker: str | None = None,
    ) -> None:
        super().__init__(message, frame, type, sid, seq, market_ticker)
        self.frame = frame
        self.type = type
        self.sid = sid
        self.seq = seq
        self.market_ticker = market_ticker

    def __str__(self) -> str:
        return f"{self.args[0]} in {self.frame!r}" if self.frame else str(self.args[0])


class SubscriptionError(KalshiFeedError):
    """The exchange refused a subscription or a change of it.

    ``code`` is the exchange's number (PROTOCOL.md 4.1) and ``message`` its text; ``channel`` and
    ``market_tickers`` say what was asked for, and may be None.
    """

    def __init__(
        self,
        code: int,
        message: str,
        channel: str | None = None,
        market_tickers: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__(code, message, channel, market_tickers)
        self.code = code
        self.message = message
        self.channel = channel
        self.market_tickers = market_tickers

    def __str__(self) -> str:
        what = f" {self.channel}" if self.channel else ""
        if self.market_tickers:
            what += f" for {', '.join(self.market_tickers[:3])}" + (
                " …" if len(self.market_tickers) > 3 else ""
            )
        return f"the exchange refused the subscription{what}: error {self.code}, {self.message}"


class StaleBookError(KalshiFeedError):
    """A live book was asked for, and the book of ``market_ticker`` is ``status``."""

    def __init__(self, market_ticker: str, status: str) -> None:
        super().__init__(market_ticker, status)
        self.market_ticker = market_ticker
        self.status = status

    def __str__(self) -> str:
        text = f"the book of {self.market_ticker} is {self.status}, not LIVE; "
        if self.status == "PENDING":
            return (
                text + "no snapshot of it has come: wait_for_book() subscribes to it if nobody has, and waits"
            )
        if self.status == "CLOSED":
            return (
                text
                + "nobody wants it any more: subscribe('orderbook_delta', …) or wait_for_book() brings it "
                "back"
            )
        return (
            text
            + "wait_for_book() waits until it is right again, view() without require_live shows what was "
            "last known"
        )


class UnknownMarketError(StaleBookError):
    """The exchange has answered that it knows no market ``market_ticker``, or no longer (PROTOCOL.md 5.4).

    ``was_known`` says that it did once: the book was LIVE, or the market's close has passed. ``advice`` is
    what may be wrong and what to do about it, a sentence each.
    """

    def __init__(self, market_ticker: str, was_known: bool = False) -> None:
        super().__init__(market_ticker, "UNKNOWN")
        self.args = (market_ticker, was_known)
        self.was_known = was_known

    @property
    def advice(self) -> tuple[str, ...]:
        """What may be wrong, and what to do about it."""
        if self.was_known:
            return ("the market is over; unsubscribe from it",)
        ticker = self.market_ticker
        spelling = "write the market's whole ticker, in capitals: not the event's or the series'"
        if ticker != ticker.upper():
            spelling = f"write it in capitals: {ticker.upper()}"
        return (
            spelling,
            "production and demo have different markets",
            "a market that is over is gone some time after it was settled",
        )

    def __str__(self) -> str:
        known = "no longer knows the market" if self.was_known else "knows no market"
        return f"the exchange {known} {self.market_ticker}: {'; '.join(self.advice)}"


class WaitTimeout(KalshiFeedError, TimeoutError):
    """A wait ran out of time; the message says what was still missing."""


class FeedClosedError(KalshiFeedError):
    """The feed was closed while, or before, something was waited for."""


class FeedForkedError(KalshiFeedError):
    """The feed was made in another process; threads and sockets do not survive fork()."""

    def __init__(
        self,
        message: str = "this feed was made before fork(): its threads and its socket stayed in the parent "
        "process. "
        "Make a new KalshiFeed in this process (after the fork)",
    ) -> None:
        super().__init__(message)


class SinkError(KalshiFeedError):
    """A store cannot be opened or written, or its Batcher is closed; the message says which. Never holds a
    password.

    A sink raises it with ``retryable=False`` where the store works but refuses what a row holds: writing the
    same rows again would fail forever.
    """

    retryable = True

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        if not retryable:
            self.retryable = False
