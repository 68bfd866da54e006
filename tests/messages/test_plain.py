"""to_dict() and repr of every message class: plain data for JSON, Flask and pandas, with nothing missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import flask
import pytest

from kalshi_feed import ConfigurationError, KalshiFeed, Level, ProtocolError
from kalshi_feed.messages import MESSAGE_TYPES, Message, OrderbookDelta, decode
from kalshi_feed.messages.decoder import Decoder
from kalshi_feed.messages.plain import number_function, plain, shown_fields
from tests.published import example_frames

from .frames import ABSENT, DATA, DELTA, FILL, FLAT, OLD, SNAPSHOT, TRADE, text


def all_messages() -> Iterator[Message]:
    """Every class with every field, in the old format, empty, and as the exchange has published it."""
    for type_, frame in {**DATA, **FLAT}.items():
        yield decode(text(frame), use_yes_price=True)
        yield decode(text(frame, msg={}) if type_ not in DATA else text(frame))
        yield decode(text(frame, brand_new={"a": [1.50, 1e-9]}))
        if type_ in OLD:
            yield decode(text(frame, msg=OLD[type_]))
    for example in example_frames():
        if example["direction"] == "server" and not example["type"].startswith("control"):
            yield decode(json.dumps(example["frame"]))
    yield decode('{"type":"list_subscriptions","id":1,"subscriptions":[{"channel":"trade","sid":1}]}')
    yield decode('{"type":"brand_new","sid":1,"seq":2,"msg":{"market_ticker":"A","price":0.10},"more":1}')


MESSAGES = list(all_messages())


def test_every_class_is_among_them() -> None:
    assert {type(message).type for message in MESSAGES if message.type != "brand_new"} == set(MESSAGE_TYPES)


def leaves(value: Any) -> Iterator[Any]:
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from leaves(inner)
    if not isinstance(value, (dict, list)):
        yield value


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_json_and_flask_take_it(message: Message) -> None:
    told = message.to_dict()
    assert told["type"] == message.type and told["extra"] == plain(message.extra, number_function(str))
    dumped = json.dumps(told, allow_nan=False)
    assert json.loads(dumped) == told
    with flask.Flask("x").app_context():
        assert flask.jsonify(told).get_json() == told
    kinds = {type(leaf) for leaf in leaves(told)}
    assert kinds <= {str, int, float, bool, type(None)}
    assert Decimal not in {type(leaf) for leaf in leaves(message.to_dict(float))}
    exact = list(leaves(message.to_dict(Decimal)))
    written = [f"{leaf:f}" if isinstance(leaf, Decimal) else leaf for leaf in exact]
    assert written == list(leaves(told))  # exact, and never with an exponent


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_a_type_has_the_same_keys_always(message: Message) -> None:
    same = [other.to_dict().keys() for other in MESSAGES if other.type == message.type]
    assert all(keys == message.to_dict().keys() for keys in same)


@pytest.mark.filterwarnings("ignore")  # from pandas, about its own future
def test_pandas_takes_them() -> None:
    pandas = pytest.importorskip("pandas")
    for type_ in MESSAGE_TYPES:
        table = pandas.DataFrame([message.to_dict(float) for message in MESSAGES if message.type == type_])
        assert list(table["type"].unique()) == [type_]
    trades = pandas.DataFrame([message.to_dict(float) for message in MESSAGES if message.type == "trade"])
    assert trades["yes_price"].dtype == "float64" and trades["yes_price"][0] == 0.36


@pytest.mark.parametrize("type_", sorted({**DATA, **FLAT}))
def test_nothing_that_was_sent_is_missing(type_: str) -> None:
    """Whichever field is missing, to_dict() shows it: none is lost between ready values and other fields."""
    # the same moment again, with fewer digits
    spare = (
        "ts",
        "time",
        "created_time",
        "last_update_time",
        "expiration_time",
    )
    frame = {**DATA, **FLAT}[type_]
    frame = {**frame, "msg": {key: value for key, value in frame["msg"].items() if key not in spare}}
    whole = decode(text(frame)).to_dict()
    for name in frame["msg"]:
        try:
            told = decode(text(frame, **{name: ABSENT})).to_dict()
        except ProtocolError:  # not without it
            continue
        assert told != whole, name
    assert not [
        name
        for name in whole
        if name.endswith(("_dollars", "_fp", "_ts", "_ts_ms", "_cents", "_int", "_json"))
    ]


def test_ready_values_under_their_names() -> None:
    assert decode(text(TRADE)).to_dict() == {
        "type": "trade",
        "source": "feed",
        "market_ticker": "MARKET-A",
        "yes_price": "0.3600",
        "no_price": "0.6400",
        "count": "136.00",
        "seq": 2,
        "time": "2022-11-22T20:44:01.250000+00:00",
        "trade_id": "f195de40-6a3f-418b-1a7e-9d89fee559c0",
        "taker_side": "no",
        "taker_outcome_side": "no",
        "taker_book_side": "ask",
        "is_block_trade": False,
        "sid": 3,
        "sent_at": None,
        "extra": {},
    }
    assert decode(text(SNAPSHOT)).to_dict(float)["yes"] == [[0.22, 333.25], [0.08, 300.0]]
    fill = decode(text(FILL, brand_new=1.10)).to_dict()
    assert (fill["fee"], fill["post_position"], fill["extra"]) == (
        "0.012345",
        "-500.00",
        {"brand_new": "1.1"},
    )
    assert not {"fee_cost", "ts", "ts_ms", "yes_price_cents", "yes_price_dollars"} & fill.keys()


def test_parts_become_plain_data_like_messages() -> None:
    told = decode(text(FLAT["market_lifecycle_v2"])).to_dict()
    assert told["price_ranges"][0] == {"start_price": "0.0000", "end_price": "0.1000", "tick": "0.0010"}
    assert told["additional_metadata"]["custom_strike"] == {"Team": "A-1", "Weight": "1.5"}
    assert told["additional_metadata"]["expected_expiration_at"] == "2023-09-14T20:00:00+00:00"


def test_an_unknown_message_becomes_plain_data_as_a_whole() -> None:
    frame = {
        "type": "brand_new",
        "sid": 3,
        "seq": 4,
        "msg": {"market_ticker": "X", "a": [1.5, None]},
        "more": 1,
    }
    told = decode(json.dumps(frame)).to_dict()
    assert (told["type"], told["market_ticker"], told["seq"], told["raw"]) == ("brand_new", "X", 4, frame)


def test_numbers_never_fill_the_memory_and_are_never_NaN() -> None:
    message = decode(
        text(FILL, brand_new=0).replace('"brand_new": 0', '"big": 1e999999999, "small": 1e-9, "large": 12e20')
    )
    assert message.to_dict()["extra"] == {
        "big": "1E+999999999",
        "small": "0.000000001",
        "large": "1200000000000000000000",
    }
    assert message.to_dict(float)["extra"] == {"big": None, "small": 1e-9, "large": 1.2e21}


@pytest.mark.parametrize("number", ["float", None, 5])
def test_a_number_that_is_not_callable_is_refused(number: Any) -> None:
    for told in (decode(text(TRADE)), Level(Decimal("0.5"), Decimal(1))):
        with pytest.raises(ConfigurationError, match="number must be a function"):
            told.to_dict(number)


def test_a_level_by_itself() -> None:
    level = Level(Decimal("0.0100"), Decimal("25.00"))
    assert level.to_dict() == {"price": "0.0100", "quantity": "25.00"}
    assert level.to_dict(float) == {"price": 0.01, "quantity": 25.0}
    assert plain((level,), str) == [["0.0100", "25.00"]]


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_plain_values() -> None:
    eastern = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-5)))
    assert plain(eastern, str) == "2026-01-01T05:00:00+00:00"
    assert plain([float("nan"), float("inf"), 0.5, b"\xff", frozenset("b")], str) == [
        None,
        None,
        0.5,
        "\ufffd",
        ["b"],
    ]
    assert [plain(error, str) for error in (ValueError("a"), ValueError(), Odd())] == [
        "a",
        "ValueError",
        "Odd",
    ]


def test_repr_shows_the_ready_values_first() -> None:
    delta = decode(text(DELTA))
    assert repr(delta) == str(delta)
    assert repr(delta).startswith(
        "OrderbookDelta(MARKET-A no 0.5400 -54.50 seq 3 time 2026-08-05T03:45:40.722000+00:00 "
    )
    assert " +7.00 " in repr(decode(text(DELTA, delta_fp="7.00")))
    assert repr(decode(text(TRADE))).startswith(
        "Trade(MARKET-A yes_price 0.3600 no_price 0.6400 count 136.00 seq 2 time "
    )
    assert "yes (0.2200 x 333.25, 0.0800 x 300.00)" in repr(decode(text(SNAPSHOT)))
    assert repr(decode('{"type":"ok"}')) == "Ok()"


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type)
def test_repr_is_one_bounded_line_without_insides(message: Message) -> None:
    shown = repr(message)
    assert shown.startswith(type(message).__name__ + "(") and shown.isprintable()
    assert "Body(" not in shown and "None" not in shown and "Decimal" not in shown
    assert len(shown) < 3000


def test_repr_of_what_is_long_odd_or_unreadable() -> None:
    levels = [[f"0.{price:04d}", "1.00"] for price in range(100, 9900, 10)]
    assert len(repr(decode(text(SNAPSHOT, yes_dollars_fp=levels)))) < 400
    assert (
        "\\x1b" in repr(decode(text(TRADE, trade_id="\x1b[31m")))
        and len(repr(decode(text(TRADE, trade_id="x" * 10**6)))) < 400
    )
    assert len(repr(decode(json.dumps({"type": "new", "msg": {"a": "x" * 10**6}})))) < 400
    (unchecked,) = Decoder().decode_batch([text(DELTA, price_dollars="1.5").encode()])
    assert isinstance(unchecked, OrderbookDelta) and "price ?" in repr(unchecked)


class HalfMade:
    @property
    def custom_strike(self) -> None:
        raise TypeError("as while a field is being refused")


def test_a_repr_of_what_is_half_made_does_not_raise() -> None:
    """Debuggers, and tools that show a traceback's locals, ask for it."""
    assert shown_fields(HalfMade(), ["custom_strike"]) == ["custom_strike ?"]


def test_a_repr_of_a_feed_that_is_half_made_does_not_raise() -> None:
    assert repr(KalshiFeed.__new__(KalshiFeed)) == "<KalshiFeed>"
