"""A session in which every saved attribute has its own distinctive value."""

from __future__ import annotations

from collections import deque
from typing import Any

from kalshi_feed.books.book import Book
from kalshi_feed.session.commands import Command
from kalshi_feed.session.cross_check import _Suspicion
from kalshi_feed.session.repair import RepairRung
from kalshi_feed.session.session import Session
from kalshi_feed.session.timing import Timing
from kalshi_feed.session.unknown_markets import Question
from kalshi_feed.session.wanted import Want, Wanted
from tests.session.driver import BOOK

__all__ = ["SAVED", "A", "B", "C", "full_session", "new_session", "parts_of"]

A, B, C = "KX-A", "KX-B", "KX-C"
SENT = Command(5, "add_markets", BOOK, (A, B), 1010.5, 1, repeated=True)
LISTED = Command(6, "list_subscriptions", "", (), 1011.0)
LATE = Command(4, "get_snapshot", BOOK, (B,), 990.25, 1)
NEVER = float("inf")

# Every attribute that is saved, with a value that differs from its initial one.
SAVED: dict[str, dict[str, Any]] = {
    "Session": {
        "_connected_at": 980.5,
        "_replies_repeat": True,
    },
    "LeftOut": {
        "_bad_frames": deque([981.0, 982.5]),
        "_unknown_sids": {7, None},
        "_snapshotless": {B},
        "_unread_types": {"fill"},
    },
    "Reconciler": {
        "next_id": 7,
        "unsettled": {BOOK, "trade"},
        "online": True,
        "_snapshots": {C: None, A: None},
        "_snapshots_at": 1000.25,
        "_questions": {("indexlist", "cfbenchmarks_value"): None},
        "_lists": {6: []},
        "_expired": deque([LATE], maxlen=100),
        "in_flight": {5: SENT, 6: LISTED},
        "not_overdue_before": 1001.0,
    },
    "ServerSubscription": {
        "name": BOOK,
        "failures": 3,
        "opened_at": 980.75,
        "retry_at": 1002.0,
        "selector": "market_tickers",
        "pending": SENT,
        "sid": 1,
        "is_open": True,
        "next_seq": 42,
        "floor": 30,
        "hole": range(31, 39),
        "confirmed": {A, B},
        "uncertain": {C},
        "chunk": 250,
        "unproven": {A},
        "renewing": {B},
    },
    "ServerSubscriptions": {
        "retired": {9: None, 2: None},
        "_ended_early": {("sid", 3): "error 10", ("id", 7): "error 25"},
    },
    "Repair": {
        "_mute": {C},
        "_due": 1003.0,
        "_promised": 1004.0,
        "_promised_at_most": 1005.0,
        "_deadline": 1006.0,
        "not_overdue_before": 1007.0,
        "_asked": {A, C},
        "_queue": [C, B],
        "_some_answered": True,
        "_rung": RepairRung.SUBSCRIPTION,
        "_failures": deque([985.0]),
        "_gaps": deque([985.0, 986.0], maxlen=1000),
        "_broken": (A, B),
    },
    "CrossCheck": {
        "not_overdue_before": 1008.0,
        "has_news": True,
        "_look_at": 1009.0,
        "_to_look_at": [B, C],  # as books
        "_denied": {A: (1000.5, 2)},  # as suspicions at the current version
        "_crossed": {B: (NEVER, 3), C: (999.5, 1)},
        "_due": {C: None, A: None},
        "_ask_at": 1009.5,
        "_asked": {B: 1010.0, A: 1011.0},
        "_not_before": {C: 1050.0},
    },
    "UnknownMarkets": {
        "_next": 1060.0,
        "questions": {B: (1060.0, 120.0, 1001.0, 1010.0), A: (1080.0, 60.0, 1002.0, 0.0)},  # as questions
        "closes": {C: 1_800_000_000},
    },
    "Output": {"_second": 1000, "_reported": 3, "_suppressed": 2},
    "Wanted": {"new_books": {B: None}, "lists": [[], []]},
}


def parts_of(session: Session) -> dict[str, Any]:
    """The session's objects that have state, by class."""
    subscriptions = session.reconciler.subscriptions
    return {
        "Session": session,
        "LeftOut": session.left_out,
        "Reconciler": session.reconciler,
        "ServerSubscriptions": subscriptions,
        "ServerSubscription": subscriptions[BOOK],
        "Repair": session.repair,
        "CrossCheck": session.cross_check,
        "UnknownMarkets": session.unknown_markets,
        "Output": session.output,
        "Wanted": session._wanted,
    }


def new_session() -> Session:
    """Three books that are wanted and LIVE."""
    wanted, books = Wanted(), {}
    for market_ticker in wanted.add(Want((BOOK,), "market_tickers", (A, B, C), {})):
        book = books[market_ticker] = Book(market_ticker)
        book.replace({4000: 100}, {5000: 100}, 1, 0, 1.0)
    wanted.take_pending()
    return Session(books, wanted, timing=Timing())


def put(part: Any, name: str, value: Any, books: Any) -> None:
    """Set an attribute, converting the cross check's values to its own classes."""
    if name == "_to_look_at":
        value = [books[market_ticker] for market_ticker in value]
    elif name in ("_denied", "_crossed"):
        value = {key: _Suspicion(since, books[key].version, signs) for key, (since, signs) in value.items()}
    elif name == "questions":
        value = {key: Question(*times) for key, times in value.items()}
    setattr(part, name, value)


def full_session() -> Session:
    """A session in which every saved attribute has its value from SAVED."""
    session = new_session()
    for kind, part in parts_of(session).items():
        for name, value in SAVED[kind].items():
            put(part, name, value, session._books)
    subscriptions = session.reconciler.subscriptions
    subscriptions.by_sid[1] = subscriptions[BOOK]
    return session
