"""An error that ends a subscription overtakes its `subscribed`: the session subscribes again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.session.driver import BOOK, Driver, error, subscribed
from tests.session.support import actions

CHANNELS = ("ticker", "trade", "fill", BOOK)


@pytest.mark.parametrize("code", [10, 25])
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("names", ["sid", "id", "both"])
def test_S46_an_error_before_its_subscribed(channel: str, code: int, names: str) -> None:
    driver = Driver()
    want = driver.want(channel, "A")
    (command,) = driver.connect()
    place: dict[str, Any] = (
        {"sid": 5}
        if names == "sid"
        else {"id": command["id"]}
        if names == "id"
        else {"sid": 5, "id": command["id"]}
    )
    assert driver.turn(error(code, **place)) == []
    driver.turn(subscribed(command["id"], channel, 5))
    assert not driver.session.confirmed(channel, ["A"]), "it is dead"
    again = driver.pass_time(2)
    assert actions(again)[-1] == "subscribe"
    driver.turn(subscribed(again[-1]["id"], channel, 6))
    assert driver.session.confirmed(channel, ["A"]) and driver.session.sid_of(channel) == 6
    assert want.error is None and driver.give_up is None


def test_an_exchange_that_ends_unknown_subscriptions_does_not_fill_the_memory() -> None:
    driver = Driver()
    driver.want("trade", "A")
    driver.connect()
    for sid in range(100, 3_000):
        driver.turn(error(25, sid=sid))
    assert len(driver.session.reconciler.subscriptions._ended_early) == 1_000
