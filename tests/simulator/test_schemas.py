"""The table of fields: it equals the published schemas, and ``send`` refuses messages that do not fit it."""

from __future__ import annotations

from typing import Any

import pytest

from kalshi_feed.simulator import Exchange, schemas
from kalshi_feed.simulator.schemas import FIELDS, STRUCT_FIELDS, Fields
from kalshi_feed.simulator.subscriptions import SEQUENCED
from tests.published import examples

from .peer import Peer
from .spec import Spec

TEXTS = {"text", "time", "dollars", "price", "contracts", "signed", "decimal"}
JSON_TYPES = {
    "int": "integer",
    "natural": "integer",
    "number": "number",
    "bool": "boolean",
    "object": "object",
}


@pytest.fixture(scope="module")
def spec() -> Spec:
    return Spec()


def differences(spec: Spec, where: str, fields: Fields, schema: dict[str, Any]) -> list[str]:
    """The differences between the table's fields and an object schema."""
    found = []
    properties = schema["properties"]
    for name in sorted(fields.keys() | properties.keys()):
        if name not in fields or name not in properties:
            found.append(f"{where}.{name} is {'new in' if name in properties else 'not in'} the facts")
            continue
        required, kind = fields[name]
        if required != (name in schema.get("required", [])):
            found.append(f"{where}.{name}: required or not")
        found += kind_differences(spec, f"{where}.{name}", kind, spec.resolve(properties[name]))
    return found


def kind_differences(spec: Spec, where: str, kind: str, schema: dict[str, Any]) -> list[str]:
    types = schema["type"]
    types = [types] if isinstance(types, str) else list(types)
    if kind.startswith("~"):
        if "null" not in types:
            return [f"{where}: never null"]
        types.remove("null")
        kind = kind[1:]
    (type_,) = types
    if kind == "[level]":
        return [] if schema["items"]["minItems"] == schema["items"]["maxItems"] == 2 else [f"{where}: levels"]
    if kind.startswith("["):
        if type_ != "array":
            return [f"{where}: {type_}, not a list"]
        return kind_differences(spec, where, kind[1:-1], spec.resolve(schema["items"]))
    if kind.startswith("{"):
        return differences(spec, where, STRUCT_FIELDS[kind[1:-1]], schema)
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if kind in JSON_TYPES:
        ok = type_ == JSON_TYPES[kind] and values is None and ("minimum" in schema) == (kind == "natural")
    elif kind in TEXTS:
        ok = (
            type_ == "string" and values is None and (schema.get("format") == "date-time") == (kind == "time")
        )
    else:
        ok = type_ == "string" and set(kind.split("|")) == {
            value for value in values or () if value is not None
        }
    return [] if ok else [f"{where}: {kind} in the table, {schema} in the facts"]


def test_the_table_is_the_published_one(spec: Spec) -> None:
    found, seen = [], set()
    for channel, names in spec.data_messages().items():
        types = set()
        for name in names:
            payload = spec.payload(name)
            type_ = payload["properties"]["type"]["const"]
            types.add(type_)
            shape = "metadata_updated" if name == "marketMetadataUpdated" else type_
            seen.add(shape)
            if shape not in FIELDS:
                found.append(f"{shape} is new in the facts")
                continue
            found += differences(spec, shape, FIELDS[shape], spec.resolve(payload["properties"]["msg"]))
            if SEQUENCED[channel] != ("seq" in payload["required"]):
                found.append(f"{shape}: seq or not")
        if types != set(schemas.types_of(channel)):
            found.append(f"{channel} has {sorted(types)} in the facts")
    assert not found, "\n".join(found)
    assert seen == FIELDS.keys()
    assert spec.data_messages().keys() == SEQUENCED.keys()


def test_the_published_examples_pass(spec: Spec) -> None:
    counted = 0
    for names in spec.data_messages().values():
        for name in names:
            for example in examples(name):
                schemas.check(example["type"], example["msg"])
                counted += 1
    assert counted > 30


TRADE: dict[str, Any] = {
    "trade_id": "d91bc706-ee49-470d-82d8-11418bda6fed",
    "market_ticker": "A",
    "yes_price_dollars": "0.4000",
    "no_price_dollars": "0.6000",
    "count_fp": "1.00",
    "taker_side": "yes",
    "taker_outcome_side": "yes",
    "taker_book_side": "bid",
    "is_block_trade": False,
    "ts": 1,
    "ts_ms": 1000,
}
FEES: dict[str, Any] = {"event_ticker": "E", "fee_type_override": None, "fee_multiplier_override": None}
BATCH: dict[str, Any] = {
    "id": "b",
    "creator_id": "c",
    "created_ts": "2026-10-26T12:00:00Z",
    "legs": [{"event_ticker": "E", "market_ticker": "A", "side": "yes"}],
    "rfqs": [{"id": "r", "market_ticker": "A", "leg_indices": [0]}],
}
SNAPSHOT: dict[str, Any] = {"market_ticker": "A", "market_id": "", "clock": 0}
BAD: list[tuple[str, dict[str, Any], str]] = [
    (
        "trade",
        {**TRADE, "yes_price_dollars": 0.4},
        "trade.yes_price_dollars must be a decimal string from '0' to '1'",
    ),
    ("trade", {**TRADE, "yes_price_dollars": "1.0001"}, "yes_price_dollars"),
    ("trade", {**TRADE, "yes_price_dollars": "0.40000"}, "yes_price_dollars"),
    ("trade", {**TRADE, "yes_price_dollars": "NaN"}, "yes_price_dollars"),
    ("trade", {**TRADE, "count_fp": "1"}, "trade.count_fp must be a decimal string with two decimals"),
    ("trade", {**TRADE, "count_fp": "-1.00"}, "count_fp"),
    ("trade", {**TRADE, "count_fp": "١.00"}, "count_fp"),
    ("trade", {**TRADE, "taker_side": "maybe"}, "trade.taker_side must be one of 'yes', 'no', got 'maybe'"),
    ("trade", {**TRADE, "is_block_trade": 0}, "is_block_trade must be bool"),
    ("trade", {**TRADE, "ts": True}, "ts must be int"),
    ("trade", {**TRADE, "ts_ms": 1.5}, "ts_ms"),
    ("trade", {**TRADE, "count": 1}, "trade has no field 'count'"),
    ("trade", {**TRADE, "taker_outcome_sid": "yes"}, "did you mean 'taker_outcome_side'"),
    ("trade", {key: TRADE[key] for key in TRADE if key != "ts_ms"}, "trade lacks the field 'ts_ms'"),
    ("event_fee_update", {**FEES, "fee_type_override": "free"}, "or null, got 'free'"),
    (
        "event_fee_update",
        {**FEES, "fee_multiplier_override": "1"},
        "fee_multiplier_override must be number or null",
    ),
    ("orderbook_snapshot", {**SNAPSHOT, "clock": -1}, "clock must be an int of at least 0"),
    ("orderbook_snapshot", {**SNAPSHOT, "yes_dollars_fp": [["0.40"]]}, r"yes_dollars_fp\[0\] must be a pair"),
    ("orderbook_snapshot", {**SNAPSHOT, "yes_dollars_fp": {}}, "yes_dollars_fp must be a list"),
    (
        "rfq_batch_created",
        {**BATCH, "legs": [{"event_ticker": "E"}]},
        r"legs\[0\] lacks the field 'market_ticker'",
    ),
    ("rfq_batch_created", {**BATCH, "legs": ["E"]}, r"legs\[0\] must be an object"),
    ("rfq_batch_created", {**BATCH, "created_ts": "now"}, "created_ts must be an RFC 3339 string"),
    (
        "market_lifecycle_v2",
        {"market_ticker": "A", "event_type": "metadata_updated", "close_ts": 1},
        "close_ts",
    ),
    (
        "market_lifecycle_v2",
        {"market_ticker": "A", "event_type": "born"},
        "event_type must be one of 'created'",
    ),
]
CHANNEL = {type_: channel for channel in SEQUENCED for type_ in schemas.types_of(channel)}


@pytest.mark.parametrize(("type_", "msg", "complaint"), BAD)
def test_send_names_the_field_that_is_wrong(
    exchange: Exchange, type_: str, msg: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        exchange.send(CHANNEL[type_], msg, type=type_)
    assert "check=False" in str(caught.value)
    exchange.send(CHANNEL[type_], msg, type=type_, check=False)


def test_send_knows_which_channel_a_type_is_of(exchange: Exchange, peer: Peer) -> None:
    peer.subscribe("trade", "market_lifecycle_v2", "communications")
    with pytest.raises(ValueError, match="trade is not a message of communications"):
        exchange.send("communications", TRADE, type="trade")
    exchange.send("trade", TRADE)
    exchange.send("market_lifecycle_v2", FEES, type="event_fee_update")
    exchange.send("communications", BATCH, type="rfq_batch_created")
    exchange.send("trade", {"anything": 1}, type="trade_v9")  # an unknown type is not checked
    got = peer.barrier()
    assert [message["type"] for message in got] == [
        "trade",
        "event_fee_update",
        "rfq_batch_created",
        "trade_v9",
    ]
    assert [message["msg"] for message in got[:3]] == [TRADE, FEES, BATCH]
