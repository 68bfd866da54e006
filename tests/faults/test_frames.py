"""What a peer may do to frames, as a whole feed sees it: rows N11 and N16 to N36.

The exchange is the simulator, which knows the truth. Bytes below its framing are put into its stream with
``send_bytes``. Rows about the receive path alone are in tests/connection/test_transport.py.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
import zlib
from collections.abc import Callable

import pytest

from kalshi_feed import BookStatus, ConnectionLost, FeedState, KalshiFeed
from kalshi_feed.connection import transport as transport_module
from kalshi_feed.session import retry
from kalshi_feed.simulator import Exchange
from tests import inside
from tests.connection.raw_server import BINARY, CLOSE, CONT, PING, TEXT, Peer, RawServer, frame
from tests.feed.bookkeeper import Bookkeeper
from tests.feed.conftest import QUICK
from tests.feed.support import A, B, FeedMaker, HurriedFeed
from tests.support import wait_until

NOTE = b'{"type":"note","msg":{"text":"%s"}}'


def opened(
    make_feed: FeedMaker, exchange: Exchange, cls: Callable[..., KalshiFeed] = HurriedFeed
) -> tuple[KalshiFeed, Bookkeeper]:
    """Return a feed with two LIVE books that have changed."""
    feed = make_feed(cls)
    keeper = Bookkeeper(feed, QUICK)
    feed.subscribe("orderbook_delta", [A, B])
    feed.start()
    keeper.wait_right(exchange, A, B)
    exchange.change(A, "yes", "0.41", "5")
    keeper.wait_right(exchange, A, B)
    return feed, keeper


def next_delta(exchange: Exchange, size: int) -> bytes:
    """Return the text of a delta of A with the next number."""
    [subscription] = [one for one in exchange.subscriptions if one["channel"] == "orderbook_delta"]
    return (
        b'{"type":"orderbook_delta","sid":%d,"seq":%d,"msg":{"market_ticker":"%s","market_id":"","price_dollars":"0.4200",'
        b'"delta_fp":"%d.00","side":"yes","ts":"2026-10-26T00:00:00Z","note":"\xe2\x82\xac"}}'
        % (subscription["sid"], subscription["seq"] + 1, A.encode(), size)
    )


def costs_the_connection(make_feed: FeedMaker, exchange: Exchange, raw: bytes, *words: str) -> None:
    """Nothing after ``raw`` is taken from this connection any more; the next connection makes everything
    right."""
    feed, keeper = opened(make_feed, exchange)
    exchange.send_bytes(raw + frame(TEXT, next_delta(exchange, 77)))
    wait_until(lambda: feed.stats().reconnects == 1)
    keeper.wait_right(exchange, A, B)
    [loss] = keeper.losses
    assert loss.gap_started is not None and loss.attempt == 1
    for word in words:
        assert word in loss.reason
    assert [delta.delta for delta in keeper.of("orderbook_delta")] == [5]  # the 77 was not applied
    assert keeper.kinds() == []
    feed.close()


@pytest.mark.parametrize(
    "raw",
    [
        frame(TEXT, declared=1 << 63),
        frame(TEXT, declared=(1 << 64) - 1),
        b"\x81\x7e\x00\x05hello",
        frame(TEXT, declared=65_535),
    ],
)
def test_N20_odd_lengths(exchange: Exchange, make_feed: FeedMaker, raw: bytes) -> None:
    costs_the_connection(make_feed, exchange, raw, "1002", "length")


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_N24_reserved_opcodes(exchange: Exchange, make_feed: FeedMaker, opcode: int) -> None:
    costs_the_connection(make_feed, exchange, frame(opcode, b"x"), "1002", f"reserved opcode {opcode:#x}")


@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
@pytest.mark.parametrize("payload", [b"x", b"x" * 200])
def test_N25_reserved_bits(exchange: Exchange, make_feed: FeedMaker, rsv: int, payload: bytes) -> None:
    costs_the_connection(make_feed, exchange, frame(TEXT, payload, rsv=rsv), "1002", "reserved bits")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (frame(PING, b"x", rsv=4), "compressed control frame"),
        (frame(TEXT, b"x", fin=False) + frame(CONT, b"y", rsv=4), "continuation frame"),
        (frame(TEXT, b"x", rsv=2), "reserved bits"),
        (frame(TEXT, b"\xff", rsv=4), "cannot be inflated"),
    ],
)
def test_N25_frames_of_a_compressed_connection(
    exchange: Exchange, make_feed: FeedMaker, raw: bytes, words: str
) -> None:
    costs_the_connection(functools.partial(make_feed, compression=True), exchange, raw, "1002", words)


def test_N18_a_small_message_that_inflates_to_a_large_one(exchange: Exchange, make_feed: FeedMaker) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b" " * (64 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    raw = frame(TEXT, bomb[:-4], rsv=4)
    assert len(raw) < 100_000
    compressed = functools.partial(make_feed, compression=True)
    costs_the_connection(compressed, exchange, raw, "1009", "max_message_size=16777216")


@pytest.mark.parametrize(
    "raw", [b"\x81\x85\x00\x00\x00\x00hello", b"\x89\x80\x01\x02\x03\x04", b"\x81\xfe\x00\xff" + b"\0" * 259]
)
def test_N26_masked_frames(exchange: Exchange, make_feed: FeedMaker, raw: bytes) -> None:
    costs_the_connection(make_feed, exchange, raw, "1002", "masked")


@pytest.mark.parametrize(
    "raw",
    [
        frame(PING, b"x" * 126),
        frame(PING, b"x", fin=False),
        frame(CLOSE, b"\x03\xe8" + b"x" * 124),
        frame(10, b"", fin=False),
    ],
)
def test_N27_long_and_fragmented_control_frames(exchange: Exchange, make_feed: FeedMaker, raw: bytes) -> None:
    pongs = exchange.pongs
    costs_the_connection(make_feed, exchange, raw, "1002", "control frame")
    assert exchange.pongs == pongs


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (frame(CONT, b"x"), "has not begun"),
        (frame(CONT, b"x", fin=False), "has not begun"),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"), "inside a fragmented one"),
        (frame(TEXT, b"x", fin=False) + frame(TEXT, b"y" * 200), "inside a fragmented one"),
        (frame(TEXT, b"x", fin=False) + frame(BINARY, b"y"), "inside a fragmented one"),
        (frame(TEXT, b"x", fin=False) + frame(CONT, b"y") + frame(CONT, b"z"), "has not begun"),
    ],
)
def test_N28_fragments_out_of_order(exchange: Exchange, make_feed: FeedMaker, raw: bytes, words: str) -> None:
    if raw.endswith(b"z"):  # one message is complete, so it is taken
        raw = raw.replace(
            frame(TEXT, b"x", fin=False) + frame(CONT, b"y"),
            frame(TEXT, NOTE[:9], fin=False) + frame(CONT, NOTE[9:]),
        )
    costs_the_connection(make_feed, exchange, raw, "1002", words)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x03",
        b"\x03\xe7",
        b"\x03\xed",
        b"\x03\xee",
        b"\x03\xf7",
        b"\x00\x00",
        b"\xff\xff",
        b"\x03\xe8\xff\xff",
        b"\x03\xe8\xed\xa0\x80",
    ],
)
def test_N33_invalid_closes(exchange: Exchange, make_feed: FeedMaker, payload: bytes) -> None:
    costs_the_connection(make_feed, exchange, frame(CLOSE, payload), "1002")


def test_N33_a_close_without_a_code(exchange: Exchange, make_feed: FeedMaker) -> None:
    costs_the_connection(make_feed, exchange, frame(CLOSE), "closed by the peer without a code")


@pytest.mark.parametrize(
    "bad", [b"\xff", NOTE.replace(b"%s", b"\xc3"), NOTE.replace(b"%s", b"\xed\xa0\x80"), b"x" * 300 + b"\x80"]
)
def test_N21_invalid_utf8(exchange: Exchange, make_feed: FeedMaker, bad: bytes) -> None:
    costs_the_connection(make_feed, exchange, frame(TEXT, bad), "1007", "UTF-8")


def test_N19_huge_length_and_then_a_drip(exchange: Exchange, make_feed: FeedMaker) -> None:
    costs_the_connection(
        make_feed, exchange, frame(TEXT, b"x", declared=1 << 40), "1009", "max_message_size=16777216"
    )


def test_N18_fragments_without_end(exchange: Exchange, make_feed: FeedMaker) -> None:
    # 20 MB, where 16 MiB are allowed
    raw = frame(TEXT, b"x" * 4_096, fin=False) + frame(CONT, b"x" * 4_096, fin=False) * 5_000
    costs_the_connection(make_feed, exchange, raw, "1009", "max_message_size=16777216")


# What is not a fault


def as_fragments(exchange: Exchange, cut: Callable[[bytes], list[bytes]], between: bytes = b"") -> None:
    """Change the book of A, and send the delta in several frames."""
    text = next_delta(exchange, 3)
    exchange.lose(1)
    exchange.change(A, "yes", "0.42", "3")
    first, *rest = cut(text)
    frames = [frame(TEXT, first, fin=False), *(frame(CONT, part, fin=False) for part in rest), frame(CONT)]
    exchange.send_bytes(between.join(frames))


def test_N17_fragments_with_pings_between(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed, keeper = opened(make_feed, exchange)
    pongs = exchange.pongs
    as_fragments(
        exchange, lambda text: [text[at : at + 30] for at in range(0, len(text), 30)], frame(PING, b"between")
    )
    keeper.wait_right(exchange, A)
    exchange.change(A, "yes", "0.42", "1")  # nothing is missing in the sequence
    keeper.wait_right(exchange, A)
    wait_until(lambda: exchange.pongs > pongs)
    assert [delta.delta for delta in keeper.of("orderbook_delta")] == [5, 3, 1]
    assert feed.stats().gaps == feed.stats().reconnects == 0


def test_N22_a_character_split_over_fragments(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed, keeper = opened(make_feed, exchange)
    for at in (1, 2):
        as_fragments(
            exchange,
            lambda text: [text[: text.index(b"\xe2") + at], text[text.index(b"\xe2") + at :]],  # noqa: B023
        )
        keeper.wait_right(exchange, A)
    assert len(keeper.of("orderbook_delta")) == 3
    assert feed.stats().gaps == feed.stats().reconnects == 0


def test_N23_binary_frames_are_counted_and_too_many_cost_the_connection(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    feed, keeper = opened(make_feed, exchange)
    for _ in range(10):
        exchange.send_bytes(frame(BINARY, b'{"type":"note","msg":{}}'))
    exchange.change(A, "yes", "0.42", "1")
    keeper.wait_right(exchange, A)
    wait_until(lambda: feed.stats().faults == {"binary_frame": 10})
    assert feed.stats().reconnects == 0
    exchange.send_bytes(frame(BINARY, b"\0\xff"))
    wait_until(lambda: feed.stats().reconnects == 1)
    keeper.wait_right(exchange, A, B)
    assert feed.stats().faults == {"binary_frame": 11} and keeper.kinds() == ["binary_frame"] * 11
    assert "11 unreadable frames" in keeper.losses[0].reason
    assert keeper.of("note") == []


def test_N11_data_without_pings_is_a_sign_of_life(exchange: Exchange, make_feed: FeedMaker) -> None:
    exchange.pings = False
    feed = make_feed(HurriedFeed, idle_timeout=1.0)
    keeper = Bookkeeper(feed)
    feed.start().wait_for_book(A, 5)
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        seen = feed.book(A).version
        exchange.change(A, "yes", "0.42", "1")
        feed.book(A).wait_for_update(5, after=seen)
        assert feed.state is FeedState.CONNECTED
    keeper.wait_right(exchange, A)
    assert feed.stats().reconnects == 0 and exchange.pongs == 0


def test_N16_a_burst_arrives_in_order_and_starves_nothing(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed, keeper = opened(make_feed, exchange)
    burst = b"".join(frame(TEXT, NOTE % (b"%05d" % number + b"." * 150)) for number in range(10_000))
    pongs = exchange.pongs
    exchange.send_bytes(burst + frame(PING, b"p"))
    wait_until(lambda: len(keeper.of("note")) == 10_000, 20)
    assert [int(note.msg["text"][:5]) for note in keeper.of("note")] == list(range(10_000))
    wait_until(lambda: exchange.pongs > pongs)
    exchange.change(A, "yes", "0.42", "1")
    keeper.wait_right(exchange, A, B)
    assert feed.stats().reconnects == 0


def test_N16_close_and_commands_are_served_in_an_endless_burst(
    exchange: Exchange, make_feed: FeedMaker
) -> None:
    frames = frame(TEXT, NOTE % (b"." * 150)) * 1_000
    commands: list[bytes] = []
    subscribed = threading.Event()

    def endless(peer: Peer) -> None:
        peer.handshake()
        commands.append(peer.read_frame()[1])  # sent before the burst

        def listen() -> None:
            commands.append(peer.read_frame()[1])
            subscribed.set()

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            while True:
                peer.send(frames)
        finally:
            listener.join(5)

    with RawServer(endless) as server:
        feed = make_feed(url=f"ws://127.0.0.1:{server.port}/trade-api/ws/v2")
        feed.on("note", lambda note: None)
        feed.subscribe("orderbook_delta", A)
        feed.start()
        wait_until(lambda: feed.stats().messages.get("note", 0) > 5_000)
        feed.subscribe("trade", A)
        assert subscribed.wait(5) and b'"trade"' in commands[1]
        began = time.monotonic()
        feed.close(timeout=1.0)
        assert time.monotonic() - began < 2.5 and feed.state is FeedState.CLOSED


def test_N14_a_dripping_frame_is_dropped_and_commands_go_out_meanwhile(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport_module, "FRAME_SECONDS", 1.0)
    feed, keeper = opened(make_feed, exchange, KalshiFeed)
    exchange.send_bytes(frame(TEXT, declared=100_000))
    began = time.monotonic()
    feed.subscribe("trade", A)
    exchange.wait_for_command("subscribe", n=2)
    while not keeper.losses:
        assert time.monotonic() - began < 5
        exchange.send_bytes(b"x")
        time.sleep(0.02)
    assert time.monotonic() - began > 0.9 and "incomplete" in keeper.losses[0].reason
    wait_until(lambda: feed.stats().reconnects == 1)
    keeper.wait_right(exchange, A, B)


def test_N14_close_is_served_within_a_dripping_frame(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed, _ = opened(make_feed, exchange)
    exchange.send_bytes(frame(TEXT, declared=100_000))
    wait_until(
        lambda: inside.transport(feed) is not None and inside.transport(feed)._partial_since is not None
    )
    began = time.monotonic()
    feed.close(timeout=0.5)  # the exchange's answer is taken as part of the frame
    assert time.monotonic() - began < 1.5 and feed.state is FeedState.CLOSED


# The peer's close


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going away"), (1000, "ciao €")])
def test_N29_an_ordinary_close(exchange: Exchange, make_feed: FeedMaker, code: int, reason: str) -> None:
    feed, keeper = opened(make_feed, exchange)
    exchange.close_connections(code, reason)
    wait_until(lambda: feed.stats().reconnects == 1)
    keeper.wait_right(exchange, A, B)
    [loss] = keeper.losses
    assert str(code) in loss.reason and reason in loss.reason
    assert loss.attempt == 1 and loss.delay is not None and 0.01 <= loss.delay <= 0.02
    assert feed.state is FeedState.CONNECTED


def test_N30_policy_closes_are_retried_slowly_and_end_it_after_five(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_SLOW_DELAY", 0.3)
    feed = make_feed(KalshiFeed)
    keeper = Bookkeeper(feed, QUICK)
    book = feed.book(A)
    feed.subscribe("orderbook_delta", A)
    feed.start()
    ended: list[float] = []
    for number in range(1, 6):
        exchange.wait_for_handshakes(number)
        if ended:
            assert time.monotonic() - ended[-1] >= 0.15
        keeper.wait_right(exchange, A)
        ended.append(time.monotonic())
        exchange.close_connections(1008, "you again")
    wait_until(lambda: feed.state is FeedState.FAILED)
    with pytest.raises(ConnectionLost, match=r"1008: you again \(five times") as caught:
        feed.wait_until_connected(1)
    assert caught.value.code == 1008
    assert [loss.attempt for loss in keeper.losses] == [1, 2, 3, 4]
    assert all(loss.delay is not None and 0.15 <= loss.delay <= 0.3 for loss in keeper.losses)
    assert len(exchange.handshakes) == 5
    assert book.status is BookStatus.STALE


@pytest.mark.parametrize(("code", "is_slow"), [(1011, False), (1012, True), (1013, True)])
def test_N31_trouble_and_restarts(
    exchange: Exchange, make_feed: FeedMaker, monkeypatch: pytest.MonkeyPatch, code: int, is_slow: bool
) -> None:
    monkeypatch.setattr(retry, "_SLOW_DELAY", 0.5)
    feed, keeper = opened(make_feed, exchange)
    began = time.monotonic()
    exchange.close_connections(code)
    exchange.wait_for_handshakes(2)
    assert not is_slow or time.monotonic() - began >= 0.25
    keeper.wait_right(exchange, A, B)
    [loss] = keeper.losses
    assert str(code) in loss.reason and loss.delay is not None
    assert (0.25 <= loss.delay <= 0.5) if is_slow else (0.01 <= loss.delay <= 0.02)
    assert feed.state is FeedState.CONNECTED


@pytest.mark.parametrize("code", [3000, 3999, 4001, 4999])
def test_N32_private_codes(
    exchange: Exchange, make_feed: FeedMaker, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    feed, keeper = opened(make_feed, exchange)
    exchange.close_connections(code, "of our own")
    wait_until(lambda: feed.stats().reconnects == 1)
    keeper.wait_right(exchange, A, B)
    [loss] = keeper.losses
    assert f"{code}: of our own" in loss.reason and loss.attempt == 1
    assert (
        len([r for r in caplog.records if r.levelno >= logging.WARNING and str(code) in r.getMessage()]) == 1
    )


def test_N34_a_close_and_a_reset_behind_it(exchange: Exchange, make_feed: FeedMaker) -> None:
    def slam(peer: Peer) -> None:
        peer.handshake()
        time.sleep(0.1)  # the feed's commands lie unread, so closing resets the connection
        peer.send(frame(CLOSE, b"\x0f\xa1bye"))
        peer.reset()

    with RawServer(slam) as server:
        feed = make_feed(url=f"ws://127.0.0.1:{server.port}/trade-api/ws/v2")
        keeper = Bookkeeper(feed, QUICK)
        feed.subscribe("orderbook_delta", [f"KXUNREAD-{number}" for number in range(2_000)])
        feed.start()
        wait_until(lambda: len(keeper.losses) >= 3)
        feed.close()
    assert {loss.reason for loss in keeper.losses} == {"the connection was closed with code 4001: bye"}


def test_N35_a_peer_that_ignores_our_close(exchange: Exchange, make_feed: FeedMaker) -> None:
    feed, _ = opened(make_feed, exchange)
    exchange.freeze()
    began = time.monotonic()
    feed.close(timeout=0.5)
    assert 0.4 < time.monotonic() - began < 2.0 and feed.state is FeedState.CLOSED


def test_N36_a_peer_that_closes_and_keeps_the_connection(exchange: Exchange, make_feed: FeedMaker) -> None:
    gone = threading.Event()

    def lazy(peer: Peer) -> None:
        peer.handshake()
        peer.send(frame(CLOSE, b"\x03\xe8"))
        peer.wait_closed()  # our side has to do it
        gone.set()

    with RawServer(lazy) as server:
        feed = make_feed(url=f"ws://127.0.0.1:{server.port}/trade-api/ws/v2")
        keeper = Bookkeeper(feed, QUICK)
        feed.start()
        assert gone.wait(5)
        wait_until(lambda: keeper.losses)
        feed.close()
