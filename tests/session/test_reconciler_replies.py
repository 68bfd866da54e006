"""The conversation: replies in odd shapes."""

from __future__ import annotations

import pytest

from kalshi_feed import Gap
from tests.session.driver import BOOK, Driver, Frame, delta, error, ok, snapshot, subscribed, unsubscribed
from tests.session.support import action, actions, confirmed, params


def test_subscribed_without_id_by_its_channel() -> None:
    driver = Driver()
    driver.want((BOOK, "trade"), "A")
    driver.connect()
    driver.turn(subscribed(None, "trade", 7), subscribed(None, BOOK, 8))
    assert (driver.session.sid_of("trade"), driver.session.sid_of(BOOK)) == (7, 8)


def test_subscribed_with_nothing_but_a_sid() -> None:
    driver = Driver()
    driver.want((BOOK, "trade"), "A")
    driver.connect()
    driver.turn({"type": "subscribed", "msg": {"sid": 3}}, {"type": "subscribed", "id": 2, "msg": {"sid": 4}})
    assert (driver.session.sid_of(BOOK), driver.session.sid_of("trade")) == (3, 4)


def test_the_2025_guide_names_no_sid() -> None:
    """Nor is the channel nested. The first data frame reveals the sid, or list_subscriptions does."""
    driver = Driver()
    want = driver.want((BOOK, "trade"), "A")
    driver.connect()
    assert (
        driver.turn(
            {"type": "subscribed", "id": 1, "channel": BOOK}, {"type": "subscribed", "channel": "trade"}
        )
        == []
    )
    driver.turn(snapshot("A", 5, 1))
    assert driver.sid == 5 and driver.session.sid_of("trade") is None
    driver.add(want, "B")
    add, list_ = driver.turn()
    assert (action(add), params(add)["sids"], action(list_)) == ("add_markets", [5], "list_subscriptions")
    (add_trade,) = driver.turn({"id": list_["id"], "type": "ok", "msg": [{"channel": "trade", "sid": 6}]})
    assert (action(add_trade), params(add_trade)["sids"]) == ("add_markets", [6])


def test_a_sid_that_is_not_stated_is_asked_for_to_repair() -> None:
    driver = Driver()
    driver.want(BOOK, "A", "B")
    driver.connect()
    driver.turn({"type": "subscribed", "id": 1, "channel": BOOK}, snapshot("A", None, 1))
    assert driver.status("A") == "LIVE"
    driver.turn(delta("A", None, 3))
    assert driver.status("A") == "STALE"
    (list_,) = driver.pass_time(0.1)
    assert action(list_) == "list_subscriptions"
    assert driver.turn({"id": list_["id"], "type": "ok", "msg": [{"channel": BOOK, "sid": 6}]}) == []
    (get,) = driver.pass_time(10)
    assert (action(get), params(get)["sids"]) == ("get_snapshot", [6])
    driver.turn(snapshot("A", 6, 4), snapshot("B", 6, 5))
    assert driver.live() == {"A", "B"}


def test_a_channel_that_is_not_listed_is_subscribed_again() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.connect()
    driver.turn({"type": "subscribed", "id": 1, "channel": "trade"})
    driver.add(want, "B")
    (list_,) = driver.turn()
    assert driver.turn({"id": list_["id"], "type": "ok", "msg": []}) == []
    (again,) = driver.pass_time(0.5)
    assert params(again) == {"channels": ["trade"], "market_tickers": ["A", "B"]}


@pytest.mark.parametrize(
    "answer", [{"type": "ok"}, {"type": "error", "msg": {"code": 5, "msg": "Unknown command"}}]
)
def test_a_list_that_says_nothing_is_asked_for_later(answer: Frame) -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.connect()
    driver.turn({"type": "subscribed", "id": 1, "channel": "trade"})
    driver.add(want, "B")
    (list_,) = driver.turn()
    assert driver.turn(answer | {"id": list_["id"]}) == []
    assert driver.pass_time(9.9) == []
    assert actions(driver.pass_time(0.2)) == ["list_subscriptions"]


def test_ok_without_id_answers_the_oldest_change_of_its_channel() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.wanted.snapshots["A"] = None
    driver.add(want, "B")
    add, get = driver.turn()
    assert actions([add, get]) == ["add_markets", "get_snapshot"]
    driver.turn(ok(None, driver.sid, driver.seq))
    assert confirmed(driver) == {"A", "B"}


def test_ok_with_neither_id_nor_sid() -> None:
    driver = Driver()
    want = driver.go_live("A")
    box = driver.list_subscriptions()
    driver.add(want, "B")
    driver.turn()
    driver.turn(ok(None))
    assert confirmed(driver) == {"A", "B"} and box == []  # a list looks different
    driver.turn({"type": "ok", "msg": [{"channel": BOOK, "sid": 1}]})
    assert box == [((BOOK, 1),)]


def test_ok_for_a_channel_that_was_open_already() -> None:
    """PROTOCOL.md 5.3: no snapshot comes, so it is requested; seq continues from there."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    assert driver.turn(ok(1, 9, 41)) == []
    assert driver.sid == 9 and confirmed(driver) == {"A"}
    (get,) = driver.pass_time(10)
    assert action(get) == "get_snapshot"
    driver.turn(snapshot("A", 9, 42), delta("A", 9, 43))
    assert driver.live() == {"A"}
    driver.turn(delta("A", 9, 45))
    assert driver.live() == set()


def test_that_ok_may_have_no_number_or_no_sid() -> None:
    for answer in (ok(1, 9), ok(1)):
        driver = Driver()
        driver.want(BOOK, "A")
        driver.connect()
        driver.turn(answer, snapshot("A", 9, 57), delta("A", 9, 58))
        assert driver.live() == {"A"} and driver.sid == 9 and driver.take(Gap) == []


def test_that_ok_may_list_more_than_was_asked() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    (delete,) = driver.turn(ok(1, 9, 41, ["A", "X"]))
    assert params(delete) == {"sids": [9], "market_tickers": ["X"], "action": "delete_markets"}


def test_ok_to_a_repeated_subscribe_does_not_hide_a_loss() -> None:
    """The first answer was lost, but not the frames: seq is checked throughout."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(snapshot("A", 1, 1, {"yes": {4000: 100}}))
    (again,) = driver.pass_time(10)
    driver.turn(ok(again["id"], 1, 2))
    driver.turn(delta("A", 1, 4))
    assert driver.status("A") == "STALE"


def test_subscribed_to_the_first_of_two_tries() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    (first,) = driver.connect()
    (again,) = driver.pass_time(10)
    driver.turn(subscribed(first["id"], BOOK, 1), snapshot("A", 1, 1))
    assert driver.live() == {"A"}
    driver.turn(ok(again["id"], 1, 2))
    assert driver.take(Gap) == [] and driver.faults() == []
    assert driver.pass_time(60) == [] and driver.give_up is None


def test_the_second_answer_may_never_come() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    (first,) = driver.connect()
    driver.pass_time(10)
    driver.turn(subscribed(first["id"], BOOK, 1), snapshot("A", 1, 1))
    assert driver.pass_time(60) == [] and driver.give_up is None


def test_the_second_answer_may_be_an_error() -> None:
    driver = Driver()
    want = driver.want(BOOK, "A")
    (first,) = driver.connect()
    (again,) = driver.pass_time(10)
    driver.turn(subscribed(first["id"], BOOK, 1), snapshot("A", 1, 1), error(26, again["id"]))
    assert driver.live() == {"A"} and want.error is None


def test_two_subscriptions_from_two_tries() -> None:
    """The first had ended when the second was answered: the second must not stay open unwanted."""
    driver = Driver()
    want = driver.want("trade", "A")
    (first,) = driver.connect()
    (again,) = driver.pass_time(10)
    driver.unwant(want)
    (end,) = driver.turn(subscribed(first["id"], "trade", 1))
    driver.turn(unsubscribed(None, 1))
    (end,) = driver.turn(subscribed(again["id"], "trade", 2))
    assert params(end) == {"sids": [2]}


def test_a_subscription_that_is_no_longer_waited_for() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    (first,) = driver.connect()
    (again,) = driver.pass_time(10)
    driver.turn(subscribed(first["id"], "trade", 1))
    driver.pass_time(11)  # the second question needs no answer
    driver.turn(unsubscribed(None, 1))
    driver.unwant(want)
    driver.pass_time(1)
    (end,) = driver.turn(subscribed(again["id"], "trade", 2))
    assert params(end) == {"sids": [2]}


def test_subscribed_from_the_past_is_not_an_answer() -> None:
    """A repeated frame, after the channel was subscribed again."""
    driver = Driver()
    want = driver.go_live("A")
    driver.unwant(want)
    driver.play()
    driver.want(BOOK, "A")
    (second,) = driver.turn()
    assert driver.turn(subscribed(1, BOOK, 1)) == []
    assert driver.session.sid_of(BOOK) is None and driver.faults() == ["unexpected_reply"]
    driver.play([second])
    assert driver.sid == 2


def test_subscribed_twice() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(
        subscribed(1, BOOK, 1), subscribed(None, BOOK, 1), subscribed(99, "trade", 4), {"type": "subscribed"}
    )
    assert driver.faults() == ["unexpected_reply"] * 4
    assert driver.live() == {"A"}


def test_replies_of_the_wrong_type_leave_the_command_waiting() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    box = driver.list_subscriptions()
    add, list_ = driver.turn()
    for id_ in (add["id"], list_["id"]):
        driver.turn(subscribed(id_, "trade", 5), unsubscribed(id_, None), unsubscribed(id_, 77))
    assert len(driver.faults()) == 6
    driver.play([add, list_])
    assert driver.live() == {"A", "B"} and box == [((BOOK, 1),)]


def test_replies_that_answer_nothing() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(ok(99), ok(None), unsubscribed(None, 44), unsubscribed(None, None), unsubscribed(99, 45))
    assert driver.faults() == ["unexpected_reply"] * 5
    assert driver.live() == {"A"}


def test_an_end_of_another_subscription_does_not_end_this_one() -> None:
    """`unsubscribed` without an id for a sid that is not ours, while an unsubscribe waits for its answer."""
    driver = Driver()
    want = driver.want("trade", "A")
    driver.play(driver.connect())
    driver.unwant(want)
    (end,) = driver.turn()
    driver.turn(unsubscribed(None, 77))
    assert driver.session.sid_of("trade") == 1
    driver.turn(unsubscribed(None, None))
    assert driver.session.sid_of("trade") is None
    driver.turn(unsubscribed(end["id"], 1))  # again
    assert driver.faults() == ["unexpected_reply"]


def test_unsubscribe_answered_by_ok() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.play(driver.connect())
    driver.unwant(want)
    (end,) = driver.turn()
    assert driver.turn(ok(end["id"], 1)) == [] and driver.session.sid_of("trade") is None
    assert driver.turn(unsubscribed(None, 1)) == []


def test_unsubscribed_by_id_for_another_sid() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.play(driver.connect())
    driver.unwant(want)
    (end,) = driver.turn()
    driver.turn(unsubscribed(end["id"], 55))
    assert driver.session.sid_of("trade") is None


def test_get_snapshot_may_be_answered_by_ok_too() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.wanted.snapshots["A"] = None
    (get,) = driver.turn()
    driver.turn(ok(get["id"], driver.sid, driver.seq))
    assert driver.faults() == [] and driver.live() == {"A"}


def test_frames_before_subscribed() -> None:
    """S08: they reveal the sid; if `subscribed` names another one, they belong to another subscription."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(snapshot("A", 1, 1), delta("A", 1, 2))
    assert driver.live() == {"A"} and not driver.session.confirmed(BOOK, ["A"])
    driver.turn(subscribed(1, BOOK, 1), delta("A", 1, 3))
    assert driver.live() == {"A"} and driver.session.confirmed(BOOK, ["A"]) and driver.take(Gap) == []


def test_frames_of_another_subscription_before_subscribed() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(snapshot("A", 999, 57))
    driver.turn(subscribed(1, BOOK, 1))
    assert driver.status("A") == "STALE" and driver.sid == 1
    driver.turn(snapshot("A", 1, 1))
    assert driver.live() == {"A"}
    driver.turn(delta("A", 999, 58))
    assert driver.ignored("unknown_sid") == 1


def test_one_sid_given_to_two_channels() -> None:
    driver = Driver()
    driver.want((BOOK, "trade"), "A")
    driver.connect()
    driver.turn(subscribed(1, BOOK, 1), snapshot("A", 1, 1), subscribed(2, "trade", 1))
    assert driver.session.sid_of(BOOK) is None and driver.session.sid_of("trade") == 1
    assert driver.status("A") == "STALE"  # frames with that sid no longer belong to the books
    (list_,) = driver.pass_time(10)  # no snapshot has come, and there is no sid to ask with
    driver.turn(
        {
            "id": list_["id"],
            "type": "ok",
            "msg": [{"channel": BOOK, "sid": 4}, {"channel": "trade", "sid": 1}],
        }
    )
    assert driver.sid == 4
