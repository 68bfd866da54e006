"""Sessions that continue from the middle of a connection, listen to others, or ignore missing seqs."""

from __future__ import annotations

from kalshi_feed.books.book import Book, BookStatus
from kalshi_feed.events import Gap
from kalshi_feed.session.memory import SessionMemory, SubscriptionMemory
from kalshi_feed.session.session import Session
from kalshi_feed.session.timing import Timing
from kalshi_feed.session.wanted import Want, Wanted
from tests.session.driver import BOOK, delta, encoded, error, ok, snapshot, subscribed, unsubscribed

A, B = "KX-A", "KX-B"


def listening(**options: bool) -> Session:
    """A session with two books in the middle of a connection: the books on sid 1, the next seq unknown."""
    wanted = Wanted()
    books = {ticker: Book(ticker) for ticker in wanted.add(Want((BOOK,), "market_tickers", (A, B), {}))}
    session = Session(books, wanted, timing=Timing(), **options)
    subscriptions = [
        SubscriptionMemory(BOOK, 1, confirmed=[A, B]),
        SubscriptionMemory("trade", is_open=False),
    ]
    session.restore(SessionMemory(next_id=7, subscriptions=subscriptions, retired=[9], connected_at=0.0), 0.0)
    return session


def take(session: Session, *frames: object, now: float = 1.0) -> list[object]:
    session.receive([encoded(frame) for frame in frames], now)  # type: ignore[arg-type]
    session.tick(now)
    items, _, _ = session.output.take()
    return items  # type: ignore[return-value]


def test_it_goes_on_where_another_stopped() -> None:
    session = listening()
    assert session.reconciler.next_id == 7 and session.sid_of(BOOK) == 1 and session.sid_of("trade") is None
    books = session._books
    assert (
        len(take(session, snapshot(A, 1, 50, {"yes": {4000: 5}}), snapshot(B, 1, 51), delta(A, 1, 52))) == 3
    )
    assert books[A].status is books[B].status is BookStatus.LIVE and books[A].yes == {4000: 105}
    assert take(session, delta(A, 9, 1)) == [] and session.output.counts.ignored["ended_subscription"] == 1
    assert session.output.counts.gaps == 0


def test_one_that_only_listens_asks_for_nothing() -> None:
    session = listening(listen_only=True)
    session._wanted.add(Want(("trade",), None, (), {}))
    session._wanted.snapshots[A] = None
    items = take(
        session,
        subscribed(3, BOOK, 1),
        ok(4, 1, 50),
        snapshot(A, 1, 51, {"yes": {4000: 5}}),
        snapshot(B, 1, 52),
    )
    assert len(items) == 4 and session.output.counts.faults == {}
    assert type(take(session, delta(A, 1, 60))[0]) is Gap  # this would have requested a snapshot
    for now in range(2, 200):
        session.tick(float(now))
        assert session.output.take()[2] == []
    assert session.reconciler.next_deadline() == float("inf") and not session._wanted.snapshots
    assert session._books[A].status is BookStatus.STALE


def test_what_ends_for_the_others_ends() -> None:
    for end in (unsubscribed(5, 1, 52), error(25, sid=1, seq=52)):
        session = listening(listen_only=True)
        take(session, snapshot(A, 1, 50), snapshot(B, 1, 51))
        take(session, unsubscribed(6, 70), error(25, sid=70), error(9, sid=1))
        assert session._books[A].status is BookStatus.LIVE
        gaps = [item for item in take(session, end) if isinstance(item, Gap)]
        assert len(gaps) == 1 and session._books[A].status is BookStatus.STALE


def test_missing_seqs_mean_nothing_unless_strict() -> None:
    session = listening(strict=False)
    take(session, snapshot(A, 1, 50, {"yes": {4000: 100}}), delta(A, 1, 60), delta(A, 1, 60), delta(A, 1, 75))
    assert session._books[A].yes == {4000: 300} and session._books[A].status is BookStatus.LIVE
    assert session.output.counts.ignored["duplicate"] == 1 and session.output.counts.gaps == 0
    take(session, delta(A, 1, 10))
    assert session.output.counts.gaps == 1 and session._books[A].status is BookStatus.STALE
