"""The bytes of a session in pieces of any size: the same messages, the same books, the same gaps. Faults N15,
N17, N22.

The bytes take the feed's own path: socket, transport, decoder, session. Hypothesis chooses what the network
may choose, which is where the stream is cut and so what one read brings. It also chooses what the exchange
may choose: how a message is split into frames.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from websocket import WebSocket

from kalshi_feed.connection.byte_stream import ByteStream
from kalshi_feed.connection.transport import Transport
from kalshi_feed.errors import ProtocolError
from kalshi_feed.events import FeedFault
from kalshi_feed.messages import Decoder, OrderbookDelta
from kalshi_feed.messages.decoder import undecodable
from tests.connection.raw_server import BINARY, CONT, PING, PONG, TEXT, frame
from tests.effort import effort
from tests.session.driver import BOOK, Driver, encoded, trade

MARKETS = ("A", "B", "Č")
BAD = (
    b"[]",
    b"{",
    b'{"type":"trade","sid":1,"seq":"x"}',
    b'{"type":"orderbook_delta","sid":1,"msg":{"market_ticker":"A","side":"yes","price_dollars":"NaN","delta_fp":"1"}}',
    b'{"type":"trade","a":"',  # with a comma and the next one, it would be a message
    b'"}',
)

changes = st.tuples(
    st.sampled_from(MARKETS),
    st.sampled_from([-100, 100, 250]),
    st.sampled_from([4000, 5500]),
    st.sampled_from(["yes", "no"]),
)
happenings = st.lists(
    st.one_of(changes, st.just("trade"), st.just("lost"), st.sampled_from(BAD)), min_size=1, max_size=12
)
# into how many fragments, how many characters longer, and what comes in between
forms = st.lists(
    st.tuples(
        st.integers(1, 3), st.sampled_from([0, 0, 100, 70_000]), st.sampled_from([None, PING, PONG, BINARY])
    ),
    min_size=1,
    max_size=5,
)
pieces = st.lists(st.integers(1, 9) | st.integers(10, 400) | st.just(40_000), min_size=1, max_size=30)


def started() -> tuple[Driver, list[bytes]]:
    """A session that has asked for its books and trades, and the exchange's answers."""
    driver = Driver()
    driver.want(BOOK, *MARKETS)
    driver.want("trade")
    return driver, [
        encoded(answer) for command in driver.connect() for answer in driver.venue.answer(command)
    ]


def recorded(happenings: Iterable[Any]) -> list[bytes]:
    """Return the messages of a session in which this happens."""
    driver, messages = started()
    venue = driver.venue
    for what in happenings:
        if isinstance(what, bytes):
            messages.append(what)
        elif what == "lost":
            venue.change("A", 100)
        elif what == "trade":
            subscription = venue.subscriptions["trade"]
            messages.append(encoded(trade("A", subscription.sid, subscription.next_seq())))
        else:
            messages += map(encoded, venue.change(*what))
    return messages


def framed(messages: list[bytes], forms: list[tuple[int, int, int | None]]) -> tuple[bytes, list[bytes]]:
    """Return the stream, and its messages."""
    stream, sent = b"", []
    for i, message in enumerate(messages):
        count, longer, between = forms[i % len(forms)]
        message = message + b" " * longer
        sent.append(message)
        step = -(-len(message) // count)
        parts = [message[at : at + step] for at in range(0, len(message), step)]
        for number, part in enumerate(parts):
            stream += frame(CONT if number else TEXT, part, fin=number == len(parts) - 1)
            if between in (PING, PONG) or (between is BINARY and number == len(parts) - 1):
                stream += frame(between, b"\xff\x00")
    return stream, sent


def reads(stream: bytes, pieces: list[int]) -> Iterator[list[bytes]]:
    """Return what each read of the transport brings when the stream comes in these pieces (over and over)."""
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        client: Any = WebSocket()
        transport = Transport(
            ByteStream(here),
            client,
            data=b"",
            max_message_size=1 << 20,
            idle_timeout=30.0,
            write_timeout=5.0,
            now=0.0,
        )
        at = turn = 0
        while at < len(stream):
            size = pieces[turn % len(pieces)] if turn < 500 else 40_000
            there.sendall(stream[at : at + size])
            at, turn = at + size, turn + 1
            yield transport.read(0.0)
            while transport.has_more:
                yield transport.read(0.0)
        transport.abort()


def plain(outcome: Any) -> Any:
    """Return a message, or what is reported about one that cannot be used."""
    if isinstance(outcome, OrderbookDelta):
        try:
            outcome.units()
        except ValueError as error:
            outcome = undecodable(outcome, error)
    if isinstance(outcome, FeedFault):
        return outcome.kind, plain(outcome.error)
    if isinstance(outcome, ProtocolError):  # its text may be one of two
        return outcome.type, outcome.sid, outcome.seq, outcome.market_ticker
    return outcome


@effort(60)
@given(happenings, forms, pieces)
def test_N15_N17_any_chunking_gives_the_same_messages_and_books(
    happenings: list[Any], forms: list[tuple[int, int, int | None]], pieces: list[int]
) -> None:
    stream, sent = framed(recorded(happenings), forms)
    expected, _ = started()
    for message in sent:  # each frame by itself
        expected.turn(message)
    decoder, (driver, _) = Decoder(use_yes_price=True), started()
    got: list[bytes] = []
    outcomes: list[Any] = []
    for payloads in reads(stream, pieces):
        got += payloads
        outcomes += decoder.decode_batch(payloads)
        driver.turn(*payloads)
    assert got == sent
    assert list(map(plain, outcomes)) == [plain(decoder.decode_batch([message])[0]) for message in sent]
    assert list(map(plain, driver.take())) == list(map(plain, expected.take()))
    assert {name: (book.status, book.yes, book.no) for name, book in driver.books.items()} == {
        name: (book.status, book.yes, book.no) for name, book in expected.books.items()
    }


def test_the_recorded_session_is_worth_cutting() -> None:
    messages = recorded([("A", 100, 4000, "yes"), "trade", "lost", ("Č", 100, 5500, "no")])
    types = [json.loads(message)["type"] for message in messages]
    assert sorted(types) == ["orderbook_delta"] * 2 + ["orderbook_snapshot"] * 3 + ["subscribed"] * 2 + [
        "trade"
    ]
