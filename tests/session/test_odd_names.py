"""One rule for names, live and in captures: no book is kept for a name that feed.book() refuses. Row S48."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kalshi_feed import ConfigurationError, KalshiFeed, ProtocolError
from kalshi_feed.cli.changes import change_text, event_text, message_text
from kalshi_feed.events import FeedFault
from kalshi_feed.messages import decode
from kalshi_feed.session.channels import is_name
from tests.session.driver import Driver, delta, snapshot

ODD_NAMES = ["", " ", "A B", "A\n", "\x1b[2J", "A,B", "\u2028", "\u202eA", "A\x00", "\x7f"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_S48_a_book_message_with_an_odd_name_is_a_protocol_error(name: str) -> None:
    assert not is_name(name)
    driver = Driver()
    driver.go_live("A")
    driver.turn(delta(name, driver.sid, driver.seq), snapshot(name, driver.sid, driver.seq))
    faults = driver.take(FeedFault)
    assert [fault.kind for fault in faults] == ["protocol", "protocol"]
    assert all(isinstance(fault.error, ProtocolError) for fault in faults)
    assert driver.live() == {"A"} and set(driver.books) == {"A"}
    driver.change("A")
    assert driver.live() == {"A"}


@pytest.mark.parametrize("name", ODD_NAMES)
def test_S48_a_capture_keeps_no_book_under_such_a_name(name: str, tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    frames = [snapshot("GOOD", 1, 1), snapshot(name, 1, 2), delta(name, 1, 3), delta("GOOD", 1, 4)]
    file.write_text(
        "".join(
            json.dumps({"recv_ms": 1_760_000_000_000 + i, "event": frame}) + "\n"
            for i, frame in enumerate(frames)
        )
    )
    faults: list[FeedFault] = []
    delivered: list[str | None] = []
    feed = KalshiFeed.replay(file, speed="max")
    feed.on_error(faults.append)
    feed.on_delta(lambda message: delivered.append(message.market_ticker))
    with pytest.raises(ConfigurationError):
        feed.book(name)
    with feed:
        feed.run_forever()
    assert [fault.kind for fault in faults] == ["protocol", "protocol"]
    assert delivered == ["GOOD"]
    assert feed.book("GOOD").view().seq == 4


@pytest.mark.parametrize("escape", ["\x1b[2J\x1b]0;owned\x07", "\u202e", "a\nb", "\r"])
def test_S48_nothing_that_is_printed_can_drive_a_terminal(escape: str) -> None:
    body = {"market_ticker": escape, "taker_side": escape, "order_id": escape, escape: escape}
    for type_ in (escape, "trade", "ticker", "fill", "user_order", "market_lifecycle_v2"):
        message = decode(json.dumps({"type": type_, "msg": body, escape: 1}))
        assert change_text(message).isprintable()
        assert message_text(message, None, "12:00").isprintable()
    assert event_text(FeedFault("protocol", f"in {escape}", None, {}), "12:00").isprintable()
