"""The conversation: commands, replies in every shape, refusals, silence."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed import Gap, SubscriptionError
from kalshi_feed.session.timing import Timing
from kalshi_feed.session.wanted import Want
from tests.session.driver import (
    BOOK,
    Driver,
    Frame,
    delta,
    error,
    ok,
    snapshot,
    subscribed,
    ticker,
    trade,
    unsubscribed,
)

MANY = [f"M{n}" for n in range(1100)]


def params(command: Frame) -> dict[str, Any]:
    found: dict[str, Any] = command["params"]
    return found


def action(command: Frame) -> str:
    return str(params(command).get("action", command["cmd"])) if "params" in command else str(command["cmd"])


def actions(commands: list[Frame]) -> list[str]:
    return [action(command) for command in commands]


def confirmed(driver: Driver, channel: str = BOOK) -> set[str]:
    subscription = driver.session.reconciler.subscriptions.get(channel)
    return subscription.confirmed if subscription is not None else set()


# -- first connect, reconnect, run time --------------------------------------------------------------------------------


def test_first_connect_reconnect_and_run_time_go_the_same_way() -> None:
    driver = Driver()
    driver.venue.change("A", 100)
    assert driver.turn() == []  # not connected: nothing is sent
    driver.want((BOOK, "trade"), "A")
    first = driver.connect()
    assert [params(c) for c in first] == [
        {"channels": [BOOK], "use_yes_price": True, "market_tickers": ["A"]},
        {"channels": ["trade"], "market_tickers": ["A"]},
    ]
    driver.play(first)
    assert driver.live() == {"A"} and driver.session.sid_of("trade") == 2
    assert not driver.disconnect()
    assert driver.status("A") == "STALE" and driver.session.sid_of("trade") is None
    again = driver.connect()
    assert [params(c) for c in again] == [params(c) for c in first]
    driver.play(again)
    assert driver.live() == {"A"}
    driver.want("fill")
    (third,) = driver.turn()
    assert params(third) == {"channels": ["fill"]}
    driver.play([third])
    assert driver.session.confirmed("fill", ["*all*"]) and driver.session.sid_of("fill") == 3


@pytest.mark.parametrize("use_yes_price", [True, False])
def test_use_yes_price_is_always_said(use_yes_price: bool) -> None:
    driver = Driver(use_yes_price=use_yes_price)
    driver.want((BOOK, "trade"), "A", skip_ticker_ack=True)
    book, trades = driver.connect()
    assert params(book)["use_yes_price"] is use_yes_price and params(book)["skip_ticker_ack"] is True
    assert "use_yes_price" not in params(trades)


def test_ids_are_never_used_twice() -> None:
    driver = Driver()
    driver.want((BOOK, "trade"), "A")
    driver.play(driver.connect())
    driver.disconnect()
    driver.play(driver.connect())
    ids = [command["id"] for command in driver.all_sent]
    assert len(set(ids)) == len(ids) and min(ids) > 0


def test_many_markets_in_chunks_one_at_a_time() -> None:
    driver = Driver()
    want = driver.want(BOOK, *MANY)
    (first,) = driver.connect()
    assert params(first)["market_tickers"] == MANY[:500]
    assert driver.turn() == []
    (second,) = driver.turn(*driver.venue.answer(first))
    assert (action(second), params(second)["market_tickers"]) == ("add_markets", MANY[500:1000])
    driver.play([second])
    assert confirmed(driver) == driver.live() == set(MANY)
    driver.delete(want, *MANY[:-1])
    driver.play()
    assert [len(params(c)["market_tickers"]) for c in driver.all_sent if action(c) == "delete_markets"] == [
        500,
        500,
        99,
    ]
    assert driver.live() == {MANY[-1]}


def test_the_parts_come_at_a_pace() -> None:
    driver = Driver(Timing(pace=0.02))
    want = driver.want(BOOK, *MANY)
    commands = driver.connect()
    for _ in range(2):
        frames = [frame for command in commands for frame in driver.venue.answer(command)]
        assert driver.turn(*frames) == [] == driver.pass_time(0.019)
        commands = driver.pass_time(0.001)
        assert actions(commands) == ["add_markets"]
    driver.play(commands)  # the rest fits into one command, so nothing is waited for
    assert driver.live() == set(MANY)
    driver.add(want, "Z")
    assert actions(driver.turn()) == ["add_markets"]


def test_snapshots_that_users_ask_for_come_at_a_pace() -> None:
    driver = Driver(Timing(pace=0.02))
    driver.want(BOOK, *MANY)
    driver.play(driver.connect())
    driver.play_time(1)
    assert driver.live() == set(MANY)
    driver.wanted.snapshots.update(dict.fromkeys(MANY))
    sizes = [len(params(c)["market_tickers"]) for c in driver.turn()]
    sizes += [len(params(c)["market_tickers"]) for c in driver.pass_time(0.02)]
    driver.wanted.snapshots.update(dict.fromkeys(["M1"]))
    sizes += [len(params(c)["market_tickers"]) for c in driver.pass_time(0.02)]
    assert sizes == [500, 500, 101]
    driver.wanted.snapshots.update(dict.fromkeys(MANY))
    driver.disconnect()
    assert driver.session.next_deadline() == float("inf")


def test_the_final_wish_wins() -> None:
    """S38: subscribe, unsubscribe, subscribe, within one answer."""
    driver = Driver()
    want = driver.want(BOOK, "A")
    first = driver.connect()
    driver.unwant(want)
    assert driver.turn() == []
    driver.want(BOOK, "B")
    assert driver.turn() == []
    driver.play(first)
    assert driver.live() == confirmed(driver) == {"B"}
    assert set(driver.venue.subscriptions[BOOK].keys) == {"B"}
    assert actions(driver.all_sent) == ["subscribe", "add_markets", "delete_markets"]


def test_wanted_no_more_before_the_answer() -> None:
    driver = Driver()
    driver.unwant(driver.want(BOOK, "A"))
    assert driver.connect() == []
    want = driver.want(BOOK, "A")
    commands = driver.turn()
    driver.unwant(want)
    driver.play(commands)
    assert not driver.venue.subscriptions and driver.status("A") == "CLOSED"
    assert driver.session.reconciler.subscriptions.get(BOOK) and driver.session.sid_of(BOOK) is None


def test_wanted_again_while_it_is_being_ended() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.unwant(want)
    commands = driver.turn()
    assert actions(commands) == ["unsubscribe"]
    driver.want(BOOK, "A")
    assert driver.turn() == [] and driver.status("A") == "PENDING"
    assert driver.turn(*driver.venue.change("A", 100)) == []  # a late change of the old subscription
    driver.play(commands)
    assert driver.live() == {"A"} and driver.session.sid_of(BOOK) == 2
    assert driver.faults() == []


def test_wanted_again_while_it_is_being_deleted() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.delete(want, "A")
    commands = driver.turn()
    driver.add(want, "A")
    assert driver.turn() == []
    late = snapshot("A", driver.sid, driver.seq, driver.venue.books["A"])
    assert driver.turn(late) == [] and driver.status("A") == "LIVE"
    driver.take()
    (add,) = driver.turn(*driver.venue.answer(commands[0]))
    assert action(add) == "add_markets" and driver.status("A") == "STALE"  # nothing of it comes now
    assert [gap.market_tickers for gap in driver.take(Gap)] == [("A",)]
    driver.play([add])
    assert driver.live() == {"A", "B"}


def test_wanted_again_before_the_exchange_was_told_otherwise() -> None:
    """No command would bring a snapshot, so one is asked for; a change before it is no fault."""
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.unwant(want)
    driver.want(BOOK, "B", "A")
    (get,) = driver.turn()
    assert action(get) == "get_snapshot" and set(params(get)["market_tickers"]) == {"A", "B"}
    assert driver.turn(*driver.venue.change("A", 100)) == []
    driver.play([get])
    assert driver.live() == {"A", "B"} and driver.faults() == []


def test_that_snapshot_is_asked_for_again_if_it_does_not_come() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.delete(want, "A")
    driver.add(want, "A")
    driver.turn()  # lost
    driver.play_time(10.1)
    assert driver.live() == {"A", "B"}


def test_all_and_some() -> None:
    driver = Driver()
    some = driver.want("trade", "A")
    driver.play(driver.connect())
    all_ = driver.want("trade")
    driver.play()
    assert confirmed(driver, "trade") == {"*all*"} and not driver.venue.subscriptions["trade"].keys
    assert driver.session.confirmed("trade", some.keys_of("trade"))
    driver.add(some, "B")
    assert driver.session.confirmed("trade", some.keys_of("trade"))  # all means those too, before the turn
    driver.play()
    driver.unwant(all_)
    driver.play()
    assert set(driver.venue.subscriptions["trade"].keys) == {"A", "B"}
    subscribes = [params(c).get("market_tickers") for c in driver.all_sent if c["cmd"] == "subscribe"]
    assert subscribes == [["A"], None, ["A", "B"]]


def test_ticker_by_market_ids_and_then_by_tickers() -> None:
    driver = Driver()
    by_id = driver.want("ticker", "u1", selector="market_ids", send_initial_snapshot=True)
    (first,) = driver.connect()
    assert params(first) == {"channels": ["ticker"], "send_initial_snapshot": True, "market_ids": ["u1"]}
    driver.play([first])
    driver.add(by_id, "u2")
    (add,) = driver.turn()
    assert params(add) == {"sids": [1], "market_ids": ["u2"], "action": "add_markets", "send_initial_snapshot": True}
    driver.play([add])
    driver.unwant(by_id)
    driver.want("ticker", "A")
    driver.play()
    assert set(driver.venue.subscriptions["ticker"].keys) == {"A"}
    assert actions(driver.all_sent) == ["subscribe", "add_markets", "unsubscribe", "subscribe"]
    assert params(driver.all_sent[-1]) == {"channels": ["ticker"], "market_tickers": ["A"]}


def test_a_repeated_command_says_the_same() -> None:
    """Though what is wanted has changed meanwhile, even the kind of filter."""
    driver = Driver()
    by_id = driver.want("ticker", "u1", selector="market_ids")
    (first,) = driver.connect()
    driver.unwant(by_id)
    driver.want("ticker", "A")
    (again,) = driver.pass_time(10)
    assert params(again) == params(first)
    driver.play([again])
    assert set(driver.venue.subscriptions["ticker"].keys) == {"A"}


# -- replies in odd shapes ---------------------------------------------------------------------------------------------


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
    """Nor does it nest the channel. The first data frame tells the sid; before any, list_subscriptions does."""
    driver = Driver()
    want = driver.want((BOOK, "trade"), "A")
    driver.connect()
    assert driver.turn({"type": "subscribed", "id": 1, "channel": BOOK}, {"type": "subscribed", "channel": "trade"}) == []
    driver.turn(snapshot("A", 5, 1))
    assert driver.sid == 5 and driver.session.sid_of("trade") is None
    driver.add(want, "B")
    add, list_ = driver.turn()
    assert (action(add), params(add)["sids"], action(list_)) == ("add_markets", [5], "list_subscriptions")
    (add_trade,) = driver.turn({"id": list_["id"], "type": "ok", "msg": [{"channel": "trade", "sid": 6}]})
    assert (action(add_trade), params(add_trade)["sids"]) == ("add_markets", [6])


def test_a_sid_that_nobody_tells_is_asked_for_to_repair() -> None:
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


@pytest.mark.parametrize("answer", [{"type": "ok"}, {"type": "error", "msg": {"code": 5, "msg": "Unknown command"}}])
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
    assert confirmed(driver) == {"A", "B"} and box == []  # a list looks otherwise
    driver.turn({"type": "ok", "msg": [{"channel": BOOK, "sid": 1}]})
    assert box == [((BOOK, 1),)]


def test_ok_for_a_channel_that_was_open_already() -> None:
    """Protocol 5.3: no snapshot comes, so it is asked for; the numbers go on from there."""
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
    """The first answer was lost, the frames were not: numbers are checked all the way."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(snapshot("A", 1, 1, {"yes": {4000: 100}}))
    (again,) = driver.pass_time(10)
    driver.turn(ok(again["id"], 1, 2))
    driver.turn(delta("A", 1, 4))
    assert driver.status("A") == "STALE"


def test_subscribed_to_the_first_of_two_questions() -> None:
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


def test_two_subscriptions_of_two_questions() -> None:
    """The first had ended when the second was answered: it must not be left open unwanted."""
    driver = Driver()
    want = driver.want("trade", "A")
    (first,) = driver.connect()
    (again,) = driver.pass_time(10)
    driver.unwant(want)
    (end,) = driver.turn(subscribed(first["id"], "trade", 1))
    driver.turn(unsubscribed(None, 1))
    (end,) = driver.turn(subscribed(again["id"], "trade", 2))
    assert params(end) == {"sids": [2]}


def test_a_subscription_that_nobody_waits_for_any_more() -> None:
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


def test_subscribed_for_the_past_is_no_answer() -> None:
    """A repeated frame, after the channel was subscribed anew."""
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
    driver.turn(subscribed(1, BOOK, 1), subscribed(None, BOOK, 1), subscribed(99, "trade", 4), {"type": "subscribed"})
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


def test_replies_to_nobody() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(ok(99), ok(None), unsubscribed(None, 44), unsubscribed(None, None), unsubscribed(99, 45))
    assert driver.faults() == ["unexpected_reply"] * 5
    assert driver.live() == {"A"}


def test_an_end_of_another_subscription_does_not_end_this_one() -> None:
    """`unsubscribed` without id for a sid that is none of ours, while an unsubscribe waits for its answer."""
    driver = Driver()
    want = driver.want("trade", "A")
    driver.play(driver.connect())
    driver.unwant(want)
    (end,) = driver.turn()
    driver.turn(unsubscribed(None, 77))
    assert driver.session.sid_of("trade") == 1
    driver.turn(unsubscribed(None, None))
    assert driver.session.sid_of("trade") is None
    driver.turn(unsubscribed(end["id"], 1))  # once more
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
    """S08: they tell the sid, and if `subscribed` names another one they were not of this subscription."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(snapshot("A", 1, 1), delta("A", 1, 2))
    assert driver.live() == {"A"} and not driver.session.confirmed(BOOK, ["A"])
    driver.turn(subscribed(1, BOOK, 1), delta("A", 1, 3))
    assert driver.live() == {"A"} and driver.session.confirmed(BOOK, ["A"]) and driver.take(Gap) == []


def test_frames_of_a_stranger_before_subscribed() -> None:
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
    assert driver.status("A") == "STALE"  # what comes under that sid is no longer taken for a book's
    (list_,) = driver.pass_time(10)  # no snapshot has come, and there is no sid to ask with
    driver.turn({"id": list_["id"], "type": "ok", "msg": [{"channel": BOOK, "sid": 4}, {"channel": "trade", "sid": 1}]})
    assert driver.sid == 4


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [2, 8, 9, 14, 26, 12345])
@pytest.mark.parametrize("has_id", [True, False])
def test_a_refusal_reaches_the_subscription(code: int, has_id: bool) -> None:
    driver = Driver()
    want = driver.want((BOOK, "trade"), "A")
    driver.connect()
    driver.turn(subscribed(2, "trade", 2), error(code, 1 if has_id else None))
    assert want.error is not None and want.failed == {BOOK} and want.live_channels() == ("trade",)
    assert (want.error.code, want.error.message, want.error.channel) == (code, "no", BOOK)
    assert want.error.market_tickers == ("A",)
    assert driver.status("A") == "CLOSED" and driver.faults() == ["exchange_error"]
    assert driver.pass_time(100) == []  # no retry


def test_a_refusal_without_anything_in_it() -> None:
    driver = Driver()
    want = driver.want("trade")
    driver.connect()
    driver.turn({"type": "error", "id": 1})
    assert want.error is not None and (want.error.code, want.error.message) == (0, "no text")
    assert want.error.market_tickers is None


def test_a_refused_addition_leaves_the_others() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.add(want, "C", "D")
    (add,) = driver.turn()
    assert driver.turn(error(11, add["id"])) == []
    assert want.error is not None and want.error.market_tickers == ("C", "D")
    assert want.live_channels() == (BOOK,) and driver.live() == {"A", "B"}
    assert driver.status("C") == "CLOSED" and driver.session.confirmed(BOOK, want.keys_of(BOOK))


@pytest.mark.parametrize("named", [{"market_ticker": "C"}, {"market_tickers": ["C", "Z"]}])
def test_a_refusal_that_names_markets_concerns_only_those(named: dict[str, Any]) -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "C", "D")
    (add,) = driver.turn()
    (rest,) = driver.turn(error(26, add["id"], **named))
    assert params(rest)["market_tickers"] == ["D"]
    driver.play([rest])
    assert driver.live() == {"A", "D"} and driver.status("C") == "CLOSED"


def test_near_the_limit_of_markets_what_fits_is_taken_and_the_rest_refused() -> None:
    """Code 26 names no number: the command is halved until it fits (PROTOCOL.md 5.7)."""
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B", "C", "D", "E", "F")
    commands, held, sizes = driver.turn(), {"A"}, []
    while commands:
        (command,) = commands
        keys = set(params(command)["market_tickers"])
        sizes.append(len(keys))
        if len(held | keys) > 3:
            commands = driver.turn(error(26, command["id"]))
        else:
            held |= keys
            commands = driver.turn({"type": "ok", "id": command["id"], "sid": 1, "msg": {}})
    assert sizes == [5, 2, 2, 1] and held == {"A", "B", "C"}
    assert want.error is not None and set(want.error.market_tickers or ()) == {"D", "E", "F"}
    assert set(want.keys_of(BOOK)) == held and want.live_channels() == (BOOK,)


def test_a_refusal_of_what_is_no_longer_wanted() -> None:
    driver = Driver()
    want = driver.want(BOOK, "A")
    driver.connect()
    driver.unwant(want)
    assert driver.turn(error(11, 1)) == []
    assert want.error is None and driver.pass_time(100) == []


def test_a_refusal_after_others_have_joined() -> None:
    driver = Driver()
    one = driver.want(BOOK, "A")
    driver.connect()
    two = driver.want(BOOK, "A", "B")
    (next_,) = driver.turn(error(11, 1))
    assert one.failed == {BOOK} and two.failed == set() and two.refused == {BOOK: {"A"}}
    assert params(next_)["market_tickers"] == ["B"]


@pytest.mark.parametrize("code", [18, 27])
def test_what_can_be_done_later_is_done_later(code: int) -> None:
    driver = Driver()
    want = driver.want(BOOK, "A")
    driver.venue.refused["subscribe"] = code
    driver.play(driver.connect())
    waits, before = [], driver.now
    for _ in range(3):
        while not (commands := driver.pass_time(0.1)):
            pass
        waits.append(round(driver.now - before, 1))
        before = driver.now
        driver.play(commands)
    assert waits == [0.5, 1, 2]
    driver.venue.refused.clear()
    driver.play_time(5)
    assert driver.live() == {"A"} and want.error is None


def test_a_put_off_addition_and_its_success() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    driver.venue.refused["add_markets"] = 27
    driver.play()
    driver.venue.refused.clear()
    driver.play_time(1)
    assert driver.live() == {"A", "B"}
    assert driver.session.reconciler.subscriptions[BOOK].failures == 0


def test_already_subscribed_adds_the_markets_to_what_is_there() -> None:
    """S26: code 6 is retired, and does not say what was subscribed."""
    driver = Driver()
    want = driver.want(BOOK, "A")
    driver.connect()
    (list_,) = driver.turn(error(6, 1))
    assert action(list_) == "list_subscriptions"
    (add,) = driver.turn({"id": list_["id"], "type": "ok", "msg": [{"channel": BOOK, "sid": 3}]})
    assert params(add) == {"sids": [3], "market_tickers": ["A"], "action": "add_markets"}
    driver.turn(ok(add["id"], 3, 1), snapshot("A", 3, 2))
    assert driver.live() == {"A"} and want.error is None


def test_a_subscribe_that_timed_out_and_had_worked_is_found_by_the_list() -> None:
    """S25: code 18 leaves the state unknown."""
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    (list_,) = driver.turn(error(18, 1))
    assert action(list_) == "list_subscriptions"
    (add,) = driver.turn({"id": list_["id"], "type": "ok", "msg": [{"channel": BOOK, "sid": 3}, {"channel": "fill", "sid": 4}]})
    assert params(add) == {"sids": [3], "market_tickers": ["A"], "action": "add_markets"}
    driver.turn(ok(add["id"], 3, 7), snapshot("A", 3, 8))
    assert driver.live() == {"A"}


def test_a_subscribe_that_timed_out_and_is_not_listed_is_sent_again() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    (list_,) = driver.turn(error(18, 1))
    assert driver.turn({"id": list_["id"], "type": "ok", "msg": []}) == []
    assert [action(command) for command in driver.pass_time(1)] == ["subscribe"]


@pytest.mark.parametrize("refused", ["subscribe", "add_markets"])
def test_what_a_command_that_timed_out_may_have_added_is_deleted_when_it_is_unwanted(refused: str) -> None:
    driver = Driver()
    want = driver.want(BOOK, "A") if refused == "add_markets" else driver.want(BOOK, "A", "B")
    (command,) = driver.connect()
    if refused == "add_markets":
        driver.turn(subscribed(1, BOOK, 3), snapshot("A", 3, 1))
        driver.add(want, "B")
        (command,) = driver.turn()
    assert action(command) == refused
    listing = driver.turn(error(18, command["id"]))  # and yet the exchange has B now
    driver.delete(want, "B")
    if refused == "subscribe":
        (add,) = driver.turn({"id": listing[0]["id"], "type": "ok", "msg": [{"channel": BOOK, "sid": 3}]})
        assert params(add) == {"sids": [3], "market_tickers": ["A"], "action": "add_markets"}
        (delete,) = driver.turn(ok(add["id"], 3, 1))
    else:
        (delete,) = driver.pass_time(1)
    assert params(delete) == {"sids": [3], "market_tickers": ["B"], "action": "delete_markets"}
    assert driver.turn(ok(delete["id"], 3, 2)) == [] and driver.session.reconciler.settled(BOOK)


@pytest.mark.parametrize("is_done", [True, False])
def test_a_subscribe_to_all_that_timed_out_and_then_fewer_are_wanted(is_done: bool) -> None:
    """What it may have brought ends first; if it was not carried out, nothing is in doubt any more."""
    driver = Driver()
    want = driver.want("trade")
    driver.connect()
    (list_,) = driver.turn(error(18, 1))
    driver.unwant(want)
    driver.want("trade", "A")
    listed = [{"channel": "trade", "sid": 3}] if is_done else []
    commands = driver.turn({"id": list_["id"], "type": "ok", "msg": listed})
    assert [action(command) for command in commands] == ["unsubscribe"] * is_done
    (subscribe,) = driver.turn(unsubscribed(commands[0]["id"], 3, None)) if is_done else driver.pass_time(1)
    assert params(subscribe)["market_tickers"] == ["A"]
    assert driver.turn(subscribed(subscribe["id"], "trade", 4)) == [] and driver.session.reconciler.settled("trade")


@pytest.mark.parametrize("is_done", [True, False])
def test_a_delete_that_timed_out_and_is_regretted(is_done: bool) -> None:
    """Nobody knows whether the market is still sent: it is asked for once more, and its book is not LIVE before."""
    driver = Driver()
    want = driver.want(BOOK, "A", "B")
    driver.connect()
    driver.turn(subscribed(1, BOOK, 3), snapshot("A", 3, 1), snapshot("B", 3, 2))
    driver.delete(want, "B")
    (delete,) = driver.turn()
    driver.turn(error(18, delete["id"]))
    driver.add(want, "B")
    assert driver.status("B") == "PENDING" and driver.pass_time(0.1) == []
    (add,) = driver.pass_time(1)
    assert params(add) == {"sids": [3], "market_tickers": ["B"], "action": "add_markets"}
    driver.turn(ok(add["id"], 3, 3), *([snapshot("B", 3, 4)] if is_done else []))
    if not is_done:
        (repair,) = driver.pass_time(30)[:1]
        assert params(repair) == {"sids": [3], "market_tickers": ["B"], "action": "get_snapshot"}
        driver.turn(snapshot("B", 3, 4))
    assert driver.live() == {"A", "B"}


def test_an_end_that_timed_out_and_is_regretted() -> None:
    """Of a filter it is tried whether it still stands; all markets are ended for certain, and begun anew."""
    driver = Driver()
    for channel, selected in (("fill", ("A",)), ("trade", ())):
        want = driver.want(channel, *selected)
    driver.connect()
    driver.turn(subscribed(1, "fill", 3), subscribed(2, "trade", 4))
    for want in tuple(driver.wanted.wants):
        driver.unwant(want)
    for command in driver.turn():
        assert action(command) == "unsubscribe"
        driver.turn(error(18, command["id"]))
    driver.want("fill", "A")
    driver.want("trade")
    add, end = driver.pass_time(1)
    assert params(add) == {"sids": [3], "market_tickers": ["A"], "action": "add_markets"}
    assert action(end) == "unsubscribe" and params(end) == {"sids": [4]}
    commands = [*driver.turn(error(7, add["id"]), error(7, end["id"])), *driver.pass_time(1)]
    assert [(action(one), params(one)["channels"]) for one in commands] == [("subscribe", ["trade"]), ("subscribe", ["fill"])]


def test_books_are_stale_while_nobody_knows_whether_their_subscription_ended() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    driver.turn(subscribed(1, BOOK, 3), snapshot("A", 3, 1))
    driver.session.reconciler.resubscribe(driver.session.reconciler.subscriptions[BOOK], driver.now)
    (end,) = driver.turn()
    assert action(end) == "unsubscribe" and driver.live() == {"A"}
    driver.turn(error(18, end["id"]))
    assert driver.status("A") == "STALE"
    (add,) = driver.pass_time(1)
    (subscribe,) = [*driver.turn(error(7, add["id"])), *driver.pass_time(1)]
    assert (action(add), action(subscribe)) == ("add_markets", "subscribe")
    driver.turn(subscribed(subscribe["id"], BOOK, 5), snapshot("A", 5, 1))
    assert driver.live() == {"A"}


def test_a_list_of_indices_is_asked_for_once_the_channel_is_open() -> None:
    driver = Driver()
    driver.want("cfbenchmarks_value")
    driver.wanted.questions["indexlist", "cfbenchmarks_value"] = None
    (subscribe,) = driver.connect()
    assert action(subscribe) == "subscribe"
    (question,) = driver.turn(subscribed(subscribe["id"], "cfbenchmarks_value", 1))
    assert params(question) == {"sids": [1], "action": "indexlist"}
    assert driver.turn() == [] and driver.pass_time(100) == []  # the answer is a message; none is waited for


def test_already_subscribed_and_unwanted() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.connect()
    driver.unwant(want)
    list_, end = driver.turn(error(6, 1), trade("A", 3, 9))  # the frame tells the sid sooner than the list
    assert action(list_) == "list_subscriptions"
    assert (action(end), params(end)) == ("unsubscribe", {"sids": [3]})


def test_already_subscribed_to_all() -> None:
    driver = Driver()
    driver.want("trade")
    driver.connect()
    commands = driver.turn(error(6, 1))
    commands = driver.turn({"id": commands[0]["id"], "type": "ok", "msg": [{"channel": "trade", "sid": 3}]})
    assert actions(commands) == ["unsubscribe"]
    (again,) = driver.turn(unsubscribed(commands[0]["id"], 3))
    assert params(again) == {"channels": ["trade"]}


def test_unknown_sid_means_the_subscription_is_gone() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    (add,) = driver.turn()
    assert driver.turn(error(7, add["id"])) == []
    assert driver.status("A") == "STALE" and len(driver.take(Gap)) == 1
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A", "B"} and driver.sid == 2 and want.error is None


def test_unknown_sid_for_get_snapshot() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.wanted.snapshots["A"] = None
    (get,) = driver.turn()
    driver.turn(error(7, get["id"]))
    assert driver.status("A") == "STALE"
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A"}


@pytest.mark.parametrize("code", [7, 10, 13])
def test_a_late_refusal_does_not_concern_the_next_subscription(code: int) -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.wanted.snapshots["A"] = None
    (get,) = driver.turn()
    driver.unwant(want)
    driver.play()
    driver.want(BOOK, "A")
    driver.play()
    driver.turn(error(code, get["id"]))
    assert driver.live() == {"A"} and driver.sid == 2 and driver.give_up is None


def test_unknown_sid_for_unsubscribe_means_it_is_done() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.unwant(want)
    (end,) = driver.turn()
    assert driver.turn(error(7, end["id"])) == [] and driver.session.sid_of(BOOK) is None


def test_unsubscribe_put_off() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.unwant(want)
    (end,) = driver.turn()
    assert driver.turn(error(27, end["id"])) == []
    (again,) = driver.pass_time(0.5)
    assert params(again) == params(end)


def test_a_refused_delete_is_as_good_as_done() -> None:
    driver = Driver()
    want = driver.go_live("A", "B")
    driver.delete(want, "A")
    (delete,) = driver.turn()
    assert driver.turn(error(13, delete["id"])) == []
    assert confirmed(driver) == {"B"} and driver.live() == {"B"} and want.error is None
    driver.turn(*driver.venue.change("A", 100))
    assert driver.ignored("unwanted") == 1 and driver.take(Gap) == []


@pytest.mark.parametrize("code", [10, 17, 25])
@pytest.mark.parametrize("pending", [True, False])
def test_terminal_error_with_a_sid(code: int, pending: bool) -> None:
    """S24: whatever is in flight, the subscription is dead and its books are not LIVE."""
    driver = Driver()
    want = driver.go_live("A", "B")
    late = None
    if pending:
        driver.add(want, "C")
        (late,) = driver.turn()
    assert driver.turn(error(code, sid=driver.sid, seq=driver.seq)) == []
    assert driver.live() == set() and driver.session.sid_of(BOOK) is None
    (gap,) = driver.take(Gap)
    assert set(gap.market_tickers) == {"A", "B"} and f"error {code}" in gap.reason
    if late is not None:
        assert driver.turn(error(7, late["id"])) == []
    driver.venue.subscriptions.clear()
    assert driver.pass_time(0.4) == []
    driver.play_time(1)
    assert driver.live() == {"A", "B", "C"} if pending else {"A", "B"}
    assert want.error is None and driver.give_up is None


def test_terminal_error_without_a_sid() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(error(25))
    assert driver.give_up == "error 25 for a subscription that is not known"
    assert driver.take()[0].message.endswith("(this program reads too slowly, or subscribes to too many markets on one connection)")


def test_terminal_error_with_an_unknown_sid() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.turn(error(10, sid=77))
    assert driver.give_up is not None


def test_terminal_error_that_names_an_overdue_get_snapshot() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.wanted.snapshots["A"] = None
    (command,) = driver.turn()
    driver.pass_time(11)
    driver.turn(error(25, command["id"]))
    assert driver.live() == set() and driver.session.sid_of(BOOK) is None and driver.give_up is None
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A"}


def test_terminal_error_told_twice() -> None:
    driver = Driver()
    driver.go_live("A")
    frame = error(10, sid=driver.sid, seq=driver.seq)
    driver.turn(frame, frame, error(10, id=12345))
    assert driver.give_up is None and len(driver.faults()) == 3


@pytest.mark.parametrize("has_sid", [True, False])
def test_terminal_error_as_the_answer_to_a_change(has_sid: bool) -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    (add,) = driver.turn()
    driver.turn(error(10, add["id"], sid=driver.sid if has_sid else None))
    assert driver.live() == set() and driver.session.sid_of(BOOK) is None
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A", "B"} and want.error is None


@pytest.mark.parametrize("seen", [True, False])
def test_terminal_error_as_the_answer_to_a_subscribe(seen: bool) -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    driver.connect()
    if seen:  # its sid is known from a frame
        driver.turn(snapshot("A", 1, 1))
    assert driver.turn(error(10, 1, sid=1 if seen else None)) == []
    assert driver.live() == set()
    driver.play_time(1)
    assert driver.live() == {"A"} and driver.give_up is None


def test_a_subscription_that_dies_while_its_answer_is_awaited() -> None:
    driver = Driver()
    driver.want(BOOK, "A")
    (first,) = driver.connect()
    driver.turn(snapshot("A", 1, 1), error(10, sid=1))
    assert driver.status("A") == "STALE" and driver.turn() == []
    driver.turn(subscribed(first["id"], BOOK, 2), snapshot("A", 2, 1))
    assert driver.live() == {"A"} and driver.sid == 2


def test_a_subscription_that_dies_again_and_again_is_asked_for_ever_more_slowly() -> None:
    driver = Driver()
    driver.go_live("A")
    waits = []
    for _ in range(9):
        driver.turn(error(25, sid=driver.sid))
        del driver.venue.subscriptions[BOOK]
        before = driver.now
        while not (commands := driver.pass_time(0.25)):
            pass
        waits.append(round(driver.now - before, 1))
        driver.play(commands)
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    driver.play_time(31)
    driver.turn(error(25, sid=driver.sid))
    assert actions(driver.pass_time(0.5)) == ["subscribe"]  # it stood long enough to be forgiven


def test_unsubscribed_unprompted() -> None:
    """S30: still wanted, so the books are STALE and it is subscribed again; replies with and without a number."""
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    driver.turn()
    driver.turn(unsubscribed(None, driver.sid, driver.seq))
    assert driver.status("A") == "STALE"
    assert [gap.reason for gap in driver.take(Gap)] == ["the exchange ended the subscription"]
    driver.venue.subscriptions.clear()
    driver.play_time(1)
    assert driver.live() == {"A", "B"}


def test_errors_without_id_and_sid_concern_the_oldest_command() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    other = driver.want("fill", "A")
    driver.connect()
    driver.turn(error(8, None, sid=44))  # a sid that is none of ours: nobody's
    assert want.error is None and other.error is None
    driver.turn(error(8))
    assert other.error is not None and want.error is None  # fill was asked first


def test_errors_with_our_sid_concern_its_oldest_command() -> None:
    driver = Driver()
    want = driver.go_live("A")
    trades = driver.want("trade", "A")
    driver.turn()
    driver.add(want, "B")
    driver.turn()
    driver.turn(error(27, None, sid=driver.sid))
    assert trades.error is None and want.error is None
    assert actions(driver.pass_time(0.5)) == ["add_markets"]


# -- silence -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cmd", ["subscribe", "add_markets", "delete_markets", "unsubscribe", "list_subscriptions"])
def test_no_answer_is_asked_once_more_and_then_the_connection_is_given_up(cmd: str) -> None:
    driver = Driver()
    if cmd == "subscribe":
        driver.want(BOOK, "A")
        commands = driver.connect()
    else:
        want = driver.go_live("A", "B")
        if cmd == "add_markets":
            driver.add(want, "C")
        elif cmd == "delete_markets":
            driver.delete(want, "A")
        elif cmd == "unsubscribe":
            driver.unwant(want)
        else:
            driver.list_subscriptions()
        commands = driver.turn()
    assert actions(commands) == [cmd]
    assert driver.pass_time(9.9) == []
    (again,) = driver.pass_time(0.2)
    assert again == commands[0] | {"id": again["id"]} and again["id"] != commands[0]["id"]
    assert driver.give_up is None
    driver.pass_time(10)
    assert driver.give_up is not None and driver.give_up.startswith(f"no answer to {cmd}")
    driver.disconnect()
    driver.play(driver.connect())
    assert driver.give_up is None
    driver.play_time(1)
    assert driver.live() == {t for t in ("A", "B", "C") if driver.wanted.wants_book(t)}


def test_an_answer_that_may_lie_unread_is_not_overdue() -> None:
    """Behind a consumer that holds up the reading: no answer is missed before all has been read."""
    driver = Driver()
    driver.want(BOOK, "A")
    (command,) = driver.connect()
    for _ in range(5):
        driver.session.fell_behind(driver.now)
        assert driver.pass_time(9.9) == []
    driver.play(driver.turn(*driver.venue.answer(command)))
    assert driver.live() == {"A"} and driver.give_up is None
    driver.list_subscriptions()
    driver.turn()
    driver.session.fell_behind(driver.now)
    driver.pass_time(21)
    assert driver.give_up == "no answer to list_subscriptions"


def test_no_answer_to_a_list_that_nobody_but_the_session_asked_for() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.connect()
    driver.turn({"type": "subscribed", "id": 1, "channel": "trade"})
    driver.add(want, "B")
    assert actions(driver.turn()) == ["list_subscriptions"]
    assert set(actions(driver.pass_time(10))) == {"list_subscriptions"}
    driver.pass_time(11)
    assert driver.give_up == "no answer to list_subscriptions"


def test_a_late_answer_to_the_first_question_about_a_change() -> None:
    driver = Driver()
    want = driver.go_live("A")
    driver.add(want, "B")
    (add,) = driver.turn()
    (again,) = driver.pass_time(10)
    frames = driver.venue.answer(add)
    driver.turn(*frames)
    assert driver.faults() == ["unexpected_reply"] and driver.live() == {"A", "B"}
    driver.play([again])
    assert confirmed(driver) == {"A", "B"} and driver.live() == {"A", "B"}


# -- list_subscriptions ------------------------------------------------------------------------------------------------


def test_list_subscriptions() -> None:
    driver = Driver()
    driver.go_live("A")
    one, two = driver.list_subscriptions(), driver.list_subscriptions()
    driver.play()
    assert one == two == [((BOOK, 1),)]


def test_list_subscriptions_in_its_older_form() -> None:
    driver = Driver()
    driver.go_live("A")
    box = driver.list_subscriptions()
    (list_,) = driver.turn()
    driver.turn({"id": list_["id"], "type": "list_subscriptions", "subscriptions": [{"channel": "trade", "sid": 2}]})
    assert box == [(("trade", 2),)]


def test_list_subscriptions_over_a_reconnect_and_a_repetition() -> None:
    driver = Driver()
    driver.go_live("A")
    box = driver.list_subscriptions()
    driver.turn()
    driver.disconnect()
    commands = driver.connect()
    assert actions(commands) == ["subscribe", "list_subscriptions"]
    again = [c for c in driver.pass_time(10) if c["cmd"] == "list_subscriptions"]
    driver.play([commands[0], *again])
    assert box == [((BOOK, 1),)]


def test_list_subscriptions_refused() -> None:
    driver = Driver()
    driver.go_live("A")
    box = driver.list_subscriptions()
    (list_,) = driver.turn()
    driver.turn(error(5, list_["id"]))
    (found,) = box
    assert isinstance(found, SubscriptionError) and found.code == 5
    assert driver.pass_time(100) == []


# -- snapshots that users ask for --------------------------------------------------------------------------------------


def test_request_snapshot() -> None:
    driver = Driver()
    driver.go_live(*MANY[:600])
    driver.wanted.snapshots.update(dict.fromkeys(MANY[:600]))
    commands = driver.turn()
    assert [(action(c), len(params(c)["market_tickers"])) for c in commands] == [
        ("get_snapshot", 500),
        ("get_snapshot", 100),
    ]
    versions = [driver.books[t].version for t in MANY[:600]]
    driver.play(commands)
    assert [driver.books[t].version for t in MANY[:600]] == [v + 1 for v in versions]
    assert driver.pass_time(100) == []


def test_request_snapshot_with_nothing_to_ask_on() -> None:
    driver = Driver()
    driver.wanted.snapshots["A"] = None
    assert driver.connect() == []
    want: Want = driver.want(BOOK, "A")
    driver.wanted.snapshots["A"] = None
    assert actions(driver.turn()) == ["subscribe"]
    driver.unwant(want)


def test_ticker_frames_are_delivered_whatever_their_order() -> None:
    driver = Driver()
    driver.want("ticker")
    driver.play(driver.connect())
    driver.turn(ticker("A", 1), ticker("A", 1), ticker("A", None))
    assert [getattr(m, "type", "") for m in driver.take()] == ["subscribed", "ticker", "ticker", "ticker"]
