"""Frames that are odd as a whole: names at the top level, numbers that no store can hold, frames that are
JSON only when joined. Rows S42, S44, S45, S47."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.events import FeedFault, Gap
from kalshi_feed.messages import (
    MESSAGE_TYPES,
    Decoder,
    ErrorMessage,
    Message,
    UnknownMessage,
    decode,
    wire_fields,
)
from tests.session.driver import BOOK, Driver, trade

from .frames import DATA, DELTA, FLAT, text


def outcome(frame: bytes) -> Message | ProtocolError:
    """The frame's outcome, the same alone and in a batch between two others."""
    good = text(DATA["trade"]).encode()
    before, batched, after = Decoder().decode_batch([good, frame, good])
    assert before == after == decode(good)
    try:
        message = decode(frame)
    except ProtocolError as error:
        assert isinstance(batched, ProtocolError) and str(batched) == str(error)
        return error
    assert batched == message
    return message


@pytest.mark.parametrize(
    "frame",
    [
        {"code": 9, "message": "Authentication required"},
        {"msg": {"code": 9, "msg": "Authentication required"}},
        {"msg": {"code": 9, "message": "Authentication required"}},
        {"msg": {"code": 9}, "message": "Authentication required"},
        {"code": 9, "msg": "Authentication required"},
        {"code": 8, "message": "x", "msg": {"code": 9, "msg": "Authentication required"}},
        {"code": 9, "message": "Authentication required", "msg": None},
    ],
)
def test_S42_an_errors_code_and_text_wherever_they_stand(frame: dict[str, Any]) -> None:
    message = outcome(json.dumps({"type": "error", "id": 2, **frame}).encode())
    assert isinstance(message, ErrorMessage)
    assert (message.id, message.code, message.message) == (2, 9, "Authentication required")
    assert {name: value for name, value in message.to_dict().items() if value} == {
        "type": "error", "id": 2, "code": 9, "message": "Authentication required"
    }  # fmt: skip


def test_S42_its_markets_too_and_the_session_reports_it() -> None:
    message = outcome(
        b'{"type":"error","id":2,"code":26,"message":"limit","market_ticker":"A","market_tickers":["B"]}'
    )
    assert isinstance(message, ErrorMessage)
    assert (message.market_ticker, message.market_tickers) == ("A", ("B",))
    driver = Driver()
    driver.want("fill")
    (command,) = driver.connect()
    driver.turn({"type": "error", "id": command["id"], "code": 9, "message": "Authentication required"})
    (fault,) = driver.take(FeedFault)
    assert (
        fault.message == "the exchange says: error 9, Authentication required" and fault.context["code"] == 9
    )


@pytest.mark.parametrize("value", ["1", '"x"', "[]", "{}", "null", '"AAAA"', "1.5"])
@pytest.mark.parametrize("type_", sorted(MESSAGE_TYPES))
def test_S44_a_key_on_top_that_looks_like_a_field_of_msg(type_: str, value: str) -> None:
    names = [*wire_fields(MESSAGE_TYPES[type_]), "trade_id", "extra_json", "msg", ""]
    for whole in ("", ',"msg":{}', ',"msg":{"order_id":5}', ',"msg":[]', ',"msg":null'):
        plain = outcome(f'{{"type":"{type_}"{whole}}}'.encode())
        for name in names:
            message = outcome(f'{{"type":"{type_}","msg.{name}":{value}{whole}}}'.encode())
            if isinstance(plain, ProtocolError):
                assert isinstance(message, ProtocolError)
            else:
                assert message == plain


def test_S44_the_session_lives_on() -> None:
    driver = Driver()
    driver.go_live("A")
    for type_ in MESSAGE_TYPES:
        driver.turn(f'{{"type":"{type_}","msg.trade_id":1}}'.encode())
    assert driver.faults().count("protocol") > 0


LARGEST = 2**53 - 1  # what a double can hold, and so JavaScript and a pandas column


@pytest.mark.parametrize("seq", [2**53, 2**63 - 2, 2**63 - 1, 2**63, 10**30])
@pytest.mark.parametrize("key", ["seq", "sid", "id"])
@pytest.mark.parametrize("type_", sorted(MESSAGE_TYPES))
def test_S45_a_number_that_no_store_can_hold(type_: str, key: str, seq: int) -> None:
    frame = {**FLAT.get(type_, DATA.get(type_, {"type": type_})), key: seq}
    if key != "id" or "id" in MESSAGE_TYPES[type_].__struct_encode_fields__:
        assert isinstance(outcome(json.dumps(frame).encode()), ProtocolError)
        assert not isinstance(outcome(json.dumps({**frame, key: LARGEST}).encode()), ProtocolError)


@pytest.mark.parametrize("key", ["seq", "sid"])
def test_S45_of_an_unknown_type_too(key: str) -> None:
    assert isinstance(outcome(f'{{"type":"new","{key}":{LARGEST + 1}}}'.encode()), ProtocolError)
    assert isinstance(outcome(f'{{"type":"new","{key}":{LARGEST}}}'.encode()), UnknownMessage)


def test_S45_no_gap_names_a_number_beyond_it() -> None:
    driver = Driver()
    driver.go_live("A")
    driver.want("trade")
    driver.play()
    sid = driver.session.sid_of("trade")
    for seq in (1, 2**63 - 1, 2, LARGEST, 3):
        driver.turn(trade("A", sid, seq))
    for gap in driver.take(Gap):
        assert max(gap.expected or 0, gap.received or 0) <= 2**53, gap
    driver.turn({**DELTA, "sid": driver.sid, "seq": 2**63 - 1})
    assert driver.faults() == ["protocol"]
    assert driver.session.reconciler.subscriptions[BOOK].sid is not None


@pytest.mark.parametrize("name", ["clock", "ts", "ts_ms"])
def test_S45_an_ornament_beyond_64_bits_is_left_out(name: str) -> None:
    for frame in (DATA["orderbook_delta"], DATA["trade"], DATA["ticker"]):
        body = {key: value for key, value in frame["msg"].items() if key != name}
        message = outcome(text({**frame, "msg": {**body, name: 2**63}}).encode())
        assert message == decode(text({**frame, "msg": body}))


@pytest.mark.parametrize(
    "payloads",
    [
        (b'{"type":"trade","msg":{}},{"type":"new","msg":[{}', b"{}]}"),
        (b'{"type":"trade","msg":{}},{"type":"trade","new":[1', b'2],"msg":{}}'),
        (b'{"type":"trade","msg":{', b'"count_fp":"1.00"}},{"type":"trade","msg":{}}'),
        (b'{"type":"trade"', b'"msg":{}}'),
        (b'{"type":"trade","msg":{}},{"type":"trade","msg":{}}', b""),
    ],
)
def test_S47_frames_that_are_json_only_when_joined(payloads: tuple[bytes, ...]) -> None:
    found = Decoder().decode_batch(payloads)
    assert len(found) == len(payloads)
    assert all(isinstance(message, ProtocolError) for message in found)


@pytest.mark.parametrize(
    "rest",
    [
        '"sending_ts_ms":253402300800000',
        '"sending_ts_ms":99999999999999999999',
        '"msg":{"value":1e999}',
        '"msg":{"value":-1e400}',
        '"value":[1e309]',
        '"value":1e99999999999999999999',
    ],
)
def test_S47_an_unknown_message_whose_fields_could_not_be_read(rest: str) -> None:
    error = outcome(f'{{"type":"new","sid":1,"seq":2,{rest}}}'.encode())
    assert isinstance(error, ProtocolError)
    assert (error.type, error.sid, error.seq) == ("new", 1, 2)


def test_S47_the_last_moment_of_9999_and_the_largest_double_can_be_read() -> None:
    message = outcome(b'{"type":"new","sending_ts_ms":253402300799999,"msg":1e308}')
    assert isinstance(message, UnknownMessage)
    assert message.sent_at is not None and message.sent_at.year == 9999
    assert message.raw["msg"] == message.msg == 1e308
