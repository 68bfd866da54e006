"""What holds for every FlatMessage: the mechanism of messages.flat."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import (
    MESSAGE_TYPES,
    Decoder,
    Message,
    account,
    decode,
    indices,
    lifecycle,
    ready_fields,
    retired,
    rfq_batches,
    rfqs,
    wire_fields,
)
from kalshi_feed.messages.flat import FlatMessage, Part, exact_number

from .frames import ABSENT, FLAT, OLD, text
from .spec import attribute_of, same

TYPES = sorted(FLAT)
NEW_FORM = ("_dollars", "_fp")


def flat(type_: str, **body: Any) -> FlatMessage:
    message = decode(text(FLAT[type_], **body))
    assert isinstance(message, FlatMessage)
    return message


def refused(type_: str, **body: Any) -> ProtocolError:
    payload = text(FLAT[type_], **body)
    with pytest.raises(ProtocolError) as caught:
        decode(payload)
    error = caught.value
    assert (error.type, error.sid, error.seq) == (type_, FLAT[type_]["sid"], FLAT[type_].get("seq"))
    (batched,) = Decoder().decode_batch([payload.encode()])
    assert isinstance(batched, ProtocolError)
    return error


def test_the_frames_are_of_all_flat_types() -> None:
    assert set(FLAT) == {type_ for type_, cls in MESSAGE_TYPES.items() if issubclass(cls, FlatMessage)}


@pytest.mark.parametrize("type_", TYPES)
def test_all_fields(type_: str) -> None:
    frame = FLAT[type_]
    message = flat(type_)
    assert type(message) is MESSAGE_TYPES[type_]
    assert (message.type, message.sid, message.seq) == (type_, frame["sid"], frame.get("seq"))
    for key, value in frame["msg"].items():
        assert same(getattr(message, attribute_of(message, key)), value), key
        if key != "custom_strike":
            assert same(getattr(message, key), value), key
    assert message.msg == json.loads(json.dumps(frame["msg"]), parse_float=Decimal)
    assert message.extra == {}
    assert message.sent_at is None or message.sent_at.utcoffset() is not None
    every = set(wire_fields(type(message))) - set(OLD.get(type_, ())) - {"sub_title"}
    assert every == set(frame["msg"]), "the frame does not have every field"


@pytest.mark.parametrize("type_", TYPES)
def test_ready_values_are_of_their_types(type_: str) -> None:
    message = flat(type_)
    for name in ready_fields(type(message)):
        value = getattr(message, name)
        assert value is not None, name
        if isinstance(value, datetime):
            assert value.utcoffset() is not None
        elif name not in ("market_ticker", "upstream", "custom_strike"):
            assert isinstance(value, Decimal), name


@pytest.mark.parametrize("type_", TYPES)
def test_no_field_at_all(type_: str) -> None:
    message = decode(f'{{"type":"{type_}","msg":{{}}}}')
    assert isinstance(message, MESSAGE_TYPES[type_])
    for name in dir(message):
        if not name.startswith("_") and name not in ("type", "wire", "to_dict", "source"):
            assert not getattr(message, name), name
    assert repr(message) == f"{type(message).__name__}()"


@pytest.mark.parametrize("type_", TYPES)
def test_each_field_missing_or_null(type_: str) -> None:
    for key in FLAT[type_]["msg"]:
        missing, null = flat(type_, **{key: ABSENT}), flat(type_, **{key: None})
        assert missing == null
        assert getattr(missing, attribute_of(missing, key)) is None
        assert missing.extra == null.extra == {}
        assert key not in null.msg


@pytest.mark.parametrize("type_", TYPES)
def test_copies_and_pickles(type_: str) -> None:
    message = flat(type_, brand_new=[1.50])
    for twin in (
        copy.copy(message),
        copy.deepcopy(message),
        pickle.loads(pickle.dumps(message)),
        flat(type_, brand_new=[1.5]),
    ):
        assert twin == message
        assert hash(twin) == hash(message)
        assert repr(twin) == repr(message)
        assert twin.extra == message.extra == {"brand_new": [Decimal("1.50")]}
    with pytest.raises(AttributeError):
        message.sid = 5  # type: ignore[misc]


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize("msg", [ABSENT, None, [], "x", 5, True], ids=repr)
def test_msg_is_an_object(type_: str, msg: Any) -> None:
    with pytest.raises(ProtocolError):
        decode(text(FLAT[type_], {"msg": msg}))


@pytest.mark.parametrize("type_", TYPES)
def test_unknown_fields_are_kept(type_: str) -> None:
    new = {"a": [1, None, True, "x"], "b": {}}
    payload = json.dumps(
        {**FLAT[type_], "new_on_top": 1, "msg": {**FLAT[type_]["msg"], "brand_new": new, "second": "x"}}
    )
    message = decode(payload)
    assert message.extra == {"brand_new": new, "second": "x"}
    assert message.extra is not message.extra
    assert isinstance(message, FlatMessage)
    assert message.msg == {**flat(type_).msg, "brand_new": new, "second": "x"}
    assert "extra {'brand_new'" in repr(message)
    assert Decoder().decode_batch([payload.encode()]) == [message]


def test_unknown_numbers_keep_their_digits() -> None:
    body = '"brand_new":[0.12345678901234567890123456789,1E+400,123456789012345678901234567890,1e99999999999999999999]'  # noqa: E501
    message = decode('{"type":"fill","msg":{' + body + "}}")
    assert [str(number) for number in message.extra["brand_new"]] == [
        "0.12345678901234567890123456789",
        "1E+400",
        "123456789012345678901234567890",
        "1e99999999999999999999",
    ]
    assert exact_number("1e99999999999999999999") == "1e99999999999999999999"


ODD: list[Any] = [5, True, 1.5, [], {}, "x", -1, 10**30]
STRICT = {
    "ticker",
    "market_ticker",
    "index_id",
    "underlying_ticker",
    "floor_strike",
    "cap_strike",
    "fee_multiplier_override",
}
STRICT |= {
    "version",
    "additional_metadata",
    "price_ranges",
    "mve_selected_legs",
    "selected_markets",
    "legs",
    "rfqs",
    "quotes",
}
STRICT |= {"avg_60s_data", "last_60s_windowed_average_15min"}
EVENTS = {("event_lifecycle", "event_ticker"), ("event_fee_update", "event_ticker")}


@pytest.mark.parametrize("type_", TYPES)
def test_odd_values_are_extra_or_refused(type_: str) -> None:
    """Only fields that nobody's money depends on may be odd, and they are not lost."""
    for key in FLAT[type_]["msg"]:
        for odd in ODD:
            payload = text(FLAT[type_], **{key: odd})
            (batched,) = Decoder().decode_batch([payload.encode()])
            if isinstance(batched, ProtocolError):
                traded = type_ == "fill" and key in ("yes_price_dollars", "count_fp")
                assert traded or key in STRICT or (type_, key) in EVENTS, (key, odd)
                continue
            assert isinstance(batched, FlatMessage)
            assert batched == decode(payload)
            held = getattr(batched, attribute_of(batched, key))
            assert same(held, odd) or (held is None and same(batched.extra[key], odd)), (key, odd)
            assert {name: value for name, value in batched.msg.items() if name != key} == {
                name: value for name, value in flat(type_).msg.items() if name != key
            }


def test_a_literal_side_is_closed() -> None:
    for odd in ("maybe", "", "YES", 5):
        message = flat("fill", outcome_side=odd, book_side=odd)
        assert isinstance(message, account.Fill)
        assert (message.outcome_side, message.book_side) == (None, None)
        assert message.extra == {"outcome_side": odd, "book_side": odd}
    assert refused("rfq_created", mve_selected_legs=[{"side": "maybe"}])


@pytest.mark.parametrize("type_", sorted(OLD))
def test_generations_are_equal(type_: str) -> None:
    """The integer format, the current one and both in one frame give equal values; the current one wins."""
    gone: dict[str, Any] = {key: ABSENT for key in FLAT[type_]["msg"] if key.endswith(NEW_FORM)}
    new, old, mixed = flat(type_), flat(type_, **{**gone, **OLD[type_]}), flat(type_, **OLD[type_])
    for name, value in OLD[type_].items():
        assert getattr(old, name) == getattr(new, name) == getattr(mixed, name) is not None, name
        assert str(getattr(old, name)) == str(getattr(new, name)), name
        assert same(getattr(old, attribute_of(old, name)), value)
    assert old.extra == mixed.extra == {}
    assert old.msg == {
        key: value for key, value in {**new.msg, **OLD[type_]}.items() if gone.get(key) is not ABSENT
    }
    wrong: dict[str, Any] = {name: value + 1 for name, value in OLD[type_].items()}
    assert all(getattr(flat(type_, **wrong), name) == getattr(new, name) for name in wrong)


@pytest.mark.parametrize("type_", sorted(OLD))
@pytest.mark.parametrize("wrong", [1.5, 35.0, True, "35", 10**30, -(10**30), [], {}], ids=repr)
def test_old_integers_are_checked(type_: str, wrong: Any) -> None:
    for name in OLD[type_]:
        if type_ == "fill" and name in ("yes_price", "count"):
            assert refused(type_, **{name: wrong}).market_ticker is not None
        else:
            message = flat(type_, **{name: wrong})
            assert getattr(message, attribute_of(message, name)) is None
            assert same(message.extra, json.loads(json.dumps({name: wrong}), parse_float=Decimal))


@pytest.mark.parametrize(
    "digits", ["9" * 5000, "1e400", "NaN", "Infinity", "0x1", "1_0", "+1", "01", ".5", "1."]
)
@pytest.mark.parametrize("type_", ["market_lifecycle_v2", "event_fee_update"])
def test_json_numbers_are_strict(type_: str, digits: str) -> None:
    key = {"market_lifecycle_v2": "floor_strike", "event_fee_update": "fee_multiplier_override"}[type_]
    with pytest.raises(ProtocolError):
        decode(f'{{"type":"{type_}","msg":{{"{key}":{digits}}}}}')


@pytest.mark.parametrize(
    "wrong",
    ["NaN", "1_000", "1e3", "", " 1", "\u0661", "9" * 61, True, [], {}],
    ids=lambda wrong: repr(wrong)[:20],
)
def test_what_is_not_a_strike(wrong: Any) -> None:
    assert "floor_strike" in str(refused("market_lifecycle_v2", floor_strike=wrong))
    assert refused("market_lifecycle_v2", additional_metadata={"floor_strike": wrong})


def test_fields_on_top_are_not_those_of_msg() -> None:
    """A key named like the struct's own encoding of a field cannot smuggle in an unchecked value."""
    payload = (
        '{"type":"fill","msg.yes_price_dollars":"NaN","msg.extra_json":"AAAA","msg.order_id":"x","msg":{}}'
    )
    assert decode(payload) == decode('{"type":"fill","msg":{}}')


def test_an_error_names_the_field() -> None:
    assert "yes_price_dollars: price '1.5' is not" in str(refused("fill", yes_price_dollars="1.5"))
    assert "`$.msg.yes_price`" in str(refused("fill", yes_price=101))
    assert "`$.msg.rfqs[1]" in str(refused("rfq_batch_best_quotes", rfqs=[{}, {"market_ticker": 2}]))


def test_deep_nesting() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(ProtocolError):
        decode('{"type":"fill","msg":{"brand_new":' + deep + "}}")
    with pytest.raises(ProtocolError):
        decode('{"type":"market_lifecycle_v2","msg":{"custom_strike":{"a":' + deep + "}}}")


def test_no_frame_of_any_type_is_looked_at_twice() -> None:
    """Not even with unknown keys or odd values; and one that must be does not affect its neighbors."""
    frames = [text(FLAT[type_], brand_new=1.5, subaccount="odd").encode() for type_ in TYPES]

    class Counting(Decoder):
        __slots__ = ("alone",)
        alone: int

        def _decode(self, frame: str | bytes) -> Message | ProtocolError:
            self.alone += 1
            return super()._decode(frame)

    decoder = Counting()
    decoder.alone = 0
    assert decoder.decode_batch(frames) == [decode(frame) for frame in frames]
    assert decoder.alone == 0
    decoder.decode_batch([*frames, b'{"type":"hello_v9"}'])
    assert decoder.alone == 1
    decoder.decode_batch([*frames, b'{"type":"hello_v9"}', *frames, b"{", b"["])
    assert decoder.alone == 4


@pytest.mark.parametrize(
    "module", [account, indices, lifecycle, retired, rfq_batches, rfqs], ids=lambda module: module.__name__
)
def test_ready_numbers_say_their_unit(module: Any) -> None:
    for cls in (
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, FlatMessage | Part)
    ):
        for name, value in vars(cls).items():
            if isinstance(value, property) and "Decimal" in str(
                inspect.signature(value.fget).return_annotation
            ):  # type: ignore[arg-type]
                assert inspect.getdoc(value), f"{cls.__name__}.{name} does not say its unit"
