"""What a relay has written, as a test sees it: entries, checkpoints, and the recording that they amount to."""

from __future__ import annotations

import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import redis

from kalshi_feed import BookStatus, BookView, KalshiFeed
from kalshi_feed.recording.lines import Line, encode_sent, encode_turn
from kalshi_feed.relay.layout import EntryId, EntryKind, StreamEntry, decode_entry, decode_id, keys_of
from kalshi_feed.relay.wishes import (
    FollowWish,
    OneTimeRequest,
    SubscribeWish,
    Wishes,
    WishesAnswer,
    decode_answer,
    encode_wishes,
)
from tests.feed.support import sides
from tests.support import wait_until

__all__ = ["ALICE", "BOB", "RelayKeys"]

Sides = dict[str, dict[Decimal, Decimal]]
ALICE, BOB = "a" * 32, "b" * 32  # two consumers


class RelayKeys:
    """A relay's keys in Redis. ``account``: those of the account."""

    def __init__(self, client: redis.Redis, name: str = "main", *, account: bool = False) -> None:
        self._client: Any = client
        self.keys = keys_of(name, account=account)
        self._serial = 0

    def entries(self, *kinds: EntryKind) -> list[StreamEntry]:
        """The stream's entries, of these kinds if any are given."""
        found = [decode_entry(id, fields) for id, fields in self._client.xrange(self.keys.stream)]
        return [entry for entry in found if not kinds or entry.kind in kinds]

    def checkpoint(self) -> tuple[EntryId, bytes]:
        """The newest checkpoint's id and lines."""
        ((id, fields),) = self._client.xrange(self.keys.checkpoint)
        return decode_id(id), zlib.decompress(fields[b"p"])

    def checkpoint_id(self) -> EntryId | None:
        """The newest checkpoint's id, if there is one."""
        found = self._client.xrevrange(self.keys.checkpoint, count=1)
        return decode_id(found[0][0]) if found else None

    def messages(self) -> str:
        """All payloads, to look for words."""
        return b"\n".join(entry.payload for entry in self.entries()).decode()

    def replayed_books(self, path: Path, *tickers: str) -> list[Sides]:
        """The books after the newest checkpoint and the entries after it, by way of a recording."""
        id, lines = self.checkpoint()
        entries = [entry for entry in self.entries() if entry.id > id]
        assert [entry.id.number for entry in entries] == list(
            range(id.number + 1, id.number + 1 + len(entries))
        )
        texts = [lines]
        for entry in entries:
            if entry.kind is EntryKind.TURN:
                frames = entry.payload.split(b"\n") if entry.payload else []
                texts.append(encode_turn(entry.ns, frames))
                if entry.first_id is not None:
                    texts.append(encode_sent(entry.ns, [b'{"id":%d}' % entry.first_id]))
            elif entry.kind is EntryKind.LINES:
                texts.append(entry.payload)
        path.write_bytes(b"".join(texts))
        views: dict[str, BookView] = {}

        def keep(view: BookView) -> None:
            if view.status is BookStatus.LIVE:  # and not closed with the replay
                views[view.market_ticker] = view

        feed = KalshiFeed.replay(path)
        feed.on_book(keep)
        feed.run_forever()
        return [sides(views[ticker]) for ticker in tickers]

    def lines(self) -> list[Line]:
        """The lines of all entries that have some."""
        return [
            msgspec.json.decode(line, type=Line)
            for entry in self.entries(EntryKind.LINES)
            for line in entry.payload.splitlines()
        ]

    # -- a consumer ------------------------------------------------------------------------------------------

    def want(
        self,
        consumer: str,
        *subscribe: SubscribeWish,
        follow: list[FollowWish] | None = None,
        requests: list[OneTimeRequest] | None = None,
        serial: int | None = None,
    ) -> int:
        """Send a consumer's wishes; return their serial."""
        self._serial = serial = self._serial + 1 if serial is None else serial
        wishes = Wishes(consumer, serial, list(subscribe), follow or [], requests or [])
        self._client.xadd(self.keys.wishes, {"p": encode_wishes(wishes)})
        return serial

    def answers(self) -> list[WishesAnswer]:
        """All answers so far."""
        return [decode_answer(entry.payload) for entry in self.entries(EntryKind.ANSWER)]

    def answer(self, consumer: str, serial: int) -> WishesAnswer:
        """Wait for the answer to these wishes."""

        def found() -> list[WishesAnswer]:
            return [one for one in self.answers() if (one.consumer, one.serial) == (consumer, serial)]

        wait_until(found, what="the relay's answer")
        return found()[-1]
