"""What consumers want, all together: counted, bounded, checked, and ended with their leases."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed.relay import registry
from kalshi_feed.relay.registry import FollowKey, Group, Taken, WishRegistry
from kalshi_feed.relay.wishes import LEASE, FollowWish, OneTimeRequest, SubscribeWish, Wishes
from tests.relay.stream import ALICE, BOB

BOOKS, TRADES = Group("orderbook_delta", "market_tickers"), Group("trade", "market_tickers")


def books(*tickers: str, number: int = 1, channels: tuple[str, ...] = ("orderbook_delta",)) -> SubscribeWish:
    return SubscribeWish(number, list(channels), "market_tickers", list(tickers))


class Desk:
    """A registry, and consumers that send it all they want."""

    def __init__(self, *allow: str, account: bool = False) -> None:
        self.registry = WishRegistry(allow or ("*",), account=account)
        self.serial = 0
        self.now = 0.0

    def want(self, consumer: str, *subscribe: SubscribeWish, account: bool = False, **more: Any) -> Taken:
        self.serial += 1
        wishes = Wishes(consumer, more.pop("serial", self.serial), list(subscribe), **more)
        return self.registry.take(wishes, self.now, account=account)

    def refusal(self, wish: SubscribeWish | FollowWish, *, account: bool = False) -> str:
        """Why this one is refused; empty if it is not."""
        if isinstance(wish, FollowWish):
            return self.want(ALICE, follow=[wish], account=account).refused.get(wish.number, "")
        return self.want(ALICE, wish, account=account).refused.get(wish.number, "")


def test_the_feed_hears_only_of_the_first_and_the_last_consumer_of_a_market() -> None:
    desk = Desk()
    taken = desk.want(ALICE, books("A", "B", channels=("orderbook_delta", "trade")))
    assert {group: sorted(keys) for group, keys in taken.added.items()} == {
        BOOKS: ["A", "B"],
        TRADES: ["A", "B"],
    }
    taken = desk.want(BOB, books("B", "C"))
    assert taken.added == {BOOKS: ["C"]}
    assert taken.repeated == {BOOKS: ["B"]}
    assert (desk.registry.consumers, desk.registry.keys) == (2, 5)
    # a change: what stays is not touched, also if it moves from one of its wishes to another
    taken = desk.want(ALICE, books("B", number=7))
    assert taken.added == {}
    assert {group: sorted(keys) for group, keys in taken.removed.items()} == {
        BOOKS: ["A"],
        TRADES: ["A", "B"],
    }
    assert desk.want(ALICE).removed == {}  # unsubscribed; Bob wants it still
    assert sorted(desk.want(BOB).removed[BOOKS]) == ["B", "C"]
    assert not desk.registry.holds(BOOKS)
    assert desk.registry.keys == 0


def test_a_lease_ends_and_the_same_serial_only_renews_it() -> None:
    desk = Desk()
    desk.want(ALICE, books("A"), serial=5)
    desk.now = 30.0
    desk.want(BOB, books("B"), serial=1)
    desk.now = 50.0
    for serial in (5, 4):  # one that arrives late changes nothing either
        taken = desk.want(ALICE, books("OTHER"), serial=serial, requests=[OneTimeRequest("checkpoint")])
        assert (taken.added, taken.requests) == ({}, [])
    assert desk.registry.expire(30.0 + LEASE - 0.1).removed == {}
    assert desk.registry.expire(30.0 + LEASE).removed == {BOOKS: ["B"]}
    desk.registry.extend(100.0)  # Redis was away
    assert desk.registry.expire(150.0).removed == {}
    assert desk.registry.expire(50.0 + 100.0 + LEASE).removed == {BOOKS: ["A"]}
    assert (desk.registry.consumers, desk.registry.keys) == (0, 0)
    assert desk.want(ALICE, books("A"), serial=1).added  # and begins again


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        (books("KXNBA-1", "KXNFL-2"), "does not allow KXNBA-1$"),
        (books("KXNBA-1", "KXNBA-2", "KXNBA-3", "KXNBA-4"), "KXNBA-3 …$"),
        (SubscribeWish(1, ["trade"]), "does not allow all of trade: name the markets"),
        (SubscribeWish(1, ["ticker"], "market_ids", ["a-b"]), "by ticker, not by id"),
        (SubscribeWish(1, ["orderbook_delta"]), "needs markets"),
        (SubscribeWish(1, ["orderbook_delta"], "market_ids", ["a-b"]), "cannot be used"),
        (SubscribeWish(1, ["nonsense"]), "does not know the channel 'nonsense'"),
        (SubscribeWish(1, ["fill"]), r"without account=True \(--account\)"),
        (books("KXNFL-1 x"), "cannot be the name"),
        (SubscribeWish(1, ["trade"], "market_tickers"), "a selector without keys"),
        (FollowWish(1, ["trade"], series="KXBTC"), "does not allow KXBTC"),
        (FollowWish(1, ["fill"], series="KXNFLGAME"), "about the account"),
        (FollowWish(1, ["trade"]), "either a series or an event"),
    ],
)
def test_what_is_refused(wish: SubscribeWish | FollowWish, why: str) -> None:
    desk = Desk("KXNFL*", "ONLY-THIS")
    text = desk.refusal(wish)
    assert text
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(text)
    assert desk.registry.refused == 1
    assert desk.registry.keys == desk.registry.follows == 0


def test_what_is_allowed() -> None:
    desk = Desk("KXNFL*", "ONLY-THIS", account=True)
    assert not desk.refusal(books("KXNFLGAME-1", "ONLY-THIS"))
    assert not desk.refusal(SubscribeWish(1, ["market_lifecycle_v2"]))  # it takes no filter
    assert not desk.refusal(FollowWish(1, ["trade"], series="KXNFLGAME"))
    assert "from_relay() with account=True" in desk.refusal(SubscribeWish(1, ["user_orders"]))
    desk = Desk(account=True)
    taken = desk.want(ALICE, SubscribeWish(1, ["user_orders", "trade"]), account=True)
    assert taken.added == {Group("user_orders", None): [""], Group("trade", None): [""]}
    # a channel that cannot be filtered comes as a whole
    taken = desk.want(ALICE, books("A", channels=("trade", "market_lifecycle_v2")))
    assert taken.added == {TRADES: ["A"], Group("market_lifecycle_v2", None): [""]}


def test_follow_wishes_are_shared_by_their_parameters() -> None:
    desk = Desk()
    key = FollowKey("KXBTC", None, ("trade",), 5.0, 60.0, None)
    wish = FollowWish(1, ["trade"], series="KXBTC")
    assert desk.want(ALICE, follow=[wish]).follow == [key]
    assert desk.want(BOB, follow=[wish]).follow == []
    assert desk.want(BOB, follow=[FollowWish(1, ["trade"], series="KXBTC", lead=9)]).follow == [
        key._replace(lead=9)
    ]
    assert desk.registry.follows == 2
    assert desk.want(ALICE).unfollow == [key]
    assert desk.registry.clear().unfollow == [key._replace(lead=9)]


def test_everything_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MOST_CONSUMERS", 2)
    monkeypatch.setattr(registry, "MOST_KEYS", 5)
    monkeypatch.setattr(registry, "MOST_HELD", 9)
    monkeypatch.setattr(registry, "MOST_FOLLOWS", 1)
    desk = Desk()
    desk.want(ALICE, books("A", "B", "C", "D"))
    assert "accepts 5" in desk.want(BOB, books("E", "F")).refused[1]
    assert desk.want(BOB, books("A", "B", "C", "E")).refused == {}
    assert "accepts 5" in desk.want(ALICE, books("A", "B", "C", "D"), books("A", "B", number=2)).refused[2]
    assert "2 consumers" in desk.want("c" * 32, books("A")).refused[1]
    assert desk.want(ALICE, follow=[FollowWish(1, ["trade"], series="X")]).refused == {}
    assert "follows 1" in desk.want(BOB, follow=[FollowWish(1, ["trade"], series="Y")]).refused[1]


def test_one_time_requests_have_a_rate() -> None:
    desk = Desk("KX*")
    many = [OneTimeRequest("request_snapshots", ["KXA"])] * (registry.MOST_REQUESTS + 10)
    assert len(desk.want(ALICE, requests=many).requests) == registry.MOST_REQUESTS
    desk.now += 1.0
    assert len(desk.want(ALICE, requests=many).requests) == registry.REQUESTS_PER_SECOND
    desk.now += 60.0
    for request in (
        OneTimeRequest("unsubscribe"),
        OneTimeRequest("ask_again", ["NOT-ALLOWED"]),
        OneTimeRequest("ask", ["indexlist", "nonsense"]),
    ):
        assert desk.want(ALICE, requests=[request]).requests == []
    assert desk.want(ALICE, requests=[OneTimeRequest("ask", ["indexlist", "cfbenchmarks_value"])]).requests


def test_what_the_feed_refuses_is_dropped_for_all_that_contains_it() -> None:
    desk = Desk()
    desk.want(ALICE, books("A", channels=("orderbook_delta", "trade")), books("B", number=2))
    taken = desk.registry.refuse(ALICE, TRADES, "it contradicts")
    assert taken.refused == {1: "it contradicts"}
    assert taken.removed == {BOOKS: ["A"], TRADES: ["A"]}
    assert desk.registry.keys == 1
    assert desk.want(ALICE, serial=desk.serial).refused == {1: "it contradicts"}  # and it stays so
