"""Frames with anything anywhere, against an oracle of json, re and Decimal: right, or a ProtocolError.

It takes some seconds; ``KALSHI_EFFORT=200`` runs for about ten minutes, with other frames each time.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections import Counter
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import (
    MESSAGE_TYPES,
    Decoder,
    Message,
    OrderbookDelta,
    OrderbookSnapshot,
    UnknownMessage,
    decode,
    wire_fields,
)
from kalshi_feed.messages.decoder import unread
from tests.effort import effort

from .frames import DATA, FLAT, OLD

FRAMES_AN_EXAMPLE = 50
REPLIES: list[dict[str, Any]] = [
    {"type": "subscribed", "id": 1, "msg": {"channel": "trade", "sid": 2}},
    {"type": "ok", "id": 2, "sid": 2, "seq": 5, "msg": {"market_tickers": ["A"]}},
    {"type": "error", "id": 3, "sid": 2, "msg": {"code": 9, "msg": "no"}},
    {"type": "unsubscribed", "id": 4, "sid": 2, "seq": 6},
    {
        "type": "hello_v9",
        "sid": 2,
        "seq": 7,
        "sending_ts_ms": 1785901540750,
        "msg": {"market_ticker": "A", "a": [1]},
    },
]
FRAMES: list[dict[str, Any]] = [*DATA.values(), *FLAT.values(), *REPLIES]
FRAMES += [{**frame, "msg": {**frame["msg"], **OLD[type_]}} for type_, frame in FLAT.items() if type_ in OLD]

NUMBERS = [
    *(
        "0",
        "1",
        "5",
        "-1",
        "-0",
        "0.48",
        "0.4800",
        "0.1",
        "1.0",
        "-0.00",
        "-54.5",
        "0.1234567",
        "0.12345678",
        "0.123456789",
    ),
    *("1e2", "1E-2", "10e-1", "48e-2", "1e999", "-1e400", "1e99999999999999999999", "1e-99999", "0.1e1"),
    *(
        "9007199254740992",
        "9007199254740993",
        "9007199254740993.0",
        "9223372036854775807",
        "18446744073709551616",
        "9" * 40,
    ),
    *(
        "9999999999999.99",
        "99999999999999.99",
        "123456789.123456",
        "0.30000000000000004",
        "0." + "0" * 60 + "1",
        "1." + "0" * 40,
    ),
    *("253402300799999", "253402300800000", "1e15"),
]
NOT_JSON = ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "1_0", "0x1", "-", "1e", "'x'", "nul", ""]
STRINGS = [
    *(
        "",
        "x",
        "yes",
        "no",
        "bid",
        "A B",
        "\x1b[2J",
        "0.48",
        "1.00",
        "-1.00",
        "-0.00",
        "1e2",
        "NaN",
        " 1.00",
        "1.00 ",
        "+1",
        "1_0.00",
    ),
    *(
        "\u0661.00",
        "0.1234567",
        "0.123456789",
        "5",
        "1",
        "1.0001",
        "00.5",
        "007.00",
        "9" * 16,
        "9999999999999.99",
        "1.00\n",
        "1.00,2.00",
    ),
    *("2026-11-25T23:16:43.123456Z", "9999-12-31T23:59:59-01:00", "x - at `$.msg.ts`", "\u2028", "ä"),
]
OTHERS = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[[]]",
    '["0.5","1.00"]',
    '[["0.5","1.00"]]',
    "[[0.5,1.5],[0.25,2]]",
    '{"a":1}',
    '[{"a":1e400}]',
]

PRICES = {
    "price_dollars",
    "yes_price_dollars",
    "no_price_dollars",
    "yes_bid_dollars",
    "yes_ask_dollars",
    "no_bid_dollars",
}
SIGNED = {"delta_fp", "position_fp", "post_position_fp", "volume_delta_fp", "open_interest_delta_fp"}
RENAMED = {"fee_cost": "fee", "settlement_value": "settlement", "value_usd": "value"}
STRICT = {
    "orderbook_delta": {"price_dollars", "delta_fp"},
    "trade": {"yes_price_dollars", "no_price_dollars", "count_fp"},
    "fill": {"yes_price_dollars", "count_fp"},
}


class Literal(str):
    """A number, as the JSON has it."""


class NotJson(ValueError):
    """The oracle says that it is invalid."""


# -- the oracle ----------------------------------------------------------------------------------------------


def parsed(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise NotJson(constant)

    try:
        return json.loads(text, parse_float=Literal, parse_int=Literal, parse_constant=refuse)
    except ValueError as error:
        raise NotJson(str(error)) from None


def is_amount(type_: str, name: str) -> bool:
    return name in wire_fields(MESSAGE_TYPES[type_]) and (
        name.endswith(("_dollars", "_fp")) or name in RENAMED
    )


def amount(name: str, value: Any) -> Decimal | None:
    """The value as an amount of that name; None if it is not one."""
    if not isinstance(value, str):
        return None
    text = "0" if isinstance(value, Literal) and value == "-0" else value
    match = re.fullmatch(r"(-?)([0-9]+)(?:\.([0-9]+))?", text)
    if match is None:
        return None
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if name in PRICES:
        fits = not sign and len(whole) == 1 and len(fraction) <= 4 and Decimal(text) <= 1
    elif name == "value_usd":
        fits = len(whole) <= 15 and len(fraction) <= 8
    elif name.endswith("_fp"):
        fits = (name in SIGNED or not sign) and len(fraction) <= 2 and len(whole + fraction) <= 15
    else:
        fits = len(fraction) <= 6 and len(whole + fraction) <= 15
    return Decimal(text) if fits else None


def levels(value: Any) -> dict[Decimal, Decimal]:
    found: dict[Decimal, Decimal] = {}
    for price_text, size_text in value or ():
        price, size = amount("price_dollars", price_text), amount("count_fp", size_text)
        assert price is not None and size is not None and price not in found
        found[price] = size
    return {price: size for price, size in found.items() if size}


def check_whole_number(held: int | None, sent: Any) -> None:
    """A sid, seq or id: equal, or there was none."""
    if held is None:
        assert sent is None
    else:
        assert (
            isinstance(sent, Literal)
            and re.fullmatch("-?[0-9]+", sent)
            and int(sent) == held
            and 0 <= held < 2**53
        )


def check(message: Message, frame: dict[str, Any]) -> None:
    """The message holds what the frame says, and nothing else."""
    assert message.type == frame["type"]
    if message.type != "subscribed":
        check_whole_number(message.sid, frame.get("sid"))
    check_whole_number(message.seq, frame.get("seq"))
    for name in dir(message):
        if not name.startswith("_"):
            getattr(message, name)
    assert hash(message) == hash(copy.copy(message)) and repr(message)
    body = frame.get("msg")
    if isinstance(message, UnknownMessage) or not isinstance(body, dict):
        return
    odd = unread(message)
    ticker = body.get("ticker" if message.type == "user_order" else "market_ticker")
    if message.market_ticker is not None:
        assert message.market_ticker == ticker and not isinstance(ticker, Literal)
    for name, sent in body.items():
        if not is_amount(message.type, name):
            continue
        if isinstance(message, OrderbookSnapshot):
            continue
        held, expected = getattr(message, name), amount(name, sent)
        if sent is None or (message.type == "ticker" and sent == "" and not isinstance(sent, Literal)):
            assert not held and name not in odd
        elif expected is None:
            assert held is None and name in odd and name not in STRICT.get(message.type, ()), (
                name,
                sent,
                held,
            )
        else:
            assert isinstance(held, str) and Decimal(held) == expected and name not in odd, (name, sent, held)
            ready = getattr(message, RENAMED.get(name, name.removesuffix("_dollars").removesuffix("_fp")))
            assert ready == expected, (name, sent, ready)
    if isinstance(message, OrderbookSnapshot):
        for side in ("yes", "no"):
            sent = body.get(f"{side}_dollars_fp")
            if sent is not None:
                assert {level.price: level.quantity for level in getattr(message, side)} == levels(sent)


def is_acceptable(frame: dict[str, Any], places: set[tuple[str, ...]]) -> bool:
    """Whether a frame changed only at these paths must be accepted: readable or unneeded amounts."""
    type_ = frame.get("type")
    if not isinstance(type_, str) or type_ not in MESSAGE_TYPES or type_ == "orderbook_snapshot":
        return False
    if not all(len(place) == 2 and place[0] == "msg" and is_amount(type_, place[1]) for place in places):
        return False
    for _, name in places:
        sent = frame["msg"][name]
        if (
            name in STRICT.get(type_, ())
            and amount(name, sent) is None
            and (sent is not None or type_ == "orderbook_delta")
        ):
            return False
    return True


# -- the frames ----------------------------------------------------------------------------------------------


class Raw(str):
    """Our own JSON, put into the frame unchanged."""


def dumped(value: Any) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dumped(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dumped, value)) + "]"
    return json.dumps(value)


def anything(rng: random.Random) -> Raw:
    kind = rng.random()
    if kind < 0.5:
        return Raw(rng.choice(NUMBERS))
    if kind < 0.8:
        return Raw(json.dumps(rng.choice(STRINGS)))
    if kind < 0.97:
        return Raw(rng.choice(OTHERS))
    return Raw(rng.choice(NOT_JSON))


def some_place(rng: random.Random, value: Any, at: tuple[Any, ...] = ()) -> tuple[Any, ...]:
    """A path in the value, preferably not deep; now and then one that does not exist yet."""
    if isinstance(value, dict):
        if rng.random() < 0.06:
            return (
                *at,
                rng.choice(
                    [
                        "new",
                        "msg.trade_id",
                        "msg.extra_json",
                        "extra_json",
                        "code",
                        "message",
                        "msg",
                        "sid",
                        "seq",
                        "ts",
                    ]
                ),
            )
        key: Any = rng.choice(list(value)) if value else "new"
        if key == "type" and rng.random() < 0.8:
            key = "msg" if "msg" in value else "type"
    elif isinstance(value, list) and value:
        key = rng.randrange(len(value))
    else:
        return at
    inside = value.get(key) if isinstance(value, dict) else value[key]
    deeper = isinstance(inside, (dict, list)) and bool(inside) and rng.random() < 0.95
    return some_place(rng, inside, (*at, key)) if deeper else (*at, key)


def fuzzed(rng: random.Random) -> tuple[str, set[tuple[Any, ...]]]:
    """A frame's JSON, and where it was changed."""
    frame = copy.deepcopy(rng.choice(FRAMES))
    places = set()
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        place = some_place(rng, frame)
        holder = frame
        for key in place[:-1]:
            holder = holder[key]
        if place and not isinstance(holder, Raw):
            holder[place[-1]] = anything(rng)
            places.add(place)
    text = dumped(frame)
    if rng.random() < 0.1:  # the text itself
        at, length = rng.randrange(len(text)), rng.choice((0, 0, 1, 1, 2, 20))
        text = (
            text[:at]
            + rng.choice(["", "", ",", "}", "{", "]", "[", '"', "0", "e1", ".", "-", " ", "\\", "\n"])
            + text[at + length :]
        )
        places = {("type",)}
    return text, places


def outcome(payload: bytes) -> Message | ProtocolError:
    try:
        return decode(payload)
    except ProtocolError as error:
        return error


COUNTS: Counter[str] = Counter()


def try_one(text: str, places: set[tuple[Any, ...]], batched: Message | ProtocolError) -> None:
    found = outcome(text.encode())
    try:
        frame = parsed(text)
    except NotJson:
        COUNTS["not JSON"] += 1
        assert isinstance(found, ProtocolError), text
        return
    if isinstance(found, ProtocolError):
        COUNTS["refused"] += 1
        assert not (isinstance(frame, dict) and places and is_acceptable(frame, places)), f"{text}: {found}"
        # a batch leaves the numbers of books to the caller
        if not isinstance(batched, ProtocolError):
            assert isinstance(batched, (OrderbookDelta, OrderbookSnapshot)), text
            try:
                batched.units() if isinstance(batched, OrderbookDelta) else batched.book_sides()
            except ValueError:
                return
            raise AssertionError(f"only decode() refuses {text}")
        return
    COUNTS["taken"] += 1
    assert batched == found, text
    try:
        check(found, frame)
    except Exception as error:
        raise AssertionError(f"{text}: {error!r}") from error


@effort(60)
@given(st.integers(0, 2**63))
def test_S41_S44_S47_any_frame_is_a_message_that_is_right_or_a_protocol_error(number: int) -> None:
    rng = random.Random(number)
    frames = [fuzzed(rng) for _ in range(FRAMES_AN_EXAMPLE)]
    found = Decoder().decode_batch([text.encode() for text, _ in frames])
    assert len(found) == len(frames)
    for (text, places), batched in zip(frames, found, strict=True):
        try_one(text, places, batched)
    text, _ = frames[0]  # and half a frame is not a frame
    cut = rng.randrange(1, max(2, len(text)))
    halves = [text[:cut].encode(), text[cut:].encode()]
    assert [str(one) for one in Decoder().decode_batch(halves)] == [str(outcome(half)) for half in halves]


def test_all_outcomes_were_seen() -> None:
    """Runs after the one above, and prints its counts."""
    print("fuzzed frames:", dict(COUNTS))
    assert not COUNTS or min(COUNTS[what] for what in ("taken", "refused", "not JSON")) > 50
