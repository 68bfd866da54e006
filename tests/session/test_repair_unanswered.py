"""Repairs that get no answer: the exchange is silent, or some markets never send a snapshot."""

from __future__ import annotations

from kalshi_feed import FeedFault
from tests.session.driver import BOOK, Driver, snapshot
from tests.session.support import action, actions, asked, lose, params

MANY = [f"M{n}" for n in range(1200)]


# -- no answer -----------------------------------------------------------------------------------------------


def test_snapshots_that_may_lie_unread_are_not_overdue() -> None:
    driver = Driver()
    driver.go_live("A")
    lose(driver)
    (get,) = driver.pass_time(0.02)
    for _ in range(5):
        driver.session.fell_behind(driver.now)
        assert driver.pass_time(9.9) == []
    driver.play(driver.turn(*driver.venue.answer(get)))
    assert driver.live() == {"A"}
    lose(driver)
    driver.session.fell_behind(driver.now)
    assert asked(driver.pass_time(0.02)) == {"A"}  # the request itself does not wait
    assert actions(driver.pass_time(10)) == ["unsubscribe"]


def test_snapshots_that_were_promised_may_lie_unread_too() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    (command,) = driver.connect()
    reply, first = driver.venue.answer(command)
    driver.turn(reply)
    driver.session.fell_behind(driver.now + 5.0)
    assert driver.pass_time(14.9) == []
    driver.turn(first)
    assert driver.live() == {"A"}


def test_no_answer_then_a_new_subscription_then_a_new_connection() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    driver.venue.mute |= {"A", "B"}
    lose(driver)
    assert asked(driver.pass_time(0.02)) == {"A", "B"}
    assert driver.pass_time(9.9) == []
    (end,) = driver.pass_time(0.2)
    assert (action(end), params(end)) == ("unsubscribe", {"sids": [1]})
    driver.play([end])
    assert driver.sid == 2 and driver.live() == set()
    driver.play_time(21)
    assert driver.give_up == "the books could not be repaired: no answer to get_snapshot"
    assert [fault.kind for fault in driver.take(FeedFault)] == ["no_snapshot"]
    driver.disconnect()
    driver.venue.mute.clear()
    driver.play(driver.connect())
    assert driver.live() == {"A", "B"}


def test_an_exchange_that_never_behaves_is_not_dialed_forever() -> None:
    """If a new connection does not help either, the markets are requested once in a while."""
    driver = Driver()
    driver.go_live("A")
    driver.venue.mute.add("A")
    lose(driver)
    driver.play_time(41)
    assert driver.give_up
    driver.disconnect()
    driver.play(driver.connect())
    driver.play_time(300)
    assert driver.give_up is None and driver.sid == 1
    driver.venue.mute.clear()
    driver.play_time(75)
    assert driver.live() == {"A"}
    driver.venue.mute.add("A")
    lose(driver)
    driver.play_time(11)
    assert driver.sid == 2  # it has answered, so it is no longer mute


def test_the_ladder_begins_at_the_bottom_after_it_has_helped() -> None:
    driver = Driver()
    driver.go_live("A", "B")
    for sid in (2, 3, 4):
        driver.venue.ignored.add("get_snapshot")
        lose(driver)
        driver.play_time(30)
        assert driver.give_up is None and driver.sid == sid and driver.live() == {"A", "B"}
        driver.play_time(60)


def test_no_new_subscription_over_a_change_in_flight() -> None:
    driver = Driver()
    want = driver.go_live("A")
    lose(driver)
    driver.pass_time(9)
    driver.add(want, "B")
    assert actions(driver.turn()) == ["add_markets"]
    assert driver.pass_time(2) == []
    assert driver.faults() == ["no_snapshot"]


def test_no_new_subscription_if_there_is_none() -> None:
    driver = Driver()
    want = driver.go_live("A")
    lose(driver)
    driver.pass_time(0.02)
    driver.unwant(want)
    driver.play()
    driver.want(BOOK, "A")
    driver.venue.refused["subscribe"] = 18
    driver.play()
    driver.play_time(15)
    assert all(params(c).get("sids") != [None] for c in driver.all_sent if "params" in c)
    driver.venue.refused.clear()
    driver.play_time(31)
    assert driver.live() == {"A"}


def test_books_that_are_no_longer_wanted_end_the_repair() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    lose(driver)
    assert asked(driver.pass_time(0.02)) == {"A", "B"}
    driver.unwant(want)
    driver.play()
    assert driver.pass_time(100) == [] and driver.give_up is None and driver.faults() == []


# -- mute markets --------------------------------------------------------------------------------------------


def test_a_market_that_never_answers_tears_nothing_down() -> None:
    driver = Driver()
    driver.venue.mute.add("B")
    driver.want(BOOK, "A", "B")
    driver.play(driver.connect())
    assert driver.live() == {"A"}
    driver.play_time(600)
    assert driver.live() == {"A"} and driver.sid == 1 and driver.give_up is None
    assert actions(driver.all_sent).count("get_snapshot") in range(9, 13)
    driver.take()
    lose(driver)
    driver.play_time(1)
    assert driver.live() == {"A"}
    driver.play_time(60)
    driver.venue.mute.clear()
    driver.play_time(75)
    assert driver.live() == {"A", "B"}


def test_mute_markets_do_not_hold_up_the_others() -> None:
    """1,200 markets, one per chunk of which never answers: the others are repaired chunk by chunk."""
    driver = Driver()
    driver.go_live(*MANY)
    driver.venue.mute |= {MANY[0], MANY[600], MANY[1199]}
    lose(driver, MANY[5])
    assert driver.live() == set()
    driver.play_time(31)
    assert driver.live() == set(MANY) - driver.venue.mute and driver.give_up is None and driver.sid == 1
    lose(driver, MANY[5])
    driver.play_time(1)  # those that did not answer go last
    assert len(driver.live()) == len(MANY) - 3
    driver.venue.mute.clear()
    driver.play_time(75)
    assert driver.live() == set(MANY)


def test_an_answer_may_repeat_the_last_number() -> None:
    """Such an answer is not a duplicate; and a duplicate is not an answer."""
    driver = Driver()
    driver.go_live("A", "B")
    lose(driver)
    driver.pass_time(0.02)
    last = driver.venue.subscriptions[BOOK].seq
    driver.turn(snapshot("A", 1, last, {"yes": {4000: 300}}))
    assert driver.live() == {"A"}
    driver.turn(
        snapshot("A", 1, last, {"yes": {4000: 900}}), snapshot("B", 1, last - 1), snapshot("C", 1, last)
    )
    assert driver.live() == {"A"} and driver.books["A"].yes == {4000: 300}
    driver.turn(snapshot("B", 1, last, {"yes": {4000: 100}}), *driver.venue.change("A", 100))
    assert driver.live() == {"A", "B"} and driver.ignored("duplicate") == 2


def test_chunks_of_a_repair_follow_one_another() -> None:
    driver = Driver()
    driver.go_live(*MANY)
    lose(driver, MANY[5])
    (get,) = driver.pass_time(0.02)
    assert len(asked([get])) == 500
    (get,) = driver.turn(*driver.venue.answer(get))
    assert len(asked([get])) == 500
    (get,) = driver.turn(*driver.venue.answer(get))
    assert len(asked([get])) == 200
    assert driver.turn(*driver.venue.answer(get)) == []
    assert driver.live() == set(MANY) and driver.session.output.counts.resyncs == 1


def test_a_promised_snapshot_that_does_not_come_is_asked_for() -> None:
    """S29; others that come extend the deadline, up to a limit."""
    driver = Driver()
    driver.venue.mute.add("A")
    want = driver.want(BOOK, "A")
    driver.play(driver.connect())
    driver.venue.mute.clear()
    for n in range(6):
        driver.add(want, MANY[n])
        driver.play()
        assert driver.pass_time(9.9) == []
    driver.add(want, MANY[6])
    driver.play()
    (get,) = driver.pass_time(9.9)
    assert "A" in asked([get])
    driver.play([get])
    assert driver.live() == {"A", *MANY[:7]}
