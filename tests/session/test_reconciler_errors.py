"""The conversation: commands that are refused, put off, or answered by an error about something else."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed import Gap
from tests.session.driver import BOOK, Driver, error, ok, snapshot, subscribed, trade, unsubscribed
from tests.session.support import action, actions, confirmed, params


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
    assert want.error is not None and (want.error.code, want.error.message) == (0, "no message")
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
    """Code 26 does not state the limit: the command is halved until it fits (PROTOCOL.md 5.7)."""
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
    (add,) = driver.turn(
        {"id": list_["id"], "type": "ok", "msg": [{"channel": BOOK, "sid": 3}, {"channel": "fill", "sid": 4}]}
    )
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
    listing = driver.turn(error(18, command["id"]))  # yet the exchange has B now
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
    """Whatever it may have opened is ended first; if it opened nothing, there is nothing uncertain left."""
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
    assert driver.turn(subscribed(subscribe["id"], "trade", 4)) == [] and driver.session.reconciler.settled(
        "trade"
    )


@pytest.mark.parametrize("is_done", [True, False])
def test_a_delete_that_timed_out_and_is_regretted(is_done: bool) -> None:
    """Whether the market is still sent is unknown: it is added again, and its book is not LIVE until then."""
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
    """With a filter, the session tries whether it is still there; "all markets" is ended and opened again."""
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
    assert [(action(one), params(one)["channels"]) for one in commands] == [
        ("subscribe", ["trade"]),
        ("subscribe", ["fill"]),
    ]


def test_books_are_stale_while_it_is_unknown_whether_their_subscription_ended() -> None:
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
    assert (
        driver.turn() == [] and driver.pass_time(100) == []
    )  # the answer is a message; the session does not wait for it


def test_already_subscribed_and_unwanted() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    driver.connect()
    driver.unwant(want)
    list_, end = driver.turn(error(6, 1), trade("A", 3, 9))  # the frame reveals the sid sooner than the list
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


def test_errors_without_id_and_sid_concern_the_oldest_command() -> None:
    driver = Driver()
    want = driver.want("trade", "A")
    other = driver.want("fill", "A")
    driver.connect()
    driver.turn(error(8, None, sid=44))  # a sid that is not ours
    assert want.error is None and other.error is None
    driver.turn(error(8))
    assert other.error is not None and want.error is None  # fill was sent first


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
