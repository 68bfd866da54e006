"""The conversation: requests become commands, in whatever order they come; lists and snapshots on request."""

from __future__ import annotations

import pytest

from kalshi_feed import Gap, SubscriptionError
from kalshi_feed.session.timing import Timing
from kalshi_feed.session.wanted import Want
from tests.session.driver import BOOK, Driver, error, snapshot, ticker
from tests.session.support import action, actions, confirmed, params

MANY = [f"M{n}" for n in range(1100)]


# -- first connect, reconnect, run time ----------------------------------------------------------------------


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
def test_use_yes_price_is_always_explicit(use_yes_price: bool) -> None:
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
    driver.play(commands)  # the rest fits into one command, so there is no wait
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


def test_the_last_request_wins() -> None:
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


def test_no_longer_wanted_before_the_answer() -> None:
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
    assert driver.turn(*driver.venue.change("A", 100)) == []  # a late change from the old subscription
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
    assert action(add) == "add_markets" and driver.status("A") == "STALE"  # nothing comes for it now
    assert [gap.market_tickers for gap in driver.take(Gap)] == [("A",)]
    driver.play([add])
    assert driver.live() == {"A", "B"}


def test_wanted_again_before_the_unsubscribe_was_sent() -> None:
    """No command would bring a snapshot, so one is requested; a change before it is not a fault."""
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
    assert driver.session.confirmed(
        "trade", some.keys_of("trade")
    )  # "all" includes those, even before the turn
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
    assert params(add) == {
        "sids": [1],
        "market_ids": ["u2"],
        "action": "add_markets",
        "send_initial_snapshot": True,
    }
    driver.play([add])
    driver.unwant(by_id)
    driver.want("ticker", "A")
    driver.play()
    assert set(driver.venue.subscriptions["ticker"].keys) == {"A"}
    assert actions(driver.all_sent) == ["subscribe", "add_markets", "unsubscribe", "subscribe"]
    assert params(driver.all_sent[-1]) == {"channels": ["ticker"], "market_tickers": ["A"]}


def test_a_repeated_command_says_the_same() -> None:
    """Even if what is wanted has changed meanwhile, even the kind of filter."""
    driver = Driver()
    by_id = driver.want("ticker", "u1", selector="market_ids")
    (first,) = driver.connect()
    driver.unwant(by_id)
    driver.want("ticker", "A")
    (again,) = driver.pass_time(10)
    assert params(again) == params(first)
    driver.play([again])
    assert set(driver.venue.subscriptions["ticker"].keys) == {"A"}


# -- list_subscriptions --------------------------------------------------------------------------------------


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
    driver.turn(
        {"id": list_["id"], "type": "list_subscriptions", "subscriptions": [{"channel": "trade", "sid": 2}]}
    )
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


# -- snapshots that users ask for ----------------------------------------------------------------------------


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
