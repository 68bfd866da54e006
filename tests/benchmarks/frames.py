"""Frames as the exchange sent them in late 2026 (PROTOCOL.md 5 and 6), encoded before the measurement.

Owns the made-up markets. The same seed gives the same markets, so every client sees the same changes; only
the price scale of the no side follows what the client asked for.
"""

from __future__ import annotations

import random
import struct
import uuid
from collections.abc import Iterator
from typing import NamedTuple, Protocol

CLOCK_BASE = 10**18  # paced frames carry CLOCK_BASE + time.monotonic_ns() as their clock: always 19 digits
_MS = 1_795_372_013_361
_ROUND = [
    size * 100
    for size in (
        1,
        2,
        3,
        5,
        8,
        10,
        15,
        20,
        25,
        30,
        40,
        50,
        75,
        100,
        150,
        200,
        250,
        300,
        400,
        500,
        1_000,
        2_000,
    )
] + [10]
_TIME = "2026-11-22T18:26:53.361842Z"


class Plan(NamedTuple):
    """What one connection is sent. ``chunk``: the number of markets in its first command, which decides where
    the ok replies go."""

    markets: int
    deltas: int
    levels: int  # of both sides together, in each market's snapshot
    # "deltas", "new sizes" (none seen before), "captured" (the exchange's own), "mixed" (with trades and
    # tickers), "tickers", "trades" or "snapshots" (again and again)
    kind: str
    yes_price: bool
    chunk: int

    def first_seq(self, chunk_index: int) -> int:
        """The seq of the first frame that answers command ``chunk_index``: an ok, except for the first
        command."""
        return 1 + chunk_index * (self.chunk + 1) - (chunk_index > 0)

    def last_seq(self) -> int:
        """The seq of the last frame that answers the commands."""
        return self.markets + -(-self.markets // self.chunk) - 1


def text_frame(payload: bytes) -> bytes:
    """A text frame from the server."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return struct.pack(">BBH", 0x81, 126, size) + payload
    return struct.pack(">BBQ", 0x81, 127, size) + payload


def prices_of(levels: int) -> str:
    """The kind of prices that this many levels of both sides together need: each side has 50 whole cents."""
    return "whole cents" if levels <= 100 else "finer prices"


class World:
    """The markets of one plan, and how they move."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = chance = random.Random(7)
        self._volume = 33_896
        self._ids = [uuid.UUID(int=chance.getrandbits(128)) for _ in range(plan.markets)]
        half = max(plan.levels // 2, 1)
        self._step = 100 if half <= 50 else max(5000 // half, 1)  # 1/10,000 dollar
        # both sides at most at 0.50: never crossed
        self._prices = [self._step * i for i in range(1, half + 1)]
        self._books = [
            {
                side: {price: chance.randint(100, 100_000) * 100 for price in self._prices}
                for side in ("yes", "no")
            }
            for _ in range(plan.markets)
        ]

    def _price(self, side: str, price: int) -> str:
        scaled = 10_000 - price if side == "no" and self._plan.yes_price else price
        return f"{scaled / 10_000:.4f}"

    def levels(self) -> Iterator[tuple[str, dict[int, int], dict[int, int]]]:
        """Each market's yes and no levels now: own price in 1/10,000 dollar to size in 1/100 contract."""
        for market, sides in enumerate(self._books):
            yield f"MKT-{market}", sides["yes"], sides["no"]

    def snapshot(self, market: int, seq: int) -> bytes:
        """The market's current snapshot."""
        sides = []
        for side in ("yes", "no"):
            levels = sorted(
                (self._price(side, price), size) for price, size in self._books[market][side].items()
            )
            sides.append(",".join(f'["{price}","{size / 100:.2f}"]' for price, size in levels))
        return text_frame(
            (
                f'{{"type":"orderbook_snapshot","sid":1,"seq":{seq},"sending_ts_ms":{_MS},"msg":{{"market_ticker":"MKT-{market}",'
                f'"market_id":"{self._ids[market]}","clock":{seq},"yes_dollars_fp":[{sides[0]}],"no_dollars_fp":[{sides[1]}]}}}}'
            ).encode()
        )

    def delta(self, seq: int, clock: str | int) -> bytes:
        """The next change, in a random market."""
        chance = self._random
        market, side = chance.randrange(self._plan.markets), "yes" if chance.random() < 0.5 else "no"
        levels, price = self._books[market][side], chance.choice(self._prices)
        held = levels.get(price, 0)
        # people trade round sizes: 96 % of 37,000 captured deltas have the size of an earlier one
        change = (
            chance.randint(1, 2_000_000)
            if self._plan.kind == "new sizes" or chance.random() < 0.05
            else chance.choice(_ROUND)
        )
        if held >= change and chance.random() < 0.5:
            change = -change
        levels[price] = held + change
        if not levels[price]:
            del levels[price]
        return text_frame(
            (
                f'{{"type":"orderbook_delta","sid":1,"seq":{seq},"msg":{{"market_ticker":"MKT-{market}","market_id":"{self._ids[market]}",'
                f'"clock":{clock},"price_dollars":"{self._price(side, price)}","delta_fp":"{change / 100:.2f}","side":"{side}",'  # noqa: E501
                f'"ts_ms":{_MS}}},"sending_ts_ms":{_MS + 4}}}'
            ).encode()
        )

    def _touch(self) -> tuple[int, str, str]:
        """A random market with its best yes bid and ask, so that tickers and trades agree with the books."""
        market = self._random.randrange(self._plan.markets)
        yes, no = self._books[market]["yes"], self._books[market]["no"]
        return market, f"{max(yes, default=0) / 10_000:.4f}", f"{1 - max(no, default=0) / 10_000:.4f}"

    def trade(self, seq: int) -> bytes:
        """A trade in a random market, at the bid."""
        market, bid, _ = self._touch()
        count = f"{self._random.choice(_ROUND) / 100:.2f}"
        return text_frame(
            (
                f'{{"type":"trade","sid":2,"seq":{seq},"msg":{{"trade_id":"{self._ids[market]}","market_ticker":"MKT-{market}",'
                f'"yes_price_dollars":"{bid}","no_price_dollars":"{1 - float(bid):.4f}","count_fp":"{count}",'
                f'"taker_side":"yes","taker_outcome_side":"yes","taker_book_side":"bid","is_block_trade":false,"ts":{_MS // 1000},'  # noqa: E501
                f'"ts_ms":{_MS}}},"sending_ts_ms":{_MS + 4}}}'
            ).encode()
        )

    def ticker(self) -> bytes:
        """A market's ticker."""
        market, bid, ask = self._touch()
        self._volume += 12
        return text_frame(
            (
                f'{{"type":"ticker","sid":3,"msg":{{"market_ticker":"MKT-{market}","market_id":"{self._ids[market]}",'
                f'"price_dollars":"{bid}","yes_bid_dollars":"{bid}","yes_ask_dollars":"{ask}",'
                f'"volume_fp":"{self._volume}.00","open_interest_fp":"20422.00","dollar_volume":16948,"dollar_open_interest":10211,'
                f'"yes_bid_size_fp":"300.00","yes_ask_size_fp":"200.00","last_trade_size_fp":"12.00","ts":{_MS // 1000},'  # noqa: E501
                f'"ts_ms":{_MS},"time":"{_TIME}"}},"sending_ts_ms":{_MS + 4}}}'
            ).encode()
        )


class Markets(Protocol):
    """Where a plan's frames come from: a World, or recordings."""

    def snapshot(self, market: int, seq: int) -> bytes:
        """The market's current snapshot."""


def answers(world: Markets, plan: Plan, chunk_index: int) -> bytes:
    """The snapshots that follow the answer to a command."""
    begin = chunk_index * plan.chunk
    seq = plan.first_seq(chunk_index) + (chunk_index > 0)
    return b"".join(
        world.snapshot(m, seq + m - begin) for m in range(begin, min(begin + plan.chunk, plan.markets))
    )


def stream(world: World, plan: Plan, clocks: bool = False) -> Iterator[bytes]:
    """``plan.deltas`` frames; their numbers continue those of the snapshots. ``clocks``: with a placeholder
    for the time of sending."""
    seq, trades = plan.last_seq(), 0
    for number in range(plan.deltas):
        is_trade = plan.kind == "trades" or (plan.kind == "mixed" and number % 10 == 9)
        if is_trade:
            trades += 1
            yield world.trade(trades)
            continue
        if plan.kind == "tickers" or (plan.kind == "mixed" and number % 10 in (3, 6)):
            yield world.ticker()
            continue
        seq += 1
        if plan.kind == "snapshots":
            yield world.snapshot(number % plan.markets, seq)
        else:
            yield world.delta(seq, "9" * 19 if clocks else seq)
