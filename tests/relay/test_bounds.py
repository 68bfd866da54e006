"""A consumer and a relay whose Redis is full of what no one has sent: bounded memory, and they go on."""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kalshi_feed import BookStatus, RelayError
from kalshi_feed.relay import Relay, client, registry, unpacking
from kalshi_feed.relay.layout import EntryId, EntryKind, StreamEntry, encode_entry, encode_id, keys_of
from kalshi_feed.relay.wishes import LONGEST_WISHES, SubscribeWish, Wishes, encode_wishes
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, Recorder, wait_equal
from tests.support import wait_until

from .consumers import ConsumerMaker, RelayMaker, StreamForger, packed
from .redis_server import RedisServer

pytestmark = pytest.mark.slow

MIB = 1 << 20
MOST = 60  # MiB; each of these streams would take more than that
KEYS = keys_of("main")


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peak:
    """The most memory that the process had, sampled, above what it had before. A context manager."""

    def __init__(self) -> None:
        self._before = self._most = resident()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def _sample(self) -> None:
        while not self._ended.wait(0.005):
            self._most = max(self._most, resident())

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def mib(self) -> float:
        """How much that was."""
        return (self._most - self._before) / MIB


def add(server: RedisServer, id: EntryId, payload: bytes, kind: EntryKind = EntryKind.TURN) -> None:
    entry = StreamEntry(id, kind, time.time_ns(), payload)
    server.client().xadd(KEYS.stream, encode_entry(entry), encode_id(id))


def bomb(mib: int) -> bytes:
    """Zeros, compressed, without ever being in memory."""
    pack = zlib.compressobj(1)
    return b"".join([*(pack.compress(bytes(MIB)) for _ in range(mib)), pack.flush()])


def forged_checkpoint(server: RedisServer) -> None:
    """256 MiB of zeros, in a checkpoint that is newer than any; the stream goes on from it."""
    generation = 2**50
    server.client().xadd(KEYS.checkpoint, {"p": bomb(256), "n": 1}, f"{generation}-0", maxlen=1)
    add(server, EntryId(generation, 1), b"")


def huge_entry(server: RedisServer) -> None:
    """One that is longer than what a consumer takes in at once."""
    add_long(server, KEYS.stream, encode_id(_newest(server).next))


def add_long(server: RedisServer, key: str, id: str) -> None:
    """Let Redis itself make an entry of 64 MB, which is never in this process."""
    script = """
        local payload = string.rep('x', 1000)
        for _ = 1, 16 do payload = payload .. payload end
        return redis.call('XADD', KEYS[1], ARGV[1], 'k', 'T', 'n', '1', 'p', payload)
    """
    server.client().eval(script, 1, key, id)


def _newest(server: RedisServer) -> EntryId:
    ((id, _),) = server.client().xrevrange(KEYS.stream, count=1)
    return EntryId(*map(int, id.split(b"-")))


@pytest.fixture(autouse=True)
def smaller_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sixteenth of the real ones, so that the tests are quick."""
    monkeypatch.setattr(client, "LONGEST_REPLY", client.LONGEST_REPLY // 16)
    monkeypatch.setattr(unpacking, "LONGEST_CHECKPOINT", unpacking.LONGEST_CHECKPOINT // 16)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (forged_checkpoint, "larger than 16 MiB"),
        (huge_entry, "longer than 4194304 bytes"),
    ],
)
def test_D05_a_consumer_survives_what_is_huge(
    spoil: Callable[[RedisServer], None],
    what: str,
    exchange: Exchange,
    make_relay: RelayMaker,
    make_consumer: ConsumerMaker,
    redis_server: RedisServer,
) -> None:
    """Whoever writes to the relay's stream replaces the relay: the next one begins after
    that, and so do the consumers, the one that has read so far and one that begins."""
    first = make_relay()
    feed = make_consumer().start()
    heard = Recorder(feed)
    wait_equal(feed, exchange, A, B)
    first.close()
    wait_until(lambda: feed.book(A).status is BookStatus.STALE)
    with Peak() as peak:
        spoil(redis_server)
        late = make_consumer().start()
        wait_until(
            lambda: what in " ".join(fault.message for fault in heard.faults) + feed.health().reasons[0], 20
        )
        assert feed.book(A).status is BookStatus.STALE
        assert late.book(A).status is BookStatus.PENDING
        if spoil is huge_entry:
            with pytest.raises(RelayError, match=r"has an entry that no relay writes .*: delete the key"):
                make_relay()
            redis_server.client().delete(KEYS.stream)
        make_relay()
        wait_equal(feed, exchange, A, B, timeout=20)
        wait_equal(late, exchange, A, B, timeout=20)
    assert peak.mib < MOST


def test_D05_a_stream_that_is_too_long_for_one_reply(
    exchange: Exchange,
    make_feed: FeedMaker,
    make_consumer: ConsumerMaker,
    redis_server: RedisServer,
) -> None:
    """A consumer that begins reads less at once, and catches up."""
    forger = StreamForger(redis_server.client())
    source = make_feed()
    source.subscribe("orderbook_delta", [A, B])
    with source:
        wait_equal(source, exchange, A, B)
        forger.checkpoint(packed(source))
    for _ in range(200):
        forger.add(EntryKind.BEAT, bytes(MIB // 3))
    with Peak() as peak:
        feed = make_consumer(remote=False).start()
        forger.beat_until(lambda: feed.book(A).is_live)
        wait_equal(feed, exchange, A, B)
    assert peak.mib < MOST


def hostile_wishes() -> Iterator[bytes]:
    """What a program might send that may write wishes."""
    yield b""
    yield b"rubbish"
    yield b"[" * 100_000
    yield b'{"consumer":' * 10_000
    yield bytes(LONGEST_WISHES + 1)
    yield b" " * 3 * MIB
    good: Any = json.loads(encode_wishes(Wishes("a" * 32, 1)))
    for name, value in (
        ("consumer", "A" * 32),
        ("consumer", None),
        ("serial", -1),
        ("serial", 2**70),
        ("serial", 1.5),
        ("subscribe", [{"number": 1, "channels": []}]),
        ("subscribe", [{"number": 1, "channels": ["ticker"], "keys": ["x" * 1000]}]),
        ("subscribe", [{"number": 1, "channels": ["ticker"], "selector": "no_such", "keys": ["X"]}]),
        ("subscribe", [{"number": 1, "channels": ["no_such_channel"]}]),
        ("subscribe", [{"number": 1, "channels": ["fill"]}]),
        (
            "subscribe",
            [{"number": 1, "channels": ["orderbook_delta"], "selector": "market_tickers", "keys": []}],
        ),
        (
            "subscribe",
            [{"number": 1, "channels": ["ticker"], "selector": "market_tickers", "keys": ["\u0000"]}],
        ),
        ("follow", [{"number": 1, "channels": ["ticker"]}]),
        ("follow", [{"number": 1, "channels": ["ticker"], "series": "S", "lead": 1e308}]),
        ("requests", [{"do": "close"}, {"do": "ask"}, {"do": "request_snapshots", "words": ["X"]}]),
        ("requests", [{"do": "checkpoint"}] * 1000),
    ):
        yield json.dumps({**good, name: value}).encode()


def test_D07_a_relay_survives_hostile_wishes(
    exchange: Exchange,
    relay: Relay,
    make_consumer: ConsumerMaker,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """None of it ends the relay, or reaches the exchange as anything but a command it may answer."""
    monkeypatch.setattr(registry, "MOST_CONSUMERS", 200)
    monkeypatch.setattr(registry, "MOST_KEYS", 1_000)
    redis = redis_server.client()
    feed = make_consumer().start()
    wait_equal(feed, exchange, A, B)
    sent = list(hostile_wishes())
    with Peak() as peak:
        for serial, payload in enumerate(sent):
            redis.xadd(KEYS.wishes, {"p": payload.replace(b'"serial":1,', b'"serial":%d,' % (serial + 10))})
        redis.xadd(KEYS.wishes, {"q": b""})
        wait_until(lambda: relay.stats().ignored >= 15, 20, "the relay to have read all that")
        feed.subscribe("ticker", [A]).wait(5)
        add_long(redis_server, KEYS.wishes, "*")
        ignored = relay.stats().ignored
        wait_until(
            lambda: relay.stats().ignored > ignored, 10, "the relay to have skipped what it cannot read"
        )
        for number in range(300):  # more consumers than a relay has
            wish = SubscribeWish(1, ["ticker"], "market_tickers", [f"KX-{number}-{n}" for n in range(50)])
            redis.xadd(KEYS.wishes, {"p": encode_wishes(Wishes(f"{number:032x}", 1, [wish]))})
        wait_until(lambda: relay.stats().consumers == 200, 20, "the relay to have read it all")
        exchange.change(A, "yes", "0.40", 77)
        wait_equal(feed, exchange, A, B)
    stats = relay.stats()
    assert peak.mib < 2 * MOST
    assert stats.is_writer
    assert stats.keys <= 1_000
