"""What the tests of a relay's consumers share: relays, consumers, and a writer of streams that are wrong."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from kalshi_feed import KalshiFeed
from kalshi_feed.engine.live import LiveEngine
from kalshi_feed.messages import Message
from kalshi_feed.recording.checkpoint import Numbers, encode_checkpoint, take_checkpoint
from kalshi_feed.recording.lines import FORMAT, HeaderLine, Line, encode_line
from kalshi_feed.relay import Relay
from kalshi_feed.relay.layout import EntryId, EntryKind, StreamEntry, encode_entry, encode_id, keys_of
from tests.feed.support import A, B, FeedMaker
from tests.support import wait_until

from .redis_server import RedisServer

__all__ = [
    "ConsumerMaker", "RelayMaker", "StreamForger",
    "make_consumer", "make_relay", "next_after", "packed", "relay",
]  # fmt: skip

ConsumerMaker = Callable[..., KalshiFeed]
RelayMaker = Callable[..., Relay]


@pytest.fixture
def make_consumer(redis_server: RedisServer) -> Iterator[ConsumerMaker]:
    """Make consumers, not started, which take from_relay()'s arguments; they are closed after the test."""
    feeds: list[KalshiFeed] = []

    def make(url: str | None = None, *, cls: type[KalshiFeed] = KalshiFeed, **options: Any) -> KalshiFeed:
        feeds.append(cls.from_relay(url or redis_server.url, **options))
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()


@pytest.fixture
def make_relay(make_feed: FeedMaker, redis_server: RedisServer) -> Iterator[RelayMaker]:
    """Make relays, started, each with a feed of its own that has the books A and B; they end with the
    test."""
    with contextlib.ExitStack() as relays:

        def make(url: str | None = None, *, cls: type[KalshiFeed] = KalshiFeed, **options: Any) -> Relay:
            feed = make_feed(cls)
            feed.subscribe(("orderbook_delta", "trade"), [A, B])
            return relays.enter_context(Relay(feed, url or redis_server.url, **options))

        yield make


@pytest.fixture
def relay(make_relay: RelayMaker) -> Relay:
    """One relay."""
    return make_relay()


def next_after(
    act: Callable[[], object], feed: KalshiFeed, type: str, market_tickers: str | None = None
) -> Message:
    """Call ``act``, and return the first message of the type that has come since just before it."""
    with feed.messages(type, market_tickers) as messages:
        act()
        return messages.get(5)


class StreamForger:
    """Writes streams that no relay writes: with holes, with forged ids, in the wrong order.

    Each entry takes the next number unless ``number`` is given, in ``generation``, which may be changed.
    """

    def __init__(self, client: redis.Redis, name: str = "main") -> None:
        self._client: Any = client
        self.keys = keys_of(name)
        self.generation = 1_000
        self.number = 0

    def add(self, kind: EntryKind = EntryKind.BEAT, payload: bytes = b"", **options: Any) -> EntryId:
        """Add an entry; returns its id. ``options``: more of StreamEntry's fields, ``number``,
        and ``age``, in seconds."""
        self.number = options.pop("number", self.number + 1)
        id = EntryId(self.generation, self.number)
        ns = time.time_ns() - round(options.pop("age", 0.0) * 1e9)
        entry = StreamEntry(id, kind, ns, payload, **options)
        self._client.xadd(self.keys.stream, encode_entry(entry), encode_id(id))
        return id

    def add_fields(self, fields: dict[str, bytes]) -> None:
        """Add an entry with exactly these fields."""
        self.number += 1
        id = encode_id(EntryId(self.generation, self.number))
        self._client.xadd(self.keys.stream, fields or {"x": b""}, id)

    def forget_all(self) -> None:
        """Empty Redis."""
        self._client.flushall()

    def beat(self, count: int = 1) -> None:
        """Add entries without content."""
        for _ in range(count):
            self.add()

    def beat_until(self, condition: Callable[[], object]) -> None:
        """Beat as a relay does, only quicker, until the condition is true."""

        def is_true() -> object:
            self.beat()
            time.sleep(0.02)
            return condition()

        wait_until(is_true)

    def checkpoint(self, payload: bytes, number: int | None = None) -> None:
        """Write a checkpoint that contains everything up to this number (the last one)."""
        id = EntryId(self.generation, self.number if number is None else number)
        fields = {"p": payload, "n": time.time_ns()}
        self._client.xadd(self.keys.checkpoint, fields, encode_id(id), maxlen=1, approximate=False)


def packed(feed: KalshiFeed, *, format: int = FORMAT, **header: Any) -> bytes:
    """Return a checkpoint of the feed as it is now."""
    engine = feed._engine
    assert isinstance(engine, LiveEngine)
    offset_ns = time.time_ns() - time.monotonic_ns()
    with engine.store.lock:
        copy = take_checkpoint(engine, Numbers(), 0, cut=False)
    head = HeaderLine(format=format, clock_offset_ns=offset_ns, **header)
    lines = [encode_line(Line(kalshi_feed_recording=head)), *encode_checkpoint(copy, time.time_ns())]
    return zlib.compress(b"".join(lines))
