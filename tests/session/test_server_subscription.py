"""Which command comes next on the way from the confirmed state to the wanted one."""

from __future__ import annotations

from kalshi_feed.session.channels import ALL_MARKETS
from kalshi_feed.session.commands import CHUNK, Command
from kalshi_feed.session.server_subscription import ServerSubscription

MANY = [f"M{n}" for n in range(1100)]


def subscription(*confirmed: str, is_open: bool = True) -> ServerSubscription:
    made = ServerSubscription("orderbook_delta")
    made.is_open = is_open
    made.selector = "market_tickers"
    made.confirmed.update(confirmed)
    return made


def step(of: ServerSubscription, *wanted: str) -> tuple[str, tuple[str, ...]] | None:
    return of.next_step(wanted, "market_tickers" if wanted else None)


def test_subscribe_first() -> None:
    assert step(subscription(is_open=False)) is None
    assert step(subscription(is_open=False), "A", "B") == ("subscribe", ("A", "B"))
    assert step(subscription(is_open=False), *MANY) == ("subscribe", tuple(MANY[:CHUNK]))
    assert subscription(is_open=False).next_step(ALL_MARKETS, None) == ("subscribe", ("*all*",))


def test_then_add_and_only_then_delete() -> None:
    assert step(subscription("A"), "A") is None
    assert step(subscription("A"), "A", "B") == ("add_markets", ("B",))
    assert step(subscription("A"), "B") == ("add_markets", ("B",))
    assert step(subscription("A", "B"), "B") == ("delete_markets", ("A",))
    assert step(subscription(*MANY[:500]), *MANY) == ("add_markets", tuple(MANY[500:1000]))
    found = step(subscription(*MANY), "M0")
    assert (
        found is not None and found[0] == "delete_markets" and len(found[1]) == CHUNK and "M0" not in found[1]
    )


def test_the_last_one_goes_by_unsubscribing() -> None:
    assert step(subscription("A")) == ("unsubscribe", ())
    assert step(subscription()) == ("unsubscribe", ())  # open, but it is not known for which markets
    assert step(subscription(), "A") == ("add_markets", ("A",))


def test_all_and_some_exclude_each_other() -> None:
    assert subscription("A").next_step(ALL_MARKETS, None) == ("unsubscribe", ())
    assert step(subscription("*all*"), "A") == ("unsubscribe", ())
    assert subscription("*all*").next_step(ALL_MARKETS, None) is None


def test_so_do_filters_of_two_kinds() -> None:
    assert subscription("A").next_step(("uuid",), "market_ids") == ("unsubscribe", ())


def test_what_it_keeps() -> None:
    kept = subscription("A", "B")
    assert kept.keeps("A") and not kept.keeps("C")
    kept.pending = Command(1, "delete_markets", "", ("A",), 0.0)
    assert not kept.keeps("A") and kept.keeps("B")
    kept.pending = Command(1, "unsubscribe", "", (), 0.0)
    assert not kept.keeps("B")
    kept.pending = Command(1, "add_markets", "", ("A",), 0.0)
    assert kept.keeps("A")
