"""The table of callbacks: which of them wants which messages.

Owns the registrations, and the immutable Table that is made from them at every change and that the reader and
the workers read without a lock.
"""

from __future__ import annotations

import enum
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from ..errors import ConfigurationError
from ..events import Event

__all__ = [
    "ALL_DATA",
    "BOOKS",
    "BOOK_TYPES",
    "REPLIES",
    "Callback",
    "Deliverable",
    "Entry",
    "Kind",
    "Registry",
    "Route",
    "Table",
]


class Deliverable(Protocol):
    """What dispatch needs to know about a message."""

    @property
    def type(self) -> str: ...
    @property
    def market_ticker(self) -> str | None: ...


class Special(enum.Enum):
    """The kinds of registration that are neither a wire type nor an event."""

    BOOKS = "on_book"
    ALL_DATA = "on_message"


BOOKS: Final = Special.BOOKS
ALL_DATA: Final = Special.ALL_DATA
Callback = Callable[[Any], object]
Kind = str | type[Event] | Special

BOOK_TYPES: Final = frozenset(("orderbook_snapshot", "orderbook_delta"))
_GONE: Final = object()
# answers to commands, which are not data (PROTOCOL.md 4)
REPLIES: Final = ("subscribed", "unsubscribed", "ok", "error", "list_subscriptions")


class Entry:
    """One registration. Immutable except for its error count, which is thread-safe."""

    __slots__ = ("callback", "errors", "kind", "market_tickers", "name")

    def __init__(self, kind: Kind, callback: Callback, market_tickers: frozenset[str] | None) -> None:
        self.kind = kind
        self.callback = callback
        self.market_tickers = market_tickers
        self.name = callback_name(callback)
        self.errors = itertools.count(1)  # next() is atomic


Route = tuple[Callback, frozenset[str] | None, Entry]


class Table:
    """All registrations at one moment, ready for delivery. Immutable, and so thread-safe.

    ``routes`` maps a wire type to its callbacks in the order of registration; a type that is not in it goes
    to ``all_data``.
    """

    __slots__ = ("_other_wants", "_wants", "all_data", "book_markets", "books", "entries", "routes")

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        kinds = {e.kind for e in entries if isinstance(e.kind, str)}
        self.all_data = _routes(e for e in entries if e.kind is ALL_DATA)
        self.routes: dict[str, tuple[Route, ...]] = dict.fromkeys(REPLIES, ())
        for kind in kinds:
            wide = kind not in REPLIES
            self.routes[kind] = _routes(e for e in entries if e.kind == kind or (wide and e.kind is ALL_DATA))
        self._wants = {kind: _markets(routes) for kind, routes in self.routes.items()}
        self._other_wants = _markets(self.all_data)
        self.books = _routes(e for e in entries if e.kind is BOOKS)
        self.book_markets = _markets(self.books)

    def wants(self, wire_type: str) -> bool | frozenset[str]:
        """Whether this type is wanted: all of it (True), none (False), or only the returned tickers."""
        return self._wants.get(wire_type, self._other_wants)

    def for_event(self, event_type: type[Event]) -> tuple[Route, ...]:
        """The callbacks for an event: those registered for its class or one of its bases."""
        return _routes(e for e in self.entries if isinstance(e.kind, type) and issubclass(event_type, e.kind))


def _routes(entries: Iterable[Entry]) -> tuple[Route, ...]:
    return tuple((e.callback, e.market_tickers, e) for e in entries)


def _markets(routes: tuple[Route, ...]) -> bool | frozenset[str]:
    wanted: set[str] = set()
    for _, market_tickers, _ in routes:
        if market_tickers is None:
            return True
        wanted |= market_tickers
    return frozenset(wanted) or False


class Registry:
    """The registrations. Thread-safe without a lock: single dict operations, and a new table each time."""

    def __init__(self) -> None:
        self._entries: dict[Entry, None] = {}  # in the order of registration
        self.table = Table(())

    def register(
        self, kind: Kind, callback: Callback, market_tickers: str | Iterable[str] | None = None
    ) -> None:
        """Call ``callback`` with each object of ``kind`` from the next one on. Raises ConfigurationError."""
        entry = Entry(_checked_kind(kind), _checked_callback(callback), checked_tickers(market_tickers))
        if entry.market_tickers is not None and isinstance(kind, type):
            raise ConfigurationError(
                f"{kind.__name__} is a feed event and has no market; omit market_tickers"
            )
        self._entries[entry] = None
        self._rebuild()

    def off(self, callback: Callback) -> int:
        """Remove all registrations of ``callback``; return how many there were."""
        removed = 0
        for entry in list(self._entries):
            if entry.callback == callback and self._entries.pop(entry, _GONE) is None:
                removed += 1
        self._rebuild()
        return removed

    def _rebuild(self) -> None:
        """Replace the table, and do so again if another thread has changed the entries meanwhile."""
        while True:
            entries = tuple(self._entries)
            self.table = Table(entries)
            if tuple(self._entries) == entries:
                return


def checked_tickers(market_tickers: str | Iterable[str] | None) -> frozenset[str] | None:
    """The filter as a set; None means all markets. Raises ConfigurationError."""
    if market_tickers is None:
        return None
    try:
        tickers = frozenset((market_tickers,) if isinstance(market_tickers, str) else market_tickers)
    except TypeError:
        raise ConfigurationError(f"market_tickers must be tickers or None, not {market_tickers!r}") from None
    if not tickers or not all(isinstance(ticker, str) and ticker for ticker in tickers):
        raise ConfigurationError("market_tickers must name at least one market; omit it for all markets")
    return tickers


def callback_name(callback: object) -> str:
    """A callback's name in logs and faults: module and name, never its repr (which may show user data)."""
    while isinstance(callback, functools.partial):
        callback = callback.func
    named = callback if isinstance(getattr(callback, "__qualname__", None), str) else type(callback)
    return f"{getattr(named, '__module__', None) or '?'}.{getattr(named, '__qualname__', '?')}"


def _checked_kind(kind: Any) -> Kind:
    if (
        isinstance(kind, Special)
        or (isinstance(kind, str) and kind)
        or (isinstance(kind, type) and issubclass(kind, Event))
    ):
        return kind
    raise ConfigurationError(f"a callback is registered for a message type such as 'trade', not for {kind!r}")


def _checked_callback(callback: Any) -> Callback:
    if not callable(callback):
        raise ConfigurationError(
            f"a callback must be a function of one argument, not {type(callback).__name__}"
        )
    call = getattr(callback, "__call__", None)  # noqa: B004  (an object whose __call__ is a coroutine function)
    for function in (callback, call):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"{callback_name(callback)} is a coroutine function and would never run; callbacks are plain "
                "functions"
            )
        if inspect.isgeneratorfunction(function):
            raise ConfigurationError(f"{callback_name(callback)} is a generator function and would never run")
    return callback  # type: ignore[no-any-return]
