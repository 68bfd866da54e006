"""What the session's tests share: reading commands, and the situations in which they begin."""

from __future__ import annotations

from typing import Any

from tests.session.driver import BOOK, Driver, Frame

__all__ = ["action", "actions", "asked", "confirmed", "lose", "params", "with_trades"]


def params(command: Frame) -> dict[str, Any]:
    found: dict[str, Any] = command["params"]
    return found


def action(command: Frame) -> str:
    return str(params(command).get("action", command["cmd"])) if "params" in command else str(command["cmd"])


def actions(commands: list[Frame]) -> list[str]:
    return [action(command) for command in commands]


def asked(commands: list[Frame]) -> set[str]:
    return {t for c in commands if action(c) == "get_snapshot" for t in params(c)["market_tickers"]}


def confirmed(driver: Driver, channel: str = BOOK) -> set[str]:
    subscription = driver.session.reconciler.subscriptions.get(channel)
    return subscription.confirmed if subscription is not None else set()


def lose(driver: Driver, market_ticker: str = "A") -> None:
    """One change to the market is lost, and the next one arrives."""
    assert driver.venue.change(market_ticker, 100)
    driver.turn(*driver.venue.change(market_ticker, 100))


def with_trades(*market_tickers: str) -> Driver:
    """Books LIVE on sid 1, all trades on sid 2."""
    driver = Driver()
    driver.go_live(*market_tickers)
    driver.want("trade")
    driver.play()
    driver.take()
    return driver
