"""How inputs of the relay's session become entries of its streams. Owns what is account data, and that none
of it gets into the stream of the market data. Thread-safe: pure functions and constants.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ..engine.tap import QUIET
from ..recording.checkpoint import SessionCopy, encode_checkpoint
from ..recording.lines import FORMAT, CommandId, HeaderLine, Line, encode_line, encode_sent
from ..recording.queue import (
    ClockItem,
    FilledItem,
    LearnedItem,
    LineItem,
    SentItem,
    TurnItem,
    encode_item,
)
from ..session.channels import CHANNELS
from ..version import __version__
from .layout import EntryKind

__all__ = ["ACCOUNT_CHANNELS", "Encoded", "compressed_checkpoint", "encode_input", "encode_read"]

ACCOUNT_CHANNELS: Final = frozenset(name for name, rule in CHANNELS.items() if rule.is_account)
"""Channels whose messages are about the account."""

_ACCOUNT_TYPES: Final = frozenset(type_ for name in ACCOUNT_CHANNELS for type_ in CHANNELS[name].types)
# what the exchange adds to public messages if an order of the account caused them
_ACCOUNT_FIELDS: Final = frozenset(("client_order_id", "subaccount"))
_LOOKS_LIKE_ACCOUNT: Final = re.compile("|".join(sorted(_ACCOUNT_TYPES | _ACCOUNT_FIELDS)).encode())
_UNREADABLE: Final = b"?"  # as unreadable as the frame it stands for, and without what that holds


class Encoded(NamedTuple):
    """An entry without its id and time."""

    kind: EntryKind
    payload: bytes = b""
    first_id: int | None = None


class _Typed(msgspec.Struct):
    type: Any = None


_typed: Final = msgspec.json.Decoder(_Typed).decode
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_command: Final = msgspec.json.Decoder(CommandId).decode


def encode_read(ns: int, turn: TurnItem, sent: SentItem | None, *, account: bool) -> Encoded:
    """Return the entry for a turn of the reader and the commands that it sent; ``ns`` is its time (Unix).

    ``account``: with the account's messages.
    """
    payloads = turn.payloads if account else _without_account(turn.payloads)
    joined = b"\n".join(payloads)
    can_be_split = joined.count(b"\n") == len(payloads) - 1 if joined else not payloads
    if turn.reading is QUIET and can_be_split:
        first_id = _command(sent.commands[0]).id if sent and sent.commands else None
        return Encoded(EntryKind.TURN, joined, first_id)
    lines = encode_item(ns, turn._replace(payloads=payloads))
    return Encoded(EntryKind.LINES, lines + encode_sent(ns, sent.commands) if sent else lines)


def encode_input(
    ns: int, item: LineItem | ClockItem | LearnedItem | FilledItem | SentItem, *, account: bool
) -> Encoded | None:
    """Return the entry for any other input; None if it is the account's alone."""
    if isinstance(item, FilledItem) and not account and item.channel in ACCOUNT_CHANNELS:
        return None
    return Encoded(EntryKind.LINES, encode_item(ns, item))


def compressed_checkpoint(
    copy: SessionCopy, ns: int, clock_offset_ns: int, *, url: str, use_yes_price: bool, account: bool
) -> Iterator[bytes]:
    """Return the parts of a checkpoint's payload, each made when it is asked for; most are empty."""
    header = HeaderLine(
        format=FORMAT,
        version=__version__,
        url=url,
        use_yes_price=use_yes_price,
        clock_offset_ns=clock_offset_ns,
    )
    packer = zlib.compressobj(1)
    yield packer.compress(encode_line(Line(kalshi_feed_recording=header)))
    for line in encode_checkpoint(copy if account else _for_everyone(copy), ns):
        yield packer.compress(line)
    yield packer.flush()


def _without_account(payloads: Sequence[bytes]) -> Sequence[bytes]:
    return [frame for payload in payloads if (frame := _for_market(payload)) is not None]


def _for_market(payload: bytes) -> bytes | None:
    """The frame as it goes into the market data's stream; None if it does not."""
    try:
        type_ = _typed(payload).type
        if isinstance(type_, str) and type_ in _ACCOUNT_TYPES:
            return None
        if b"client_order_id" in payload or b"subaccount" in payload:
            frame = _fields(payload)
            content = _fields(frame["msg"]) if "msg" in frame else {}
            kept = {name: value for name, value in content.items() if name not in _ACCOUNT_FIELDS}
            return msgspec.json.encode(frame | {"msg": kept})
    except (ValueError, RecursionError):
        return _UNREADABLE if _LOOKS_LIKE_ACCOUNT.search(payload) else payload
    return payload


def _for_everyone(copy: SessionCopy) -> SessionCopy:
    """The checkpoint without what identifies the account's messages."""
    holding = copy.session.holding
    if holding is None or ACCOUNT_CHANNELS.isdisjoint(holding.ids):
        return copy
    ids = {channel: ids for channel, ids in holding.ids.items() if channel not in ACCOUNT_CHANNELS}
    holding = msgspec.structs.replace(holding, ids=ids)
    return copy._replace(session=msgspec.structs.replace(copy.session, holding=holding))
