"""What decode() and Decoder refuse and ignore, and what their errors say. Faults S14 to S22."""

from __future__ import annotations

import copy
import json
import pickle
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalshi_feed.errors import KalshiFeedError, ProtocolError
from kalshi_feed.messages import (
    MESSAGE_TYPES,
    Decoder,
    Message,
    OrderbookDelta,
    Trade,
    UnknownMessage,
    decode,
    undecodable,
)
from kalshi_feed.messages.decoder import _error_path

from .frames import ABSENT, DATA, DELTA, SNAPSHOT, TICKER, TRADE, text

DEEP = "[" * 100_000


def refused(frame: str | bytes) -> ProtocolError:
    """One frame's error: the same from decode() and from a batch, where its neighbors are unharmed."""
    with pytest.raises(ProtocolError) as caught:
        decode(frame)
    error = caught.value
    payload = frame if isinstance(frame, bytes) else frame.encode("utf-8", "surrogatepass")
    good = text(TRADE).encode()
    before, in_batch, after = Decoder().decode_batch([good, payload, good])
    assert isinstance(before, Trade)
    assert isinstance(after, Trade)
    if not isinstance(in_batch, ProtocolError):
        assert isinstance(in_batch, OrderbookDelta)  # its numbers are checked by the caller's units()
        with pytest.raises(ValueError):
            in_batch.units()
    assert len(error.frame) <= 200
    assert len(str(error)) < 1500
    assert error.__cause__ is None or error.__cause__.__traceback__ is None
    assert pickle.loads(pickle.dumps(error)).args == error.args
    return error


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " ",
        "null",
        "true",
        "5",
        '"text"',
        "[]",
        "[" + text(TRADE) + "]",
        "{",
        "{}",
        '{"type"}',
        "\ufeff" + text(TRADE),
        text(TRADE) + text(TRADE),
        text(TRADE) + "," + text(TRADE),
        text(TRADE) + "x",
        text(TRADE) + "\0",
        text(TRADE)[:-1],
        text(TRADE)[:80],
        "'{}'",
        '{"type":"trade","msg":{"count_fp":NaN}}',
        '{"type":"trade","msg":{},}',
        '{"type":null,"msg":{}}',
        '{"type":5,"msg":{}}',
        '{"type":["trade"],"msg":{}}',
        '{"msg":{}}',
        b"\xff\xfe{}",
        b'{"type":"trade","msg":{"trade_id":"\xff"}}',
        b'{"type":"\xff","msg":{}}',
        '{"type":"trade","msg":{"trade_id":"\ud800"}}',
        '{"type":"trade","msg":{"trade_id":"\\ud800"}}',
        DEEP,
        '{"type":"trade","msg":' + DEEP,
        '{"type":"trade","new":' + DEEP + "]" * 100_000 + "}",
        '{"type":"hello_v9","new":' + DEEP + "]" * 100_000 + "}",
    ],
    ids=lambda frame: repr(frame[:40]),
)
def test_what_is_not_a_message(frame: str | bytes) -> None:
    error = refused(frame)
    assert (error.seq, error.sid) in ((None, None), (2, 3))


WRONG_NUMBERS = ["1", 1.0, 1.5, True, -1, 2**53, 2**63 - 1, 2**63, 2**70, [], {}, "x"]


@pytest.mark.parametrize("wrong", WRONG_NUMBERS, ids=repr)
@pytest.mark.parametrize("frame", DATA.values(), ids=DATA)
@pytest.mark.parametrize("name", ["sid", "seq"])
def test_sid_and_seq_are_strict(frame: dict[str, Any], name: str, wrong: Any) -> None:
    error = refused(text(frame, {"sid": 2, "seq": 3, name: wrong}))
    assert error.type == frame["type"]
    assert error.market_ticker == "MARKET-A"
    expected = {"sid": 2, "seq": 3, name: None}
    assert (error.sid, error.seq) == (expected["sid"], expected["seq"])


@pytest.mark.parametrize("wrong", WRONG_NUMBERS, ids=repr)
@pytest.mark.parametrize("wire_type", ["subscribed", "unsubscribed", "ok", "error", "orderbook_snapshot"])
def test_id_is_strict(wire_type: str, wrong: Any) -> None:
    assert refused(text({**SNAPSHOT, "type": wire_type, "id": wrong})).type == wire_type


@pytest.mark.parametrize("digits", ["9" * 5000, "1e400", "-9" * 5000, "01", "0x1", "1_0", "+1"])
@pytest.mark.parametrize("name", ["sid", "seq", "id"])
def test_numbers_that_are_not_json_or_too_long(name: str, digits: str) -> None:
    refused('{"type":"ok","' + name + '":' + digits + "}")


def test_the_largest_seq() -> None:
    assert decode(text(DELTA, {"seq": 2**53 - 1})).seq == 2**53 - 1
    assert decode(text(DELTA, {"seq": 0})).seq == 0


@pytest.mark.parametrize(
    "wrong",
    [
        "NaN",
        "Infinity",
        "1e400",
        "1_000",
        " 1 ",
        "\u0661",
        "",
        None,
        2,
        0.12345,
        True,
        [],
        {},
        "-0.5",
        "1.5",
        "0.12345",
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["price_dollars"])
def test_delta_price_is_strict(name: str, wrong: Any) -> None:
    error = refused(text(DELTA, **{name: wrong}))
    assert (error.type, error.sid, error.seq, error.market_ticker) == ("orderbook_delta", 2, 3, "MARKET-A")


@pytest.mark.parametrize(
    "wrong",
    [
        "NaN",
        "-Infinity",
        "1e4",
        "1_000.00",
        " 1 ",
        "\u0661.00",
        "",
        None,
        0.125,
        True,
        [],
        "+1.00",
        "1.001",
        "--1.00",
    ],
    ids=repr,
)
def test_delta_size_is_strict(wrong: Any) -> None:
    error = refused(text(DELTA, delta_fp=wrong))
    assert (error.type, error.sid, error.seq, error.market_ticker) == ("orderbook_delta", 2, 3, "MARKET-A")


@pytest.mark.parametrize(
    "wrong",
    ["maybe", "", "YES", None, 1, [], "maybe - at `$.msg.ts`", "x" * 100_000],
    ids=lambda w: repr(w)[:30],
)
def test_side_is_strict(wrong: Any) -> None:
    error = refused(text(DELTA, side=wrong))
    assert (error.type, error.sid, error.seq, error.market_ticker) == ("orderbook_delta", 2, 3, "MARKET-A")


@pytest.mark.parametrize("wrong", [5, None, [], {}, True], ids=repr)
@pytest.mark.parametrize("frame", [DELTA, SNAPSHOT], ids=["delta", "snapshot"])
def test_market_ticker_of_a_book_message_is_strict(frame: dict[str, Any], wrong: Any) -> None:
    error = refused(text(frame, market_ticker=wrong))
    assert (error.sid, error.market_ticker) == (2, None)


@pytest.mark.parametrize("wrong", [[], None, "x", 5, True, ABSENT], ids=repr)
@pytest.mark.parametrize("frame", DATA.values(), ids=DATA)
def test_msg_is_strict(frame: dict[str, Any], wrong: Any) -> None:
    error = refused(text(frame, {"msg": wrong}))
    assert (error.type, error.sid) == (frame["type"], frame["sid"])


LOOSE: list[tuple[dict[str, Any], str, list[Any]]] = [
    (DELTA, "ts", [{}, [], True, 1.5]),
    (DELTA, "ts_ms", ["1785901540722", 1.5, -1, 2**62, True]),
    (DELTA, "clock", ["4182061", -1, 1.5, 2**70]),
    (DELTA, "market_id", [5, [], True]),
    (DELTA, "client_order_id", [5]),
    (DELTA, "subaccount", ["3", 1.5, -1]),
    (SNAPSHOT, "market_id", [5]),
    (SNAPSHOT, "clock", ["1"]),
    (TICKER, "dollar_volume", [1.5, "1"]),
    (TICKER, "dollar_open_interest", [1.5]),
    (TICKER, "time", [5, {}]),
    (TICKER, "Clock", ["x"]),
    (TRADE, "is_block_trade", ["yes", 1]),
    (TRADE, "trade_id", [5]),
    (TRADE, "taker_side", [5]),
    (TRADE, "taker_outcome_side", [[]]),
    (TRADE, "taker_book_side", [True]),
]


@pytest.mark.parametrize(
    ("frame", "name", "wrong"),
    [(frame, name, wrong) for frame, name, wrongs in LOOSE for wrong in wrongs],
    ids=lambda value: value["type"] if isinstance(value, dict) and "type" in value else repr(value),
)
def test_an_odd_field_that_nothing_depends_on_is_left_out(
    frame: dict[str, Any], name: str, wrong: Any
) -> None:
    odd, clean = text(frame, **{name: wrong}), text(frame, **{name: ABSENT})
    assert decode(odd) == decode(clean)
    assert Decoder().decode_batch([odd.encode(), clean.encode()]) == [decode(clean), decode(clean)]
    assert decode(odd, use_yes_price=True) == decode(clean, use_yes_price=True)


def test_many_odd_fields_at_once() -> None:
    odd = text(
        DELTA,
        {"sending_ts_ms": "soon"},
        ts=[],
        ts_ms="x",
        clock=-1,
        market_id=5,
        subaccount={},
        client_order_id=1,
    )
    gone: dict[str, Any] = dict.fromkeys(("ts", "ts_ms", "clock", "market_id"), ABSENT)
    assert decode(odd) == decode(text(DELTA, {"sending_ts_ms": ABSENT}, **gone))


def test_odd_fields_do_not_excuse_bad_money() -> None:
    bad: dict[str, Any]
    for bad in ({"price_dollars": "NaN"}, {"delta_fp": "1e9"}, {"side": "maybe"}, {"price_dollars": ABSENT}):
        error = refused(text(DELTA, ts=[], clock="x", **bad))
        assert (error.sid, error.seq) == (2, 3)
    assert refused(text(TRADE, ts=[], count_fp="-1.00")).type == "trade"
    assert refused(text(SNAPSHOT, clock=[], yes_dollars_fp=[["0.5", "-1"]])).type == "orderbook_snapshot"


def test_a_field_quoted_in_an_error_is_not_taken_for_its_place() -> None:
    """msgspec quotes wrong values in its message; only the path at the end decides what is left out."""
    assert refused(text(DELTA, side="x` - at `$.msg.ts`")).seq == 3
    assert refused(text(TRADE, count_fp="x - at `$.msg.ts`")).seq == 2


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("Expected `int`, got `str` - at `$.msg.ts`", (".msg", "ts")),
        ("Expected `int`, got `str` - at `$.sending_ts_ms`", ("", "sending_ts_ms")),
        ("Expected `str`, got `int` - at `$.msg.yes_dollars_fp[0][1]`", (".msg", "yes_dollars_fp")),
        ("Expected `int`, got `str` - at `$.msg[0].sid`", ("", "msg")),
        ("Expected `object`, got `array` - at `$.msg`", ("", "msg")),
        ("Invalid enum value 'x - at `$.msg.ts`' - at `$.msg.side`", (".msg", "side")),
        ("Invalid enum value 'x\n - at `$.msg.ts`\n' - at `$.msg.side`", (".msg", "side")),
        ("Invalid value 'x - at `$.msg.ts`'", None),
        ("Invalid value 'x - at `$.msg.ts`\n", None),
        ("Object missing required field `msg`", None),
    ],
)
def test_the_place_in_msgspecs_errors(message: str, place: tuple[str, str] | None) -> None:
    found = _error_path(message)
    assert (found and found.groups()) == place


def test_unknown_fields_are_passed_over() -> None:
    for frame in (DELTA, SNAPSHOT, TICKER, TRADE):
        assert decode(text(frame, {"new": {"a": [1, None]}}, brand_new=[1, {"x": 2}])) == decode(text(frame))


def test_S18_the_last_of_duplicate_keys_wins() -> None:
    frame = (
        '{"type":"orderbook_delta","sid":1,"sid":2,"seq":1,"seq":5,"msg":{"market_ticker":"A","market_ticker":"B",'
        '"side":"yes","price_dollars":"0.1","price_dollars":"0.2","delta_fp":"1%s"}}'
    )
    for message in (decode(frame % ""), decode(frame % '","ts":[],"clock":"x')):
        assert isinstance(message, OrderbookDelta)
        assert (message.sid, message.seq, message.market_ticker, message.price_dollars) == (2, 5, "B", "0.2")


def test_key_order_does_not_matter() -> None:
    backwards = {key: TRADE[key] for key in reversed(TRADE)}
    assert decode(json.dumps(backwards)) == decode(json.dumps(TRADE))


def test_str_and_bytes() -> None:
    for frame in DATA.values():
        assert decode(text(frame)) == decode(text(frame).encode())
        assert type(decode(text(frame))) is MESSAGE_TYPES[frame["type"]]
    assert decode(text(TRADE, market_ticker="MÄRKT")).market_ticker == "MÄRKT"


def test_message_types() -> None:
    for wire_type, cls in MESSAGE_TYPES.items():
        assert cls.type == wire_type
        assert issubclass(cls, Message)
        assert cls.__struct_config__.tag == wire_type
        assert cls.__struct_config__.frozen
        assert not cls.__struct_config__.gc


def test_unknown_type() -> None:
    frame = text(DELTA, {"type": "hello_v9", "id": 4})
    message = decode(frame)
    assert isinstance(message, UnknownMessage)
    assert (message.type, message.sid, message.seq, message.sending_ts_ms) == (
        "hello_v9",
        2,
        3,
        1785901540750,
    )
    assert message.market_ticker == "MARKET-A"
    assert message.frame == frame.encode()
    assert message.raw == json.loads(frame)
    assert message.msg == DELTA["msg"]
    message.raw["msg"]["side"] = "changed"
    message.msg["side"] = "changed"
    assert message.msg["side"] == "no"
    assert hash(message) == hash(decode(frame.encode()))
    assert pickle.loads(pickle.dumps(message)) == copy.deepcopy(message) == message
    assert Decoder().decode_batch([frame.encode()]) == [message]
    with pytest.raises(AttributeError):
        message.type = "x"  # type: ignore[misc]


@pytest.mark.parametrize("msg", [ABSENT, None, [], "x", {}, {"market_ticker": 5}], ids=repr)
def test_unknown_type_of_any_shape(msg: Any) -> None:
    message = decode(text({"type": "", "msg": msg, "sending_ts_ms": "soon"}))
    assert isinstance(message, UnknownMessage)
    assert (message.sid, message.seq, message.market_ticker, message.sending_ts_ms) == (
        None,
        None,
        None,
        None,
    )
    assert message.msg == (None if msg is ABSENT else msg)


@pytest.mark.parametrize("wrong", WRONG_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["sid", "seq"])
def test_sid_and_seq_of_an_unknown_type_are_strict(name: str, wrong: Any) -> None:
    error = refused(text({"type": "hello_v9", "sid": 2, "seq": 3, "msg": {}, name: wrong}))
    assert error.type == "hello_v9"
    assert {error.sid, error.seq} == {None, 3 if name == "sid" else 2}


def test_an_error_says_what_and_where() -> None:
    error = refused(text(TRADE, count_fp="many"))
    assert str(error).startswith("trade: size 'many' is not a number of contracts")
    assert error.frame.startswith('{"type": "trade"')
    assert isinstance(error, KalshiFeedError)
    assert isinstance(error.__cause__, msgspec.ValidationError)
    assert "price '1.5'" in str(refused(text(DELTA, price_dollars="1.5")))


def test_frames_in_errors_are_cut_and_printable() -> None:
    assert refused("x" * 10_000).frame == "x" * 200
    assert refused("ä" * 10_000).frame == "ä" * 200
    assert refused(b"\xff" * 10_000).frame == "\ufffd" * 200
    refused("\ud800").frame.encode()


def test_only_str_and_bytes() -> None:
    wrong: Any
    for wrong in (None, 5, {}):
        with pytest.raises(TypeError):
            decode(wrong)


def test_decode_batch_is_decode_of_each() -> None:
    frames = [text(frame, {"seq": seq}).encode() for seq, frame in enumerate(list(DATA.values()) * 20)]
    frames += [text({"type": "hello_v9", "seq": 5, "msg": {}}).encode()]
    random.Random(1).shuffle(frames)
    assert Decoder().decode_batch(frames) == [decode(frame) for frame in frames]
    assert Decoder().decode_batch(frames[:1]) == [decode(frames[0])]
    assert Decoder().decode_batch([]) == []


def test_decode_batch_leaves_deltas_numbers_to_the_caller() -> None:
    good, bad = text(DELTA).encode(), text(DELTA, price_dollars="NaN").encode()
    first, second = Decoder().decode_batch([good, bad])
    assert first == decode(good)
    assert isinstance(second, OrderbookDelta)
    with pytest.raises(ValueError, match="NaN") as caught:
        second.units()
    error = undecodable(second, caught.value)
    assert (error.type, error.sid, error.seq, error.market_ticker) == ("orderbook_delta", 2, 3, "MARKET-A")
    assert '"price_dollars":"NaN"' in error.frame
    assert str(error).startswith("orderbook_delta: price 'NaN' is not")
    assert error.__cause__ is caught.value
    assert error.__cause__.__traceback__ is None
    assert len(undecodable(decode(text(DELTA, market_id="x" * 1000)), ValueError("x")).frame) == 200


def test_a_batch_cannot_be_split_or_merged() -> None:
    good = text(TRADE).encode()
    two = good + b"," + good
    messages = Decoder().decode_batch([good, two, good])
    assert [type(message) for message in messages] == [Trade, ProtocolError, Trade]
    head, tail = good[:30], good[30:]
    assert [type(message) for message in Decoder().decode_batch([head, tail])] == [
        ProtocolError,
        ProtocolError,
    ]
    assert [type(message) for message in Decoder().decode_batch([b""])] == [ProtocolError]
    assert [type(message) for message in Decoder().decode_batch([good, b""])] == [Trade, ProtocolError]
    assert [type(message) for message in Decoder().decode_batch([b"]", b"["])] == [
        ProtocolError,
        ProtocolError,
    ]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["0.5000", "1.00", "-1.00", "yes", "no", "NaN", "", "\u0661"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.sampled_from(list(DATA.values())), st.data())
def test_any_value_anywhere_gives_a_message_or_a_protocol_error(
    frame: dict[str, Any], data: st.DataObject
) -> None:
    """S19, S20: nothing but ProtocolError is raised, and every attribute of a message can be read."""
    changed = copy.deepcopy(frame)
    for _ in range(data.draw(st.integers(1, 3))):
        in_body = data.draw(st.booleans()) and isinstance(changed["msg"], dict) and changed["msg"]
        holder = changed["msg"] if in_body else changed
        key = data.draw(st.sampled_from(sorted(holder)))
        if data.draw(st.booleans()):
            holder[key] = data.draw(values)
        elif key != "msg":
            del holder[key]
    payload = json.dumps(changed)
    try:
        message = decode(payload)
    except ProtocolError:
        return
    for name in dir(message):
        if not name.startswith("_"):
            getattr(message, name)
    assert hash(message) == hash(decode(payload.encode()))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 60))
def test_any_damage_gives_a_message_or_a_protocol_error(junk: bytes, place: int, cut: int) -> None:
    frame = text(DELTA).encode()
    damaged = frame[:place] + junk + frame[place + cut :]
    result = Decoder().decode_batch([frame, damaged, frame])
    assert len(result) == 3
    assert result[0] == result[2] == decode(frame)
    try:
        decode(damaged)
    except ProtocolError:
        pass
