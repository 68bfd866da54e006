"""The exception tree: every error that a user of this package can get.

    KalshiFeedError
      ConfigurationError (ValueError)     a wrong argument, url or environment variable
        CredentialsError                  the API key id or the private key
      ConnectionFailed                    a connection could not be made
        HandshakeRejected                 the server answered the upgrade with something other than 101
          AuthenticationError             401 or 403
        TLSError                          certificate or TLS version
        ProxyError                        the proxy refused or did not answer
      ConnectionLost                      a connection that was made has ended
      ProtocolError                       a frame that is not what the protocol allows
      SubscriptionError                   the exchange refused a subscription
      StaleBookError                      a live book was requested, and the book is not live
        UnknownMarketError                because the exchange does not know the market, or not anymore
      WaitTimeout (TimeoutError)          a wait timed out; the message says what was missing
      FeedClosedError                     the feed was closed
      FeedForkedError                     the feed was started before fork() and is used in the child
      SinkError                           a store cannot be opened or written (kalshi_feed.sinks)
      RestError                           a request over REST failed (kalshi_feed.rest)

Owns the errors and their messages. Their data is in attributes; every class can be copied and pickled.
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
    "RelayError",
    "RestError",
    "SinkError",
    "StaleBookError",
    "SubscriptionError",
    "TLSError",
    "UnknownMarketError",
    "WaitTimeout",
]


class KalshiFeedError(Exception):
    """Base of the package's errors. ``retryable`` says whether the feed itself retries after it."""

    retryable = False

    def fresh(self) -> KalshiFeedError:
        """Return a copy to raise in another thread: same data and cause, its own traceback."""
        twin = copy.copy(self)
        twin.__cause__ = self.__cause__
        twin.__suppress_context__ = True
        return twin


class ConfigurationError(KalshiFeedError, ValueError):
    """An argument or a setting that cannot work; the message says what to write instead.

    ``argument`` is the name of the argument or the environment variable at fault, and the message begins with
    it; None if no single one is. ``problem`` is the rest of the message, so that a program whose users type
    something else (an option, a form's field) can put that in front.
    """

    def __init__(self, problem: str = "", argument: str | None = None) -> None:
        super().__init__(*((problem,) if argument is None else (problem, argument)))
        self.problem = problem
        self.argument = argument

    def __str__(self) -> str:
        return self.problem if self.argument is None else f"{self.argument} {self.problem}"


class CredentialsError(ConfigurationError):
    """The API key id or the private key cannot be used. Never contains any part of the key."""


class ConnectionFailed(KalshiFeedError):
    """No connection could be made: DNS, TCP, a timeout, or an answer that is not a WebSocket handshake."""

    retryable = True


class HandshakeRejected(ConnectionFailed):
    """The server answered the upgrade request with a status other than 101.

    ``status`` is the HTTP status, ``reason`` the server's own words (shortened), ``retry_after`` its
    Retry-After in seconds or None, ``server_time`` its Date header as an aware datetime or None.
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
        """True for 408, 429, 5xx, a 200 page (captive portal) and a redirect (maintenance): all temporary."""
        return self.status in (200, 408, 429) or 300 <= self.status < 400 or self.status >= 500

    def __str__(self) -> str:
        return str(self.args[0])


class AuthenticationError(HandshakeRejected):
    """401 or 403: the exchange does not accept the key, the signature, the clock or the request's headers."""


class TLSError(ConnectionFailed):
    """The server's certificate is not accepted, or the server does not speak TLS 1.2 or newer.

    It is fatal at first; after a healthy session the feed retries, slowly. ``problem`` is the message without
    ``advice``, which says what a program may pass to KalshiFeed; "" if that would not help.
    """

    retryable = False

    def __init__(self, problem: str = "", advice: str = "") -> None:
        super().__init__(*((problem, advice) if advice else (problem,)))
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.problem}. {self.advice}" if self.advice else self.problem


class ProxyError(ConnectionFailed):
    """The proxy refused, answered nonsense or did not answer.

    ``status`` is its HTTP status, or None; ``reason`` is its own words (shortened), or "".
    """

    def __init__(self, message: str, status: int | None = None, reason: str = "") -> None:
        super().__init__(message, status, reason)
        self.status = status
        self.reason = reason

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """False for 407 and, from some proxies, 401: the proxy wants different credentials.

        After a healthy session the feed retries even these, slowly.
        """
        return self.status not in (401, 407)

    def __str__(self) -> str:
        return str(self.args[0])


class ConnectionLost(KalshiFeedError):
    """An open connection ended. ``code`` is the WebSocket close code, or None; ``reason`` says why."""

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

    ``frame`` is its content, cut to 200 characters; ``type``, ``sid``, ``seq`` and ``market_ticker`` are None
    if they could not be read.
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
    """The exchange refused a subscription or a change of it, or a relay did.

    ``code`` and ``message`` are the exchange's (PROTOCOL.md 4.1), or 0 and the relay's; ``channel`` and
    ``market_tickers`` are what was requested, and may be None.
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
        if not self.code:
            return f"the subscription{what} was refused: {self.message}"
        return f"the exchange refused the subscription{what}: error {self.code}, {self.message}"


class StaleBookError(KalshiFeedError):
    """A live book was requested, and the book of ``market_ticker`` is ``status``."""

    def __init__(self, market_ticker: str, status: str) -> None:
        super().__init__(market_ticker, status)
        self.market_ticker = market_ticker
        self.status = status

    def __str__(self) -> str:
        text = f"the book of {self.market_ticker} is {self.status}, not LIVE; "
        if self.status == "PENDING":
            return text + "its snapshot has not come yet: wait_for_book() subscribes if necessary, and waits"
        if self.status == "CLOSED":
            return (
                text
                + "it is no longer subscribed: subscribe('orderbook_delta', …) or wait_for_book() brings it "
                "back"
            )
        return (
            text
            + "wait_for_book() waits until it is right again; view() without require_live shows its last "
            "known state"
        )


class UnknownMarketError(StaleBookError):
    """The exchange does not know the market ``market_ticker``, or not anymore (PROTOCOL.md 5.4).

    ``was_known``: it once did, because the book was LIVE or the market's close has passed.
    """

    def __init__(self, market_ticker: str, was_known: bool = False) -> None:
        super().__init__(market_ticker, "UNKNOWN")
        self.args = (market_ticker, was_known)
        self.was_known = was_known

    @property
    def advice(self) -> tuple[str, ...]:
        """What may be wrong and what to do about it, a sentence each."""
        if self.was_known:
            return ("the market is over: leave it out",)
        ticker = self.market_ticker
        spelling = "write the market's whole ticker, in uppercase: not the event's or the series'"
        if ticker != ticker.upper():
            spelling = f"write it in uppercase: {ticker.upper()}"
        return (
            spelling,
            "production and demo have different markets",
            "a market that is over disappears some time after its settlement",
        )

    def __str__(self) -> str:
        known = "no longer knows the market" if self.was_known else "does not know the market"
        return f"the exchange {known} {self.market_ticker}: {'; '.join(self.advice)}"


class WaitTimeout(KalshiFeedError, TimeoutError):
    """A wait timed out; the message says what was still missing."""


class FeedClosedError(KalshiFeedError):
    """The feed was closed before or during the call."""


class FeedForkedError(KalshiFeedError):
    """The feed was made in another process; threads and sockets do not survive fork()."""

    def __init__(
        self,
        message: str = "this feed was made before fork(): its threads and its socket stayed in the parent "
        "process. Make a new KalshiFeed in this process (after the fork)",
    ) -> None:
        super().__init__(message)


class SinkError(KalshiFeedError):
    """A store cannot be opened or written, or its Batcher is closed. Never contains a password.

    A sink raises it with ``retryable=False`` if the store works but refuses the content of a row: writing the
    same rows again would always fail.
    """

    retryable = True

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        if not retryable:
            self.retryable = False


class RestError(KalshiFeedError):
    """A request over REST failed (kalshi_feed.rest), or its answer cannot be read.

    ``status`` is the answer's HTTP status, or None if there was no answer: then ``__cause__`` is the
    ConnectionFailed, TLSError or ProxyError, or None if the Rest was closed. ``code`` is the exchange's own
    code, or ""; ``message`` says what went wrong, in the exchange's words (shortened) if it sent any.
    ``path`` is what was requested, without the query; ``advice`` says what to do, or is "".
    """

    def __init__(self, status: int | None, code: str, message: str, path: str = "", advice: str = "") -> None:
        super().__init__(status, code, message, path, advice)
        self.status = status
        self.code = code
        self.message = message
        self.path = path
        self.advice = advice

    @property
    def retryable(self) -> bool:  # type: ignore[override]
        """Whether the same request may succeed later: for 408, 429, 5xx, and a connection that failed."""
        if self.status is None:
            return getattr(self.__cause__, "retryable", False)
        return self.status in (408, 429) or self.status >= 500

    def __str__(self) -> str:
        if self.status is None:
            said = self.message
        else:
            code = f" {self.code}" if self.code else ""
            said = f"GET {self.path} was answered with {self.status}{code}: {self.message}"
        return f"{said}; {self.advice}" if self.advice else said


class RelayError(KalshiFeedError):
    """Redis cannot be reached or refuses what a relay or its consumer needs, or a relay cannot be used.

    Never contains a password. ``retryable`` is True where the same call may succeed later by itself.
    """

    retryable = True

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        if not retryable:
            self.retryable = False
