"""Every server frame of the project's collection of examples decodes to the type it names, in every spec version."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed.messages import MESSAGE_TYPES, Decoder, Message, UnknownMessage, decode

EXAMPLES = Path("/work/shared/kalshi/example_frames.jsonl")

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="the example frames are not on this machine")


def examples() -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in EXAMPLES.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["direction"] == "server" and not line["type"].startswith("control")]


@pytest.mark.parametrize("use_yes_price", [False, True])
def test_examples(use_yes_price: bool) -> None:
    seen = set()
    for example in examples():
        frame = json.dumps(example["frame"])
        message = decode(frame, use_yes_price)
        assert message.type == example["type"]
        assert isinstance(message, MESSAGE_TYPES.get(example["type"], UnknownMessage)), frame
        assert pickle.loads(pickle.dumps(message)) == message
        # nothing was left out: whatever the frame has can be read back, but for keys without a field
        for key, value in example["frame"].items():
            if key in ("sid", "seq", "sending_ts_ms") and not isinstance(message, UnknownMessage):
                assert getattr(message, key) == value
        for name in dir(message):
            if not name.startswith("_"):
                getattr(message, name)
        seen.add(message.type)
    assert set(MESSAGE_TYPES) - {"list_subscriptions"} <= seen


def test_examples_in_one_batch() -> None:
    frames = [json.dumps(example["frame"]).encode() for example in examples()]
    assert Decoder().decode_batch(frames) == [decode(frame) for frame in frames]


def test_fields_of_the_newest_spec_are_all_known() -> None:
    """Every key of the newest data messages can be read under its own name."""
    for example in examples():
        message: Message = decode(json.dumps(example["frame"]))
        if isinstance(message, UnknownMessage) or not example["source"].startswith("spec 2026-10"):
            continue
        msg = example["frame"].get("msg")
        for key, value in (msg if isinstance(msg, dict) else {}).items():
            if key not in ("time", "msg") and not isinstance(value, list):
                assert getattr(message, key) == value, (message.type, key)
