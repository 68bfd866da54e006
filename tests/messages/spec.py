"""The published schemas as data for tests: the server's messages, examples of them, and their numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any

from kalshi_feed.messages import Message, wire_fields
from kalshi_feed.messages.flat import Part
from tests.published import facts

Place = tuple[str | int, ...]
TEXTS_OF_NUMBERS = ("fee_cost", "settlement_value", "value", "value_usd", "start", "end", "step")


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its reference resolved; keys next to the reference are kept."""
    if "$ref" not in schema:
        return schema
    target = facts()["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return {**resolved(target), **{key: value for key, value in schema.items() if key != "$ref"}}


@cache
def server_messages() -> dict[str, dict[str, Any]]:
    """Message name in the spec to resolved schema, for every JSON message that the server sends."""
    found = {name: resolved(message["payload"]) for name, message in facts()["messages"].items()}
    return {name: schema for name, schema in found.items() if "type" in schema.get("properties", {})}


def wire_type(schema: dict[str, Any]) -> str:
    const: str = resolved(schema["properties"]["type"])["const"]
    return const


def instance(schema: dict[str, Any], *, full: bool, name: str = "") -> Any:
    """A valid value of the schema: with all properties, or with the required ones only."""
    schema = resolved(schema)
    kinds = schema.get("type", "object")
    kind = next(one for one in ([kinds] if isinstance(kinds, str) else kinds) if one != "null")
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        required = schema.get("required", ())
        properties = schema.get("properties", {"first": {"type": "string"}, "second": {"type": "number"}})
        return {
            key: instance(inner, full=full, name=key)
            for key, inner in properties.items()
            if full or key in required
        }
    if name.endswith("dollars_fp"):
        return [["0.2500", "12.50"], ["0.3500", "7.00"]]
    if kind == "array":
        count = schema.get("minItems") or (2 if full else 0)
        return [instance(schema["items"], full=full, name=name) for _ in range(count)]
    if kind == "string":
        return _text(schema, name)
    if kind == "integer":
        return (
            1_733_047_200_000
            if name.endswith(("_ms", "_at", "exclusive"))
            else 1_733_047_200
            if name.endswith("_ts")
            else 7
        )
    return {"number": 95000.25, "boolean": True}[kind]


def _text(schema: dict[str, Any], name: str) -> str:
    if schema.get("format") == "date-time":
        return "2024-12-01T10:00:00.25Z"
    if schema.get("format") == "uuid":
        return "9b0f6b43-5b68-4f9f-9f02-9a2d1b8ac1a1"
    if is_number(name):
        return "12.50" if name.endswith("_fp") else "0.3500"
    return f"{name}-1" if name != "data" else '{"value":"68000.12","time":1710000000123}'


def is_number(name: str) -> bool:
    """Whether a string of that name is money, a size or an index value."""
    return name.endswith(("_dollars", "_fp")) or name in TEXTS_OF_NUMBERS


def instances() -> list[tuple[str, bool]]:
    return [(name, full) for name in server_messages() for full in (True, False)]


def frame_of(name: str, full: bool) -> dict[str, Any]:
    frame: dict[str, Any] = instance(server_messages()[name], full=full)
    return frame


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Every path in the value, except for the value itself."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from places(inner, (*at, key))


def at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def changed(frame: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    """A copy with another value at that path."""
    found = copy.deepcopy(frame)
    at(found, place[:-1])[place[-1]] = value
    return found


def without(frame: dict[str, Any], place: Place) -> dict[str, Any]:
    found = copy.deepcopy(frame)
    del at(found, place[:-1])[place[-1]]
    return found


def same(read: Any, wire: Any) -> bool:
    """Whether a message holds what the wire had: strings unchanged, parts by field, numbers exactly."""
    if isinstance(wire, dict):
        if isinstance(read, Part):
            names = dict(zip(read.__struct_encode_fields__, read.__struct_fields__, strict=True))
            names = {
                key: name if hasattr(type(read), name) and key == name else key for key, name in names.items()
            }
            return all(key in names and same(getattr(read, key, None), inner) for key, inner in wire.items())
        return (
            isinstance(read, dict)
            and read.keys() == wire.keys()
            and all(same(read[key], wire[key]) for key in wire)
        )
    if isinstance(wire, list):
        return isinstance(read, tuple | list) and len(read) == len(wire) and all(map(same, read, wire))
    if isinstance(read, str) and type(wire) in (int, float):  # an amount that was sent as a number
        return read == str(wire)
    if isinstance(wire, float) or isinstance(read, Decimal):
        return bool(read == Decimal(str(wire)))
    return type(read) is type(wire) and bool(read == wire)


def attribute_of(message: Message, key: str) -> str:
    """The attribute that holds what ``msg`` had under that key."""
    name = wire_fields(type(message)).get(key, key)
    return name.removesuffix("_json")
