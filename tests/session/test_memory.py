"""A session saves and restores itself completely: a restored one continues as the first would have."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from kalshi_feed.books.book import BookStatus
from kalshi_feed.session.memory import SessionMemory
from kalshi_feed.session.server_subscription import ServerSubscription
from kalshi_feed.session.session import Session
from tests.session.driver import BOOK, Driver, delta, snapshot, ticker, trade
from tests.session.memories import SAVED, A, B, full_session, new_session, parts_of

# Users' requests since the last tick are saved with the reconciler's of the same kind.
JOINED = {
    "changed": ("unsettled", {"ticker"}),
    "snapshots": ("_snapshots", {B: None}),
    "questions": ("_questions", {("l", "c"): None}),
}

# Every other attribute, with the reason why it need not be saved.
DERIVABLE: dict[str, dict[str, str]] = {
    "Session": {
        "_books": "the store's, which are restored before",
        "_wanted": "the user requests'",
        "_timing": "an argument",
        "_describe": "an argument",
        "_strict": "an argument",
        "decoder": "has no state but use_yes_price, an argument that the recording's header holds",
        "output": "below",
        "reconciler": "below",
        "repair": "below",
        "cross_check": "below",
        "unknown_markets": "below",
        "left_out": "below",
    },
    "LeftOut": {"_output": "see Session", "_timing": "an argument"},
    "Reconciler": {
        "_wanted": "shared with the session",
        "_output": "shared with the session",
        "_timing": "an argument",
        "_use_yes_price": "an argument",
        "_listener": "the session",
        "subscriptions": "below",
    },
    "ServerSubscription": {"rule": "follows from the name", "_named": "a cache of confirmed"},
    "ServerSubscriptions": {
        "_by_name": "the subscriptions that are saved, by name",
        "by_sid": "the same by sid",
    },
    "Repair": {"_books": "see Session", "_output": "see Session", "_timing": "an argument"},
    "CrossCheck": {
        "_books": "see Session",
        "_output": "see Session",
        "_timing": "an argument",
        "_round": "follows from the timing",
    },
    "UnknownMarkets": {
        "_books": "see Session",
        "_output": "see Session",
        "_timing": "an argument",
        "asks_again": "whether there is anything saved",
        "serial": "compared by waits only, which do not go over to another session",
    },
    "Output": {
        "items": "taken after every input",
        "status_changed": "taken after every input",
        "outbox": "taken after every input",
        "give_up": "ends the connection, and so is forgotten, with the input that sets it",
        "counts": "a recording counts from its own beginning",
        "_limit": "an argument",
    },
    "Wanted": {"wants": "saved by the recording, which numbers them", "channels": "follows from the wants"},
}


def attributes(thing: Any) -> set[str]:
    return {name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())} | set(
        getattr(thing, "__dict__", ())
    )


def restored(session: Session, onto: Session, now: float = 1000.0) -> Session:
    """``onto``, made equal to ``session`` by way of JSON."""
    memory = SessionMemory()
    session.save(memory)
    onto.restore(msgspec.json.decode(msgspec.json.encode(memory), type=SessionMemory), now)
    return onto


def seen(part: Any, name: str) -> Any:
    """An attribute in the form that it has in SAVED."""
    value = getattr(part, name)
    if name == "_to_look_at":
        return [book.market_ticker for book in value]
    if name in ("_denied", "_crossed"):
        return {key: (one.since, one.signs) for key, one in value.items()}
    if name == "questions":
        return {key: (one.due, one.delay, one.not_before, one.waits_until) for key, one in value.items()}
    return value


def test_every_attribute_is_saved_or_need_not_be() -> None:
    for kind, part in parts_of(new_session()).items():
        joined = set(JOINED) if kind == "Wanted" else set()
        assert not SAVED[kind].keys() & DERIVABLE[kind].keys()
        assert attributes(part) == SAVED[kind].keys() | DERIVABLE[kind].keys() | joined, (
            f"{kind}: save and restore the new attribute, or say in DERIVABLE why that is not needed"
        )


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, saved in SAVED.items() for name in saved])
def test_what_is_saved_is_restored(kind: str, name: str) -> None:
    fresh, again = parts_of(new_session())[kind], parts_of(restored(full_session(), new_session()))[kind]
    expected = SAVED[kind][name]
    assert seen(again, name) == expected and type(seen(again, name)) is type(expected)
    assert name == "name" or seen(fresh, name) != expected, "a value that would be there anyway shows nothing"
    if isinstance(expected, (dict, list)):
        assert list(seen(again, name)) == list(expected), "the order counts"
    if isinstance(expected, deque):
        assert seen(again, name).maxlen == expected.maxlen


def test_what_users_asked_for_last_is_saved_too() -> None:
    session = full_session()
    for name, (_, value) in JOINED.items():
        setattr(session._wanted, name, value)
    again = restored(session, new_session()).reconciler
    for name, (place, value) in JOINED.items():
        mine = SAVED["Reconciler"][place]
        assert getattr(again, place) == mine | value, name
    assert again.subscriptions.by_sid == {1: again.subscriptions[BOOK]}


def test_it_does_not_matter_what_was_before() -> None:
    again = restored(new_session(), full_session())
    for kind, part in parts_of(new_session()).items():
        for name in SAVED[kind]:
            assert seen(parts_of(again)[kind], name) == seen(part, name), (kind, name)


def test_a_denial_of_a_book_that_has_changed_is_dropped() -> None:
    session = full_session()
    session._books[A].apply("yes", 4000, 100, 2, 0, 2.0)
    assert restored(session, new_session()).cross_check._denied == {}


# -- one that goes on ----------------------------------------------------------------------------------------


def script(driver: Driver, seed: int, between: Callable[[], None]) -> list[Any]:
    """A session's life, from this seed; ``between`` is called after each step.

    Returns what was reported and sent, step by step.
    """
    dice, history = random.Random(seed), []
    markets = [f"M{number}" for number in range(4)]
    for name in markets:
        driver.venue.change(name, 100)
    wants = [driver.want(BOOK, *markets[:3]), driver.want("trade"), driver.want("ticker", *markets)]
    late: list[Any] = []
    driver.play(driver.connect())
    for _ in range(60):
        deed = dice.randrange(12)
        name = dice.choice(markets)
        if deed < 4:
            driver.change(name, dice.choice([100, 200]))
        elif deed == 4:
            late += driver.venue.change(name, 100)  # lost, or late
        elif deed == 5 and late:
            driver.play(driver.turn(late.pop(dice.randrange(len(late)))))
        elif deed == 6:
            driver.play(driver.pass_time(dice.choice([0.01, 0.5, 4.0])))
        elif deed == 7:
            driver.inbox += driver.turn(trade(name, 2, None), ticker(name, 3))
        elif deed == 8:
            (driver.add if dice.random() < 0.5 else driver.delete)(wants[0], name)
            driver.turn()  # its command is never answered
        elif deed == 9:
            driver.wanted.snapshots[name] = None
            driver.list_subscriptions()
        elif deed == 10:
            driver.play(driver.turn(b"{", b'{"type":"orderbook_delta","sid":1}'))
        elif driver.give_up is not None or dice.random() < 0.2:
            driver.disconnect()
            driver.play(driver.connect())
            late.clear()
        between()
        history.append((driver.take(), driver.session.next_deadline(), sorted(driver.live()), driver.give_up))
    return [*history, driver.all_sent]


@pytest.mark.parametrize("seed", range(40))
def test_one_that_is_restored_after_every_step_lives_the_same_life(seed: int) -> None:
    straight, driver = Driver(), Driver()
    expected = script(straight, seed, lambda: None)

    def exchange_it() -> None:
        old = driver.session
        driver.session = Session(driver.books, driver.wanted, timing=driver.timing)
        driver.session.output.give_up, driver.session.output.counts = old.output.give_up, old.output.counts
        restored(old, driver.session, driver.now)

    assert str(script(driver, seed, exchange_it)) == str(expected)


def test_S40_the_hole_of_a_gap_outlives_a_restore() -> None:
    """A late frame of a gap is late for the restored session too."""
    session = new_session()
    session.restore(SessionMemory(connected_at=0.0), 0.0)
    subscription = session.reconciler.subscriptions[BOOK]
    session.reconciler.subscriptions.adopt(subscription, 1)
    subscription.is_open = True
    frames = [
        msgspec.json.encode(frame)
        for frame in (snapshot(A, 1, 1, {"yes": {4000: 100}}), delta(A, 1, 3), delta(A, 1, 2))
    ]
    session.receive(frames[:2], 1.0)
    again = restored(session, new_session(), 1.0)
    again.receive(frames[2:], 1.5)
    assert again.output.counts.ignored["late"] == 1 and again.output.counts.gaps == 0
    assert again._books[A].status is BookStatus.LIVE


def test_a_subscription_alone() -> None:
    subscription = ServerSubscription(BOOK)
    assert ServerSubscription.restored(subscription.save(), {}).save() == subscription.save()
