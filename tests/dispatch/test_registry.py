from __future__ import annotations

import functools
import threading
from typing import Any

import pytest

from kalshi_feed.dispatch.registry import ALL_DATA, BOOKS, Entry, Registry, Table, callback_name
from kalshi_feed.errors import ConfigurationError
from kalshi_feed.events import Event, FeedFault, Gap


def one(item: object) -> None:
    pass


def two(item: object) -> None:
    pass


def callbacks(registry: Registry, wire_type: str) -> list[Any]:
    table = registry.table
    return [route[0] for route in table.routes.get(wire_type, table.all_data)]


def test_callbacks_come_in_the_order_of_registration() -> None:
    registry = Registry()
    registry.register("trade", two)
    registry.register(ALL_DATA, one)
    registry.register("trade", one)
    assert callbacks(registry, "trade") == [two, one, one]
    assert callbacks(registry, "ticker") == [one]


@pytest.mark.parametrize("reply", ["subscribed", "unsubscribed", "ok", "error", "list_subscriptions"])
def test_on_message_gets_no_replies_but_on_type_does(reply: str) -> None:
    registry = Registry()
    registry.register(ALL_DATA, one)
    assert callbacks(registry, reply) == []
    assert registry.table.wants(reply) is False
    registry.register(reply, two)
    assert callbacks(registry, reply) == [two]


def test_which_tickers_of_a_type_are_wanted() -> None:
    registry = Registry()
    assert registry.table.wants("trade") is False
    registry.register("trade", one, "A")
    registry.register("trade", two, ["A", "B"])
    assert registry.table.wants("trade") == frozenset(("A", "B"))
    registry.register("trade", two)
    assert registry.table.wants("trade") is True
    registry.register(BOOKS, one, ["A"])
    assert registry.table.book_markets == frozenset(("A",))


def test_an_event_goes_to_its_class_and_the_bases() -> None:
    registry = Registry()
    registry.register(Event, one)
    registry.register(Gap, two)
    assert [route[0] for route in registry.table.for_event(Gap)] == [one, two]
    assert [route[0] for route in registry.table.for_event(FeedFault)] == [one]


def test_off_removes_every_registration_of_a_bound_method() -> None:
    class Strategy:
        def moved(self, item: object) -> None:
            pass

    mine, other = Strategy(), Strategy()
    registry = Registry()
    for strategy in (mine, other):
        registry.register("trade", strategy.moved)
        registry.register(BOOKS, strategy.moved)
    assert registry.off(mine.moved) == 2
    assert registry.off(mine.moved) == 0
    assert callbacks(registry, "trade") == [other.moved]


def test_registrations_from_many_threads_are_all_there(short_switches: None) -> None:
    registry = Registry()
    barrier = threading.Barrier(8)

    def register(base: int) -> None:
        barrier.wait(5)
        for number in range(25):
            callback = functools.partial(one, base + number)
            registry.register("trade", callback)
            if number % 2:
                registry.off(callback)

    threads = [threading.Thread(target=register, args=(100 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(callbacks(registry, "trade")) == 8 * 13
    assert len(registry.table.entries) == 8 * 13


def test_a_change_in_the_middle_of_another_is_not_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forced interleaving of two threads: the second registers while the first builds its table."""
    registry = Registry()
    first_time = iter([True])

    def build(entries: tuple[Entry, ...]) -> Table:
        if next(first_time, False):
            registry.register("trade", two)
        return Table(entries)

    with monkeypatch.context() as patch:
        patch.setattr("kalshi_feed.dispatch.registry.Table", build)
        registry.register("trade", one)
    assert callbacks(registry, "trade") == [one, two]


async def coroutine(item: object) -> None:
    pass


class AsyncCallable:
    async def __call__(self, item: object) -> None:
        pass


def generator(item: object) -> Any:
    yield item


@pytest.mark.parametrize(
    "callback", [None, "text", coroutine, AsyncCallable(), generator, functools.partial(coroutine)]
)
def test_what_cannot_be_a_callback_is_refused(callback: Any) -> None:
    with pytest.raises(ConfigurationError):
        Registry().register("trade", callback)


@pytest.mark.parametrize("kind", [None, "", 3, object, Event(), int])
def test_what_cannot_be_a_kind_is_refused(kind: Any) -> None:
    with pytest.raises(ConfigurationError):
        Registry().register(kind, one)


@pytest.mark.parametrize("tickers", [[], "", [""], [None], 3, [["A"]]])
def test_bad_market_tickers_are_refused(tickers: Any) -> None:
    with pytest.raises(ConfigurationError):
        Registry().register("trade", one, tickers)


def test_events_take_no_market_tickers() -> None:
    with pytest.raises(ConfigurationError, match="Gap"):
        Registry().register(Gap, one, ["A"])


def test_names_never_show_the_users_data() -> None:
    class Secretive:
        def __repr__(self) -> str:
            raise AssertionError("repr was asked for")

        def __call__(self, item: object) -> None:
            pass

    assert callback_name(one) == f"{__name__}.one"
    assert callback_name(functools.partial(one, "s3cret")) == f"{__name__}.one"
    assert callback_name(Secretive()).endswith("Secretive")
    assert callback_name(print) == "builtins.print"
