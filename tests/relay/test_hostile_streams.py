"""A relay's consumer and streams that no relay writes: no crash, no wrong book, and it says what is wrong."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from kalshi_feed import BookStatus, FeedState, KalshiFeed, RelayError
from kalshi_feed.recording.lines import HeaderLine, Line, encode_line
from kalshi_feed.relay import consumer as consuming
from kalshi_feed.relay import stream_reader, unpacking
from kalshi_feed.relay.layout import EntryKind
from kalshi_feed.simulator import Exchange
from tests.feed.support import A, B, FeedMaker, Recorder, wait_equal
from tests.support import wait_until

from . import consumers
from .consumers import ConsumerMaker, StreamForger, packed
from .redis_server import RedisServer

pytestmark = pytest.mark.greenlets

HEADER = encode_line(Line(kalshi_feed_recording=HeaderLine(format=1)))
BOMB = zlib.compress(b"\n" * 3_000_000)


@pytest.fixture
def forger(redis_server: RedisServer) -> StreamForger:
    return StreamForger(redis_server.client())


@pytest.fixture
def checkpoint(exchange: Exchange, make_feed: FeedMaker) -> bytes:
    """Of a feed that has the books A and B."""
    feed = make_feed()
    feed.subscribe("orderbook_delta", [A, B])
    with feed:
        wait_equal(feed, exchange, A, B)
        return packed(feed)


@pytest.fixture
def consumer(
    exchange: Exchange, checkpoint: bytes, forger: StreamForger, make_consumer: ConsumerMaker
) -> Iterator[tuple[KalshiFeed, Recorder]]:
    """A consumer that is current, and what it reports."""
    forger.beat()
    forger.checkpoint(checkpoint)
    feed = make_consumer(remote=False).start()
    heard = Recorder(feed)
    wait_until(lambda: feed.stats().relay.bootstraps)  # type: ignore[union-attr]
    assert feed.book(A).status is BookStatus.PENDING  # nothing has been written since: it may be old
    forger.beat()
    wait_equal(feed, exchange, A, B)
    yield feed, heard
    assert feed.state is not FeedState.FAILED


def wait_stale(feed: KalshiFeed) -> None:
    wait_until(lambda: feed.state is FeedState.RECONNECTING)
    assert feed.book(A).status is feed.book(B).status is BookStatus.STALE


def test_next_relay_with_a_clock_that_is_behind(
    exchange: Exchange,
    consumer: tuple[KalshiFeed, Recorder],
    forger: StreamForger,
    checkpoint: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was missed does not end before it begins."""
    feed, heard = consumer
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() - 3_600 * 10**9, sleep=time.sleep)
    monkeypatch.setattr(consumers, "time", clock)
    forger.generation, forger.number = forger.generation + 1, 0
    forger.beat()
    wait_stale(feed)
    forger.checkpoint(checkpoint)
    forger.beat_until(lambda: feed.state is FeedState.CONNECTED)
    wait_until(lambda: heard.steps()[-1] is FeedState.CONNECTED)
    assert heard.states[-1].gap_started is not None
    assert heard.states[-1].gap_started == heard.states[-1].gap_ended


def test_more_than_a_consumer_can_take_in(
    exchange: Exchange,
    consumer: tuple[KalshiFeed, Recorder],
    forger: StreamForger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is missing and the relay is on time, but what this feed has read so far is old."""
    feed, heard = consumer
    monkeypatch.setattr(stream_reader, "_AT_ONCE", 5)
    take = consuming.ConsumerEngine._entry

    def slowly(*arguments: Any) -> None:
        time.sleep(0.1)
        take(*arguments)

    monkeypatch.setattr(consuming.ConsumerEngine, "_entry", slowly)
    forger.beat(60)
    wait_stale(feed)
    wait_until(lambda: "behind" in heard.states[-1].reason)
    monkeypatch.setattr(consuming.ConsumerEngine, "_entry", take)
    forger.beat_until(lambda: feed.state is FeedState.CONNECTED)
    wait_equal(feed, exchange, A, B)
    assert feed.stats().relay.holes == 0  # type: ignore[union-attr]


def test_hole_in_a_batch(
    exchange: Exchange, consumer: tuple[KalshiFeed, Recorder], forger: StreamForger, checkpoint: bytes
) -> None:
    """Also several at once. Only a checkpoint that the stream goes on from helps."""
    feed, heard = consumer
    forger.beat(3)
    forger.add(number=forger.number + 2)
    forger.beat(3)
    forger.add(number=forger.number + 5)
    wait_stale(feed)
    assert "entries of the relay 'main' are missing" in feed.health().reasons[0]
    forger.checkpoint(checkpoint, forger.number - 2)  # before the second hole
    forger.beat()
    with pytest.raises(TimeoutError):
        feed.wait_for_book(A, 0.7)
    forger.checkpoint(checkpoint)
    forger.beat_until(lambda: feed.book(A).is_live)
    wait_equal(feed, exchange, A, B)
    assert heard.states[-1].gap_started is not None
    assert not heard.faults


def test_generations(
    exchange: Exchange, consumer: tuple[KalshiFeed, Recorder], forger: StreamForger, checkpoint: bytes
) -> None:
    """A new one, then a smaller one in an empty Redis, and a forged one to which nothing belongs."""
    feed, _ = consumer
    forger.generation, forger.number = 2_000, 0
    forger.beat(2)
    wait_stale(feed)
    assert "another relay 'main' has taken over" in feed.health().reasons[0]
    time.sleep(0.3)
    assert feed.stats().relay.holes == 1  # type: ignore[union-attr]  # the old checkpoint is not tried again
    forger.checkpoint(checkpoint, 0)
    forger.beat_until(lambda: feed.book(A).is_live)
    wait_equal(feed, exchange, A, B)
    forger.forget_all()
    forger.generation, forger.number = 1_500, 0
    forger.beat()
    wait_until(lambda: feed.state is FeedState.RECONNECTING, 5)
    forger.checkpoint(checkpoint, 0)
    forger.beat_until(lambda: feed.book(A).is_live)
    holes = feed.stats().relay.holes  # type: ignore[union-attr]
    assert holes == 2
    forger.generation = 2**62
    forger.beat()
    wait_stale(feed)
    forger.generation = 2**64 - 1
    forger.beat()
    wait_until(lambda: "not the id of an entry" in feed.health().reasons[0])
    assert feed.book(A).status is BookStatus.STALE


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"k": b"T", "n": b"soon", "p": b""}, "not a number"),
        ({"k": b"?", "n": b"1", "p": b""}, "not a valid EntryKind"),
        ({}, "EntryKind"),
        ({"k": b"L", "n": b"1", "p": b"no line\n"}, "cannot be read"),
        ({"k": b"L", "n": b"1", "p": b'{"recv_ns":1,"wish":{"do":"dance"}}\n'}, "cannot be read"),
        ({"k": b"L", "n": b"1", "p": HEADER}, "HeaderLine"),
        ({"k": b"L", "n": b"1", "p": b'{"recv_ns":1,"learned":{"market":5}}\n'}, "cannot be used"),
        ({"k": b"L", "n": b"1", "p": b'{"recv_ns":1,"event":{}}\n' * 4000}, "more than 65536"),
    ],
    ids=["time", "kind", "nothing", "line", "wish", "header", "market", "size"],
)
def test_impossible_entries(
    exchange: Exchange,
    consumer: tuple[KalshiFeed, Recorder],
    forger: StreamForger,
    checkpoint: bytes,
    fields: dict[str, bytes],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is a fault and a hole."""
    feed, heard = consumer
    monkeypatch.setattr(unpacking, "LONGEST_ENTRY", 65_536)
    forger.add_fields(fields)
    wait_stale(feed)
    wait_until(lambda: heard.kinds() == ["relay"])
    assert what in heard.faults[0].message
    forger.checkpoint(checkpoint)
    forger.beat_until(lambda: feed.book(A).is_live)
    wait_equal(feed, exchange, A, B)


def test_frames_that_are_nonsense(
    exchange: Exchange, consumer: tuple[KalshiFeed, Recorder], forger: StreamForger
) -> None:
    """They are what they would be from the exchange: unreadable, and no reason to end anything."""
    feed, heard = consumer
    forger.add(EntryKind.TURN, b'rubbish\n{"type":"orderbook_delta"}\n\xff\xfe')
    wait_until(lambda: not feed.book(A).is_live)
    wait_until(lambda: "protocol" in heard.kinds())
    forger.add(EntryKind.ANSWER, b"rubbish")
    forger.beat()
    assert feed.state is FeedState.CONNECTED


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (b"", "cut off"),
        (b"rubbish", "cannot be decompressed"),
        (BOMB, "larger than 1 MiB"),
        (zlib.compress(HEADER)[:-6], "cut off"),
        (zlib.compress(HEADER), "incomplete"),
        (zlib.compress(HEADER + b'{"recv_ns":1,"session":{"state":"CONNECTED","books":2}}\n'), "are missing"),
        (zlib.compress(HEADER + b"rubbish\n"), "cannot be read"),
    ],
    ids=["empty", "rubbish", "bomb", "cut", "header", "books", "line"],
)
def test_impossible_checkpoints(
    exchange: Exchange,
    forger: StreamForger,
    make_consumer: ConsumerMaker,
    checkpoint: bytes,
    payload: bytes,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unpacking, "LONGEST_CHECKPOINT", 2**20)
    feed = make_consumer(remote=False)
    heard = Recorder(feed)
    forger.beat()
    forger.checkpoint(payload)
    with feed:
        wait_until(lambda: heard.kinds()[:2] == ["relay", "relay"])  # it tries again
        assert what in heard.faults[0].message
        assert what in feed.health().reasons[0]
        forger.beat()
        forger.checkpoint(checkpoint)
        forger.beat_until(lambda: feed.book(A).is_live)
        wait_equal(feed, exchange, A, B)
        wait_until(lambda: heard.steps() == [FeedState.CONNECTING, FeedState.CONNECTED])


def test_later_format(forger: StreamForger, make_consumer: ConsumerMaker) -> None:
    """There is nothing that waiting could help."""
    forger.checkpoint(zlib.compress(encode_line(Line(kalshi_feed_recording=HeaderLine(format=2)))))
    feed = make_consumer().start()
    with pytest.raises(RelayError, match="format 2, and this version reads up to 1: upgrade"):
        feed.wait_until_connected(5)
    assert feed.state is FeedState.FAILED


def test_defect_in_our_own_code(
    exchange: Exchange,
    consumer: tuple[KalshiFeed, Recorder],
    forger: StreamForger,
    checkpoint: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It costs the session, not the feed."""
    feed, heard = consumer
    monkeypatch.setattr(feed._engine.session, "receive", lambda payloads, now: 1 / "")  # type: ignore[operator]
    forger.add(EntryKind.TURN, b"{}")
    wait_stale(feed)
    wait_until(lambda: heard.kinds() == ["defect"])
    forger.checkpoint(checkpoint)
    forger.beat_until(lambda: feed.book(A).is_live)
    wait_equal(feed, exchange, A, B)
    assert heard.states[-1].gap_started is not None


def test_relay_that_is_behind(
    exchange: Exchange, consumer: tuple[KalshiFeed, Recorder], forger: StreamForger
) -> None:
    """What it adds is older than it looks."""
    feed, _ = consumer
    forger.add(late=1.5)
    wait_stale(feed)
    assert "1.5 s behind" in feed.health().reasons[0]
    forger.add(late=0.5)
    forger.beat_until(lambda: feed.book(A).is_live)
    wait_equal(feed, exchange, A, B)
    assert feed.stats().relay.holes == 0  # type: ignore[union-attr]


def test_entries_that_the_network_held_back_prove_nothing(
    consumer: tuple[KalshiFeed, Recorder], forger: StreamForger, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, heard = consumer

    def taken() -> int:
        relay = feed.stats().relay
        assert relay is not None
        return relay.entries

    wait_until(lambda: feed.state is FeedState.RECONNECTING)  # nothing came for a while
    for _ in range(2):
        before = taken()
        forger.add(age=3.0)
        wait_until(lambda: taken() > before)  # noqa: B023
    assert heard.steps()[-1] is FeedState.RECONNECTING
    assert feed.book(A).status is BookStatus.STALE
    forger.beat_until(lambda: feed.book(A).is_live)
    # but if all are late, it is the clock
    monkeypatch.setattr(consuming, "_HELD_UP", 0.5)
    wait_until(lambda: feed.state is FeedState.RECONNECTING)
    began = time.monotonic()

    def is_live() -> bool:
        forger.add(age=3.0)
        time.sleep(0.02)
        return feed.book(A).is_live

    wait_until(is_live)
    assert time.monotonic() - began > 0.5
