"""Every message and example in the published schemas has a type, and a changed field is noticed."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from kalshi_feed.errors import ProtocolError
from kalshi_feed.messages import (
    MESSAGE_TYPES,
    Decoder,
    Message,
    Ok,
    OrderbookDelta,
    UnknownMessage,
    decode,
    wire_fields,
)
from kalshi_feed.messages.decoder import unread
from kalshi_feed.messages.flat import FlatMessage
from tests.published import examples, facts

from .spec import (
    Place,
    at,
    attribute_of,
    changed,
    frame_of,
    instances,
    is_number,
    places,
    resolved,
    same,
    server_messages,
    wire_type,
    without,
)

# Types that this package knows but the newest spec no longer has.
RETIRED = {"list_subscriptions", "ticker_v2", "multivariate_lookup"}

# Without these a frame is not a message: everything else may be missing (PROTOCOL.md 9.8).
ESSENTIAL = {
    ("orderbook_delta", "market_ticker"),
    ("orderbook_delta", "side"),
    ("orderbook_delta", "price_dollars"),
    ("orderbook_delta", "delta_fp"),
    ("orderbook_snapshot", "market_ticker"),
}

READY_UNDER_THE_NAME = {("ticker", "time")}  # a datetime; the string is time_text

NOT_NUMBERS: list[Any] = [
    "NaN", "-Infinity", "1e400", "1E2", "1_000.00", " 1.00", "1.00 ", "1.00\n", "+1.00", "--1.00", "1.", ".5", "0x1", "\u0661.00",  # noqa: E501
    "\uff11", "9" * 5000, "0." + "0" * 5000, 1e300, 0.123456789, True, [], {}, ["1.00"], {"value": "1.00"},
]  # fmt: skip
NOT_IDS: list[Any] = ["1", "", 1.5, True, False, -1, 2**53, 2**63, 10**30, [], {}]
ODD: list[Any] = [
    None,
    "",
    "x",
    "NaN",
    0,
    -1,
    1.5,
    1e300,
    2**63,
    10**30,
    True,
    [],
    {},
    [[]],
    [None],
    {"a": [1]},
    "9" * 5000,
    "\u0661",
]

DECODER = Decoder()


def read(frame: dict[str, Any]) -> Message | ProtocolError:
    """The frame's message or ProtocolError, the same alone and in a batch; nothing else is raised."""
    payload = json.dumps(frame).encode()
    try:
        message: Message | ProtocolError = decode(payload)
    except ProtocolError as error:
        message = error
    (batched,) = DECODER.decode_batch([payload])
    if isinstance(message, ProtocolError):
        # a batch leaves the numbers of books to the caller
        if not isinstance(batched, ProtocolError):
            with pytest.raises(ValueError):
                batched.units() if isinstance(batched, OrderbookDelta) else batched.book_sides()
    else:
        assert batched == message
        for name in dir(message):
            if not name.startswith("_"):
                getattr(message, name)
        hash(message)
        repr(message)
    return message


def assert_holds(message: Message | ProtocolError, frame: dict[str, Any]) -> None:
    """The message has everything that the frame has, under the wire's names."""
    assert not isinstance(message, ProtocolError), message
    assert type(message) is MESSAGE_TYPES[frame["type"]]
    for key, value in frame.items():
        if key != "msg":
            assert same(getattr(message, key), value), key
    msg = frame.get("msg", {})
    if isinstance(msg, list):
        assert isinstance(message, Ok)
        assert message.subscriptions == tuple((entry["channel"], entry["sid"]) for entry in msg)
        return
    for key, value in msg.items():
        if frame["type"] == "error" and key == "msg":
            assert getattr(message, "message") == value  # noqa: B009
        else:
            assert same(getattr(message, attribute_of(message, key)), value), (key, value)
        if (
            key in facts_names(frame["type"])
            and (frame["type"], key) not in READY_UNDER_THE_NAME
            and key != "msg"
        ):
            assert same(getattr(message, key), value), f"{key} cannot be read under its own name"
    if isinstance(message, FlatMessage):
        assert not message.extra
        assert same(message.msg, {key: value for key, value in msg.items() if value is not None})


def facts_names(type_: str) -> set[str]:
    return {
        key
        for schema in server_messages().values()
        if wire_type(schema) == type_
        for key in resolved(schema["properties"].get("msg", {})).get("properties", {})
    }


def test_the_list_of_types_is_the_files() -> None:
    published = {wire_type(schema) for schema in server_messages().values()}
    assert published - set(MESSAGE_TYPES) == set(), "new types"
    assert set(MESSAGE_TYPES) - published == RETIRED, "types that are not in the file"
    others = set(facts()["messages"]) - set(server_messages())
    unclear = [name for name in others if "ing" not in name and "Command" not in name]
    assert not unclear, f"neither commands nor pings nor of a type: {unclear}"


@pytest.mark.parametrize("name", server_messages())
def test_every_field_is_declared(name: str) -> None:
    schema = server_messages()[name]
    cls = MESSAGE_TYPES[wire_type(schema)]
    top = set(schema["properties"]) - {"type", "msg"}
    assert {key for key in top if not hasattr(cls, key)} == set(), "new fields of the envelope"
    inside = resolved(schema["properties"].get("msg", {})).get("properties", {})
    assert (
        set(inside) - set(wire_fields(cls)) - ({"channel", "sid"} if cls.type == "ok" else set()) == set()
    ), "new fields of msg"


@pytest.mark.parametrize(("name", "full"), instances())
def test_instances(name: str, full: bool) -> None:
    frame = frame_of(name, full)
    assert_holds(read(frame), frame)


@pytest.mark.parametrize("name", server_messages())
def test_the_files_examples(name: str) -> None:
    for frame in examples(name):
        assert_holds(read(frame), frame)


def enums(name: str) -> list[tuple[Place, Any]]:
    found = []
    frame = frame_of(name, True)
    for place in places(frame):
        schema = schema_at(name, place)
        found += [(place, value) for value in schema.get("enum", ())]
    return found


def schema_at(name: str, place: Place) -> dict[str, Any]:
    schema = server_messages()[name]
    for key in place:
        schema = resolved(
            schema["items"] if isinstance(key, int) else schema.get("properties", {}).get(key, {})
        )
    return schema


@pytest.mark.parametrize("name", server_messages())
def test_every_value_of_an_enum(name: str) -> None:
    for place, value in enums(name):
        frame = changed(frame_of(name, True), place, value)
        assert_holds(read(frame), frame)


@pytest.mark.parametrize("name", server_messages())
def test_any_field_may_be_missing(name: str) -> None:
    full = frame_of(name, True)
    data = "seq" in full and full["type"] not in ("ok", "error", "unsubscribed")
    for place in places(full):
        frame = without(full, place)
        message = read(frame)
        if place == ("type",) or (full["type"], place[-1]) in ESSENTIAL or (place == ("msg",) and data):
            assert isinstance(message, ProtocolError), place
        elif (
            isinstance(place[-1], str)
            and place != ("msg",)
            and not (full["type"] == "ok" and isinstance(full["msg"], list))
        ):
            assert_holds(message, frame)


@pytest.mark.parametrize("name", server_messages())
def test_new_fields_do_no_harm(name: str) -> None:
    full = frame_of(name, True)
    objects = [
        (),
        *(
            place
            for place in places(full)
            if isinstance(at(full, place), dict) and place[-1] != "custom_strike"
        ),
    ]
    for place in objects:
        frame = changed(full, (*place, "brand_new"), {"a": [1, 2.5, None, "x"]})
        message = read(frame)
        assert not isinstance(message, ProtocolError)
        if isinstance(message, FlatMessage) and place == ("msg",):
            assert message.extra == {"brand_new": {"a": [1, Decimal("2.5"), None, "x"]}}
            assert message.msg == {**decoded_msg(full), "brand_new": {"a": [1, Decimal("2.5"), None, "x"]}}
        else:
            assert message == decode(json.dumps(full))


def decoded_msg(frame: dict[str, Any]) -> dict[str, Any]:
    msg: dict[str, Any] = json.loads(json.dumps(frame["msg"]), parse_float=Decimal)
    return msg


def number_places(frame: dict[str, Any]) -> list[Place]:
    return [
        place
        for place in places(frame)
        if isinstance(at(frame, place), str) and any(isinstance(key, str) and is_number(key) for key in place)
    ]


@pytest.mark.parametrize("name", server_messages())
def test_money_sizes_and_values_that_cannot_be_read(name: str) -> None:
    full = frame_of(name, True)
    for place in number_places(full):
        for wrong in NOT_NUMBERS + ([] if full["type"] == "ticker" else [""]):
            assert is_left_out(changed(full, place, wrong), place), (place, wrong)


def is_left_out(frame: dict[str, Any], place: Place) -> bool:
    """The message is refused if it needs the amount, otherwise it is None and its value in ``extra``."""
    message, key = read(frame), str(place[1])
    is_strict = frame["type"].startswith("orderbook") or (
        frame["type"] in ("trade", "fill") and key in ("yes_price_dollars", "no_price_dollars", "count_fp")
    )
    if is_strict or isinstance(message, ProtocolError):
        return is_strict and isinstance(message, ProtocolError)
    sent = json.loads(json.dumps(frame["msg"][key]), parse_float=Decimal)
    at_top = len(place) > 2 or getattr(message, attribute_of(message, key)) is None
    return at_top and same(message.extra[key], sent) and list(unread(message)) == [key]


@pytest.mark.parametrize("name", server_messages())
def test_negative_and_too_fine_numbers(name: str) -> None:
    signed = (
        "delta_fp",
        "position_fp",
        "post_position_fp",
        "value",
        "value_usd",
        "fee_cost",
        "settlement_value",
    )
    full = frame_of(name, True)
    for place in number_places(full):
        key = next(key for key in reversed(place) if isinstance(key, str))
        price = key.endswith(("price_dollars", "bid_dollars", "ask_dollars", "dollars_fp")) or key in (
            "start",
            "end",
            "step",
        )
        may_be_negative = not price and (key in signed or key.endswith("_dollars"))
        for wrong, allowed in (("-0.25", may_be_negative), ("0.123456789", False)):
            mutant = changed(full, place, wrong)
            if allowed:
                assert not unread(assert_message(read(mutant))), (place, wrong)
            else:
                assert is_left_out(mutant, place), (place, wrong)


def assert_message(message: Message | ProtocolError) -> Message:
    assert not isinstance(message, ProtocolError), message
    return message


@pytest.mark.parametrize("name", server_messages())
def test_sid_seq_and_id_are_strict(name: str) -> None:
    full = frame_of(name, True)
    for key in ("sid", "seq", "id"):
        for wrong in NOT_IDS if key in full else ():
            error = read({**full, key: wrong})
            assert isinstance(error, ProtocolError), (key, wrong)
            assert error.type == full["type"]
            assert error.sid == (None if key == "sid" else full.get("sid"))
            assert error.seq == (None if key == "seq" else full.get("seq"))


@pytest.mark.slow
def test_mutations(capsys: pytest.CaptureFixture[str]) -> None:
    """Each field with another type and extreme values: absent, equal or refused, but never another number."""
    counts: Counter[str] = Counter()
    published = [frame for name in server_messages() for frame in examples(name)]
    for frame in [frame_of(name, True) for name in server_messages()] + published:
        clean = decode(json.dumps(frame))
        for place in places(frame):
            for odd in ODD:
                mutant = changed(frame, place, odd)
                message = read(mutant)
                if isinstance(message, ProtocolError):
                    counts["refused"] += 1
                elif isinstance(message, UnknownMessage):
                    assert place == ("type",)
                    counts["unknown type"] += 1
                else:
                    counts["absent or equal"] += 1
                    check_mutant(message, clean, mutant, place)
    assert sum(counts.values()) > 10_000
    with capsys.disabled():
        print(
            "\n[schemas] mutations:", ", ".join(f"{count} {what}" for what, count in sorted(counts.items()))
        )


def check_mutant(message: Message, clean: Message, mutant: dict[str, Any], place: Place) -> None:
    odd = at(mutant, place)
    if place == ("type",) or isinstance(mutant.get("msg"), list):
        return
    if len(place) == 1:
        assert place == ("msg",) or getattr(message, str(place[0])) in (None, odd)
        return
    key = str(place[1])
    if mutant["type"] == "error" and key == "msg":
        assert getattr(message, "message") in (None, odd)  # noqa: B009
        return
    got = getattr(message, attribute_of(message, key))
    skipped = odd == {"a": [1]} or (
        odd is None and len(place) > 2
    )  # a part keeps no unknown keys and no nulls
    skipped = skipped or (isinstance(message, FlatMessage) and len(place) > 2 and key in message.extra)
    assert got is None or skipped or same(got, mutant["msg"][key]), (place, odd, got)
    for other in mutant["msg"]:
        if other not in (key, "msg"):
            name = attribute_of(message, other)
            assert getattr(message, name) == getattr(clean, name), (place, odd, other)
    # the rest is in extra, so nothing is lost
    if isinstance(message, FlatMessage) and len(place) == 2 and not skipped:
        assert same(message.msg, {name: value for name, value in mutant["msg"].items() if value is not None})
