"""What the exchange has published about its wire, as data: the schemas of its messages, and example frames.

Owns the two files beside it and how they are read; README.md says what is in them. What is returned is shared
by all tests of a run: do not change it, copy it.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

SPEC = "spec 2026-10-26"  # the ``source`` of the examples in the document that the facts are taken from
HERE = Path(__file__).parent


@cache
def facts() -> dict[str, Any]:
    """The newest document's ``messages``, ``schemas`` and ``channels``."""
    loaded: dict[str, Any] = json.loads((HERE / "asyncapi_facts.json").read_text(encoding="utf-8"))
    return loaded


@cache
def example_frames() -> tuple[dict[str, Any], ...]:
    """Every line of the collection: ``direction``, ``type``, ``source``, ``frame``, and in the newer ones
    ``message``."""
    lines = (HERE / "example_frames.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


def examples(message: str) -> list[Any]:
    """The frames that the newest document has as examples of the message, which is named as in
    ``facts()["messages"]``."""
    return [
        line["frame"]
        for line in example_frames()
        if line["source"] == SPEC and line.get("message") == message
    ]
