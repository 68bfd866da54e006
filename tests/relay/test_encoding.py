"""How inputs become entries, and what is left out of the market data."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import pytest

from kalshi_feed.engine.holding import HoldingMemory
from kalshi_feed.engine.tap import Reading
from kalshi_feed.recording.checkpoint import SessionCopy
from kalshi_feed.recording.lines import Line, SessionLine
from kalshi_feed.recording.queue import FilledItem, SentItem, TurnItem
from kalshi_feed.relay.encoding import compressed_checkpoint, encode_input, encode_read
from kalshi_feed.relay.layout import EntryKind

FILL = b'{"type":"fill","sid":3,"msg":{"trade_id":"mine"}}'
TRADE = b'{"type":"trade","sid":2,"seq":1,"msg":{"trade_id":"theirs"}}'
LIST = b'{"type":"ok","id":7,"msg":[{"channel":"fill","sid":3}]}'
SENT = SentItem(1.0, [b'{"id":17,"cmd":"subscribe"}', b'{"id":18,"cmd":"subscribe"}'])


def lines_of(payload: bytes) -> list[Line]:
    return [msgspec.json.decode(line, type=Line) for line in payload.splitlines()]


@pytest.mark.parametrize("frames", [[], [TRADE], [TRADE, LIST], [b"not JSON", b""]])
def test_frames_are_joined_byte_for_byte(frames: list[bytes]) -> None:
    entry = encode_read(5, TurnItem(1.0, frames), SENT, account=False)
    assert entry.kind is EntryKind.TURN
    assert (entry.payload.split(b"\n") if entry.payload else []) == frames
    assert entry.first_id == 17
    assert encode_read(5, TurnItem(1.0, frames), None, account=True) == entry._replace(first_id=None)


@pytest.mark.parametrize(
    ("turn", "events"),
    [
        (TurnItem(1.0, [b'{"type":"trade",\n"sid":2}']), 1),
        (TurnItem(1.0, [b""]), 1),  # not the same as none
        (TurnItem(1.0, [TRADE, FILL], Reading(slept=3.0)), 1),
    ],
)
def test_what_cannot_be_joined_is_written_as_a_recording_does(turn: TurnItem, events: int) -> None:
    entry = encode_read(5, turn, SENT, account=False)
    assert (entry.kind, entry.first_id) == (EntryKind.LINES, None)
    lines = lines_of(entry.payload)
    assert sum(line.text is not None or bytes(line.event) != b"" for line in lines) == events
    assert [command.id for command in lines[-1].sent or ()] == [17, 18]
    assert b"mine" not in entry.payload


@pytest.mark.parametrize(
    ("frame", "without"),
    [
        (FILL, None),
        (b'{"sid":1,"type":"rfq_created","msg":{}}', None),
        (TRADE, TRADE),
        (LIST, LIST),
        (
            b'{"type":"orderbook_delta","sid":1,"msg":{"price_dollars":"0.40","client_order_id":"x","big":1e999,'
            b'"subaccount":4},"sending_ts_ms":5}',
            b'{"type":"orderbook_delta","sid":1,"msg":{"price_dollars":"0.40","big":1e999},"sending_ts_ms":5}',
        ),
        (b'{"type":"fill","msg":{"trade_id":"cut off', b"?"),  # unreadable there, unreadable here
        (b"[" * 100_000 + b'"fill"', b"?"),
        (b"nonsense", b"nonsense"),
        (b'{"type":["fill"]}', b'{"type":["fill"]}'),
    ],
)
def test_the_account_is_left_out_of_the_market_data(frame: bytes, without: bytes | None) -> None:
    turn = TurnItem(1.0, [TRADE, frame])
    kept = [TRADE] if without is None else [TRADE, without]
    assert encode_read(5, turn, None, account=False).payload.split(b"\n") == kept
    assert encode_read(5, turn, None, account=True).payload.split(b"\n") == [TRADE, frame]


def test_so_is_what_rest_had_of_it_and_what_the_checkpoint_remembers() -> None:
    filled = FilledItem(1.0, "fill", ["mine"], False, None)
    assert encode_input(5, filled, account=False) is None
    owner = encode_input(5, filled, account=True)
    assert owner is not None
    assert b"mine" in owner.payload
    assert encode_input(5, filled._replace(channel="trade"), account=False) is not None

    memory = HoldingMemory(ids={"fill": ["mine"], "trade": ["theirs"]})
    copy = SessionCopy(SessionLine(state="CONNECTED", holding=memory), [], [])

    def checkpoint(account: bool) -> Any:
        parts = compressed_checkpoint(copy, 5, 1, url="wss://x", use_yes_price=True, account=account)
        header, session = lines_of(zlib.decompress(b"".join(parts)))
        assert header.kalshi_feed_recording is not None
        assert session.session is not None
        return session.session.holding

    assert checkpoint(account=True) == memory
    assert checkpoint(account=False).ids == {"trade": ["theirs"]}
    assert memory.ids["fill"] == ["mine"]  # the other stream needs it
