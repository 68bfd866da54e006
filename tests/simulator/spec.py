"""The exchange's published schemas for the tests of the simulator, and a validator for the part of JSON
Schema that they use."""

from __future__ import annotations

import re
import uuid
from typing import Any

from tests.published import facts

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = {
    "type",
    "enum",
    "const",
    "format",
    "minimum",
    "properties",
    "required",
    "items",
    "minItems",
    "maxItems",
}
_NOTES = {"description", "example", "examples", "title", "default", "deprecated", "readOnly"}
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


class Spec:
    """The messages of the published document."""

    def __init__(self) -> None:
        self.facts = facts()

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = self.facts["schemas"][schema["$ref"].rpartition("/")[2]]
        return schema

    def payload(self, message: str) -> dict[str, Any]:
        return self.resolve(self.facts["messages"][message]["payload"])

    def data_messages(self) -> dict[str, list[str]]:
        """The names of the published messages, by channel."""
        channels = self.facts["channels"].items()
        return {name: one["messages"] for name, one in channels if name not in ("root", "control_frames")}

    def replies(self) -> list[str]:
        return [name for name in self.facts["channels"]["root"]["messages"] if name.endswith("Response")]

    def problems(self, schema: dict[str, Any], value: Any, where: str = "") -> list[str]:
        """Everything wrong with a value. An unknown field of an object is wrong, too: the simulator made it
        up."""
        schema = self.resolve(schema)
        strange = schema.keys() - _KNOWN - _NOTES
        assert not strange, f"the validator does not know {strange}"
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if kinds and not any(
            isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
            for kind in kinds
        ):
            return [f"{where}: {value!r} is not of type {' or '.join(kinds)}"]
        found = []
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{where}: {value!r} is not one of {schema['enum']}")
        if "const" in schema and value != schema["const"]:
            found.append(f"{where}: {value!r} is not {schema['const']!r}")
        if "minimum" in schema and value < schema["minimum"]:
            found.append(f"{where}: {value!r} is below {schema['minimum']}")
        if isinstance(value, str):
            found += (
                [f"{where}: {value!r} is not a {schema['format']}"] if not _formatted(schema, value) else []
            )
        if isinstance(value, list):
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                found.append(f"{where}: {len(value)} items")
            for number, item in enumerate(value):
                found += self.problems(schema.get("items", {}), item, f"{where}[{number}]")
        if isinstance(value, dict) and "properties" in schema:
            found += [
                f"{where}.{name} is missing" for name in schema.get("required", []) if name not in value
            ]
            for name, item in value.items():
                if name in schema["properties"]:
                    found += self.problems(schema["properties"][name], item, f"{where}.{name}")
                else:
                    found.append(f"{where}.{name} is not known")
        return found

    def match(self, frame: dict[str, Any]) -> tuple[str | None, list[str]]:
        """The published message that a frame of the exchange matches; None, and the reasons, if there is
        none."""
        names = [name for names in self.data_messages().values() for name in names] + self.replies()
        reasons = []
        for name in dict.fromkeys(names):
            payload = self.payload(name)
            if payload["properties"]["type"]["const"] == frame["type"]:
                problems = self.problems(payload, frame, name)
                if not problems:
                    return name, []
                reasons += problems
        return None, reasons or [f"no message has the type {frame['type']!r}"]


def _formatted(schema: dict[str, Any], value: str) -> bool:
    if schema.get("format") == "uuid":
        try:
            return str(uuid.UUID(value)) == value
        except ValueError:
            return False
    return schema.get("format") != "date-time" or _DATE_TIME.fullmatch(value) is not None
