"""Requests read from bytes: in any pieces, and whatever they contain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kalshi_feed.simulator.http_wire import HttpAnswer, HttpRequest, RequestReader, speaks_rest

LINES = st.sampled_from(
    [
        b"GET /trade-api/v2/markets HTTP/1.1",
        b"POST /trade-api/v2/markets?a=%FF&b HTTP/1.0",
        b"GET /trade-api/v2/%E2%82%AC HTTP/1.1",
        b"Host: x",
        b"Content-Length: 3",
        b"Content-Length: 999999999",
        b"Connection: close",
        b"Upgrade: websocket",
        b"A:\xff",
        b"",
        b"abc",
    ]
)
STREAMS = st.lists(LINES | st.binary(max_size=12), max_size=12).map(lambda lines: b"\r\n".join(lines))


def read(pieces: list[bytes]) -> list[HttpRequest | HttpAnswer]:
    reader, found = RequestReader(), []
    for piece in pieces:
        assert reader.feed(piece)
        while (one := reader.next()) is not None:
            found.append(one)
    return found


@given(STREAMS, st.data())
def test_pieces_make_no_difference_and_nothing_raises(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole = read([stream])
    assert read(pieces) == whole
    for one in whole:
        if isinstance(one, HttpRequest):
            assert isinstance(one.query, dict) and isinstance(one.path, str)
        else:
            assert one.fate == "close" and one is whole[-1]
            assert one.encoded(0).startswith(b"HTTP/1.1 4")


def test_openings() -> None:
    rest = b"GET /trade-api/v2/markets HTTP/1.1\r\nHost: x\r\n\r\n"
    assert [speaks_rest(rest[:end]) for end in (0, 3, 30, len(rest) - 1, len(rest))] == [None] * 4 + [True]
    assert speaks_rest(b"\r\n" + rest) is True
    assert speaks_rest(rest.replace(b"Host: x", b"upgrade : websocket")) is False
    assert speaks_rest(rest.replace(b"Host: x", b"X-Upgrade: no")) is True
    assert speaks_rest(b"GET /trade-api/ws/v2 HTTP/1.1\r\n") is False
    assert speaks_rest(b"GET /trade-api/v22/markets HTTP/1.1\r\n") is False
    assert speaks_rest(b"\x16\x03\x01" + b"x" * 100) is False
