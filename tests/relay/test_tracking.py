"""What a consumer makes of the ids, the times and the answers of its relay, without Redis."""

from __future__ import annotations

import math

import pytest

from kalshi_feed.relay.layout import EntryId, EntryKind, StreamEntry
from kalshi_feed.relay.mirror import RelayClock
from kalshi_feed.relay.tracking import Tracker
from kalshi_feed.relay.wish_list import RENEW_EVERY, WishList
from kalshi_feed.relay.wishes import OneTimeRequest, SubscribeWish


def entry(number: int, kind: EntryKind = EntryKind.BEAT, late: float = 0.0) -> StreamEntry:
    return StreamEntry(EntryId(5, number), kind, 0, late=late)


def current(position: int = 10) -> Tracker:
    """A tracker that is current at this number of generation 5, at the time 100."""
    tracker = Tracker(2.0)
    tracker.begin(EntryId(5, position - 1), 100.0)
    assert tracker.saw_end(EntryId(5, position - 1))
    tracker.take(entry(position), 100.0)
    assert tracker.read_to_end()
    return tracker


def test_current_only_after_an_entry_that_is_new() -> None:
    """What was written before the consumer asked for the end may be years old."""
    tracker = Tracker(2.0)
    assert not tracker.read_to_end()
    tracker.begin(EntryId(5, 3), 100.0)
    tracker.take(entry(4), 100.0)
    assert not tracker.read_to_end()  # the end has not been asked for
    assert tracker.saw_end(EntryId(5, 6))
    for number in (5, 6):
        assert tracker.is_next(EntryId(5, number))
        tracker.take(entry(number), 100.0)
        assert not tracker.read_to_end()
    tracker.take(entry(7), 100.0)
    assert tracker.read_to_end()
    assert not tracker.read_to_end()  # it is already


def test_reading_too_slowly() -> None:
    """With entries always waiting, what was read last may be old, although entries come all the time."""
    tracker = current()
    assert tracker.has_read(True, 100.0)
    for now in (101.0, 102.0):
        assert tracker.has_read(False, now)
    assert not tracker.has_read(False, 102.1)
    assert tracker.has_read(True, 102.2)
    tracker.lose()
    assert tracker.has_read(False, 105.0)  # it is not current anyway


@pytest.mark.parametrize("end", [None, EntryId(5, 8), EntryId(4, 99)])
def test_checkpoint_newer_than_the_end(end: EntryId | None) -> None:
    """The entries that it contains may not be written yet, or are lost: the next one proves enough."""
    tracker = Tracker(2.0)
    tracker.begin(EntryId(5, 10), 100.0)
    assert tracker.saw_end(end)
    assert not tracker.read_to_end()
    tracker.take(entry(11), 100.0)
    assert tracker.read_to_end()


def test_holes() -> None:
    tracker = current(10)
    assert tracker.is_next(EntryId(5, 11))
    assert tracker.missing_before(EntryId(5, 13)) == 2
    for id in (EntryId(5, 10), EntryId(5, 12), EntryId(6, 1), EntryId(6, 11), EntryId(4, 11)):
        assert not tracker.is_next(id)
    assert tracker.missing_before(EntryId(6, 1)) is None
    tracker.forget()
    assert not tracker.is_current
    assert not tracker.is_next(EntryId(5, 11))


def test_late_and_ended() -> None:
    """A relay that is behind Redis, or that says goodbye."""
    for old in (entry(11, late=1.5), entry(11, EntryKind.END)):
        tracker = current(10)
        tracker.take(old, 101.0)
        assert not tracker.is_current
        assert tracker.wants_end
        assert tracker.saw_end(old.id)
        assert not tracker.read_to_end()
        tracker.take(entry(12), 101.0)
        assert tracker.read_to_end()
    tracker = current(10)
    tracker.take(entry(11, late=0.9), 101.0)
    assert tracker.is_current


def test_silence() -> None:
    tracker = current(10)
    assert not tracker.is_silent(102.0)
    assert tracker.is_silent(102.1)
    assert tracker.silent_at() == 102.0
    tracker.excuse(1.0)  # the callbacks were busy for so long
    assert not tracker.is_silent(102.1)
    tracker.lose()
    assert not tracker.read_to_end()
    assert tracker.saw_end(EntryId(5, 10))
    assert not tracker.read_to_end()
    tracker.take(entry(11), 110.0)
    assert tracker.read_to_end()
    assert not tracker.is_silent(112.0)


def test_stream_that_someone_else_goes_on_with() -> None:
    """In a generation before ours, so that nothing of it would ever be read."""
    tracker = current(10)
    tracker.lose()
    assert tracker.saw_end(EntryId(4, 7))  # older data, perhaps: our relay will go on from our position
    assert tracker.saw_end(EntryId(4, 7))
    assert tracker.saw_end(EntryId(5, 11))
    assert tracker.saw_end(EntryId(4, 7))
    assert not tracker.saw_end(EntryId(4, 8))


def test_clock_of_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from the entry that came with the least delay, whatever it says and whatever ours says."""
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = RelayClock()
    assert clock.set(7_000_000_000, 2_000_000_000) == 5.0
    assert clock.monotonic() == 5.0
    assert clock.arrived(5.0, now) == 0.0
    now += 1.0
    assert clock.monotonic() == 6.0
    assert clock.arrived(5.25, now) == pytest.approx(0.75)  # that one was slow
    assert clock.monotonic() == 6.0
    assert clock.arrived(6.5, now) == 0.0  # and this one quicker than the first
    assert clock.monotonic() == 6.5
    for _ in range(2):  # clocks drift: what was long ago counts no more
        now += 61.0
        assert clock.arrived(now - 1_000.0, now) <= 6.5
    assert clock.monotonic() == now - 1_000.0
    clock.restart()
    assert clock.set(2_000_000_000, 0) == clock.monotonic() == 2.0


def test_wishes_are_sent_until_they_are_answered() -> None:
    wishes, wish = WishList(), SubscribeWish(1, ["trade"])
    wishes.again()
    assert wishes.send_at() == math.inf  # nothing was ever wanted
    wishes.change()
    assert wishes.send_at() < 0
    message = wishes.message([wish], [], 100.0)
    assert (message.consumer, message.serial, message.subscribe) == (wishes.consumer, 1, [wish])
    assert wishes.send_at() == 101.0
    assert wishes.message([wish], [], 101.0) == message
    assert wishes.send_at() == 103.0
    assert wishes.unanswered_for(102.0) == 2.0
    wishes.answered(1)
    assert wishes.send_at() == 101.0 + RENEW_EVERY
    assert wishes.unanswered_for(102.0) == 0.0
    wishes.change()  # together with others that come within a moment
    assert 101.0 < wishes.send_at() < 101.1
    wishes.answered(1)  # an answer to the one before
    assert not wishes.is_answered
    assert wishes.message([], [], 102.0).serial == 2
    wishes.answered(99)  # a forged one, say
    assert wishes.is_answered
    assert wishes.send_at() == math.inf  # nothing is wanted anymore
    wishes.again()
    assert wishes.send_at() == math.inf


def test_requests_are_made_once() -> None:
    wishes, ask = WishList(), OneTimeRequest("checkpoint")
    wishes.ask(ask)
    assert wishes.asks_for("checkpoint")
    assert wishes.message([], [], 100.0).requests == [ask]
    wishes.ask(OneTimeRequest("ask_again", ["X"]))
    assert len(wishes.message([], [], 100.1).requests) == 2
    wishes.answered(1)
    assert not wishes.asks_for("checkpoint")
    assert wishes.message([], [], 101.0).requests == [OneTimeRequest("ask_again", ["X"])]
    wishes.answered(2)
    assert wishes.send_at() == math.inf
