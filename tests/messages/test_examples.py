"""Every server frame in the project's collection of examples decodes to its type, in every spec version."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from kalshi_feed.messages import MESSAGE_TYPES, Decoder, decode
from tests.published import example_frames

from .spec import attribute_of, same


def examples() -> list[dict[str, Any]]:
    return [
        line
        for line in example_frames()
        if line["direction"] == "server" and not line["type"].startswith("control")
    ]


@pytest.mark.parametrize("use_yes_price", [False, True])
def test_examples(use_yes_price: bool) -> None:
    seen = set()
    for example in examples():
        frame = json.dumps(example["frame"])
        message = decode(frame, use_yes_price)
        assert message.type == example["type"]
        assert isinstance(message, MESSAGE_TYPES[example["type"]]), frame
        assert pickle.loads(pickle.dumps(message)) == message
        # nothing was left out: the whole frame can be read back, except for keys without a field
        for key, value in example["frame"].items():
            if key in ("sid", "seq", "sending_ts_ms"):
                assert getattr(message, key) == value
        for name in dir(message):
            if not name.startswith("_"):
                getattr(message, name)
        seen.add(message.type)
    assert set(MESSAGE_TYPES) - {"list_subscriptions"} <= seen
    assert seen <= set(MESSAGE_TYPES)


def test_examples_in_one_batch() -> None:
    frames = [json.dumps(example["frame"]).encode() for example in examples()]
    assert Decoder().decode_batch(frames) == [decode(frame) for frame in frames]


def test_all_that_the_examples_have_is_in_the_messages() -> None:
    """Every key of every msg, in all generations, can be read as sent, and none is left over."""
    for example in examples():
        message = decode(json.dumps(example["frame"]))
        assert not message.extra
        msg = example["frame"].get("msg")
        for key, value in (msg if isinstance(msg, dict) and message.type != "error" else {}).items():
            # in one example, in no schema
            if (message.type, key) not in (
                ("subscribed", "sid"),
                ("ticker", "no_bid_dollars"),
            ):
                assert same(getattr(message, attribute_of(message, key)), value), (message.type, key)
