"""One market history in every generation of the wire format: equal books, equal messages (PROTOCOL.md 8)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from .driver import Driver, Frame, encoded, subscribed

BOOK_SID, TRADE_SID, TICKER_SID, FILL_SID = 1, 2, 3, 4
MARKETS = ("GEN-A", "GEN-B")
OLD_NAMES = {
    "price_dollars": "price", "yes_price_dollars": "yes_price", "no_price_dollars": "no_price", "yes_bid_dollars": "yes_bid",  # noqa: E501
    "yes_ask_dollars": "yes_ask", "delta_fp": "delta", "count_fp": "count", "volume_fp": "volume",
    "open_interest_fp": "open_interest", "post_position_fp": "post_position", "yes_dollars_fp": "yes", "no_dollars_fp": "no",  # noqa: E501
}  # fmt: skip
READY = {
    "orderbook_snapshot": ("market_ticker", "yes", "no", "seq"),
    "orderbook_delta": ("market_ticker", "side", "price", "delta", "seq", "time"),
    "trade": ("market_ticker", "trade_id", "yes_price", "no_price", "count", "seq", "time"),
    "ticker": ("market_ticker", "price", "yes_bid", "yes_ask", "volume", "open_interest", "time"),
    "fill": ("market_ticker", "trade_id", "yes_price", "count", "post_position", "is_taker", "time"),
}


def cents(text: str) -> int:
    """Dollars as cents, or contracts as hundredths."""
    return round(float(text) * 100)


def as_old(frame: Frame) -> Frame:
    """The frame as it was until March 2026: cents and whole contracts. The history has nothing finer."""
    msg = dict(frame["msg"])
    for new, old in OLD_NAMES.items():
        if new not in msg:
            continue
        value = msg.pop(new)
        if isinstance(value, list):
            msg[old] = [[cents(price), cents(size) // 100] for price, size in value]
        else:
            msg[old] = cents(value) if new.endswith("_dollars") else cents(value) // 100
    return {**frame, "msg": msg}


def as_both(frame: Frame) -> Frame:
    """Both forms in one frame, as from January to March 2026."""
    return {**frame, "msg": {**as_old(frame)["msg"], **frame["msg"]}}


def history(seed: int, length: int = 400) -> Iterator[Frame]:
    """Snapshots, changes, trades, tickers and fills of two markets, in today's form."""
    chance = random.Random(seed)
    books: dict[tuple[str, str], dict[int, int]] = {
        (market, side): {} for market in MARKETS for side in ("yes", "no")
    }
    seqs = {BOOK_SID: 0, TRADE_SID: 0}

    def frame(type_: str, sid: int, **msg: Any) -> Frame:
        made: Frame = {"type": type_, "sid": sid, "msg": msg}
        if sid in seqs:
            seqs[sid] += 1
            made["seq"] = seqs[sid]
        return made

    def snapshot(market: str) -> Frame:
        levels = {
            f"{side}_dollars_fp": [
                [f"{price / 100:.4f}", f"{size}.00"] for price, size in sorted(books[market, side].items())
            ]
            for side in ("yes", "no")
        }
        return frame(
            "orderbook_snapshot",
            BOOK_SID,
            market_ticker=market,
            **{name: side for name, side in levels.items() if side},
        )

    for market in MARKETS:
        yield snapshot(market)
    for number in range(length):
        market, side, price = chance.choice(MARKETS), chance.choice(("yes", "no")), chance.randint(1, 99)
        moment = {"ts_ms": 1_770_000_000_000 + number}
        kind = chance.random()
        if kind < 0.7:
            levels = books[market, side]
            change = chance.choice([chance.randint(1, 500), -levels.get(price, 0)]) or 7
            levels[price] = levels.get(price, 0) + change
            if not levels[price]:
                del levels[price]
            yield frame(
                "orderbook_delta", BOOK_SID, market_ticker=market, side=side,
                price_dollars=f"{price / 100:.4f}", delta_fp=f"{change}.00", **moment,
            )  # fmt: skip
        elif kind < 0.75:
            yield snapshot(market)
        elif kind < 0.85:
            yield frame(
                "trade", TRADE_SID, market_ticker=market, trade_id=f"t{number}", yes_price_dollars=f"{price / 100:.4f}",  # noqa: E501
                no_price_dollars=f"{1 - price / 100:.4f}", count_fp=f"{chance.randint(1, 900)}.00", **moment,
            )  # fmt: skip
        elif kind < 0.95:
            yield frame(
                "ticker", TICKER_SID, market_ticker=market, price_dollars=f"{price / 100:.4f}", yes_bid_dollars="0.0100",  # noqa: E501
                yes_ask_dollars="0.9900", volume_fp=f"{number}.00", open_interest_fp=f"{number * 3}.00", **moment,  # noqa: E501
            )  # fmt: skip
        else:
            yield frame(
                "fill", FILL_SID, market_ticker=market, trade_id=f"f{number}", yes_price_dollars=f"{price / 100:.4f}",  # noqa: E501
                count_fp="3.00", post_position_fp=f"{chance.randint(-50, 50)}.00", is_taker=True, **moment,
            )  # fmt: skip


def delivered(frames: list[Frame]) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """What a session delivers from these frames, as plain values, and its final books."""
    driver = Driver(use_yes_price=False)  # the old format knew only the side's own prices
    driver.want(("orderbook_delta", "trade", "ticker", "fill"), *MARKETS)
    sids = {"orderbook_delta": BOOK_SID, "trade": TRADE_SID, "ticker": TICKER_SID, "fill": FILL_SID}
    for command in driver.connect():
        (channel,) = command["params"]["channels"]
        driver.session.receive([encoded(subscribed(command["id"], channel, sids[channel]))], 0.0)
    driver.session.output.take()
    driver.session.receive([encoded(frame) for frame in frames], 1.0)
    items = driver.session.output.take()[0]
    messages = [(item.type, *(str(getattr(item, name)) for name in READY[item.type])) for item in items]
    return messages, {market: driver.books[market].view(0.0, 0.0).to_dict() for market in MARKETS}


@pytest.mark.parametrize("seed", range(5))
def test_every_generation_says_the_same(seed: int) -> None:
    new = list(history(seed))
    mixed = [random.Random(seed).choice([as_old, as_both, dict])(frame) for frame in new]
    messages, books = delivered(new)
    assert len(messages) == len(new) and all(book["status"] == "LIVE" for book in books.values())
    for frames in ([as_old(frame) for frame in new], [as_both(frame) for frame in new], mixed):
        assert frames != new
        assert delivered(frames) == (messages, books)
