"""permessage-deflate: the offer, the answer to it, and what comes over a compressed connection."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.sync.server import Server, ServerConnection, serve

from kalshi_feed.connection.deflate import wrong_answer
from kalshi_feed.errors import ConnectionFailed, ConnectionLost

from .conftest import KEY_ID, Dialer, collect, run_to_end
from .line import Line
from .raw_server import BINARY, CLOSE, CONT, PING, PONG, TEXT, Peer, RawServer, frame

LIMIT = 1 << 16
TEXT_PART = b"ab\xe2\x82\xac" * 9
MESSAGES = [b'{"type":"note","number":%d,"text":"%s"}' % (number, TEXT_PART) for number in range(20)]


class Packer:
    """Compresses messages as a server may, one after the other."""

    def __init__(self, bits: int = 15, level: int = 6, takeover: bool = True) -> None:
        self._new = lambda: zlib.compressobj(level, zlib.DEFLATED, -bits)
        self._takeover = takeover
        self._packer = self._new()

    def __call__(self, message: bytes) -> bytes:
        """The payload of the message's frames."""
        packed = self._packer.compress(message) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        if not self._takeover:
            self._packer = self._new()
        return packed[:-4]

    def final(self, message: bytes) -> bytes:
        """The same in a stream that ends (BFINAL) and the byte that RFC 7692 7.2.3.4 puts after it."""
        packed = self._packer.compress(message) + self._packer.flush(zlib.Z_FINISH)
        self._packer = self._new()
        return packed + b"\0"


def packed_frames(payload: bytes, cuts: Sequence[int] = (), opcode: int = TEXT) -> bytes:
    """The frames of a compressed message, cut into fragments."""
    edges = [0, *cuts, len(payload)]
    parts = [payload[start:stop] for start, stop in itertools.pairwise(edges)]
    last = len(parts) - 1
    return b"".join(
        frame(CONT if number else opcode, part, fin=number == last, rsv=0 if number else 4)
        for number, part in enumerate(parts)
    )


def refused(raw: bytes, before: Sequence[bytes] = (), limit: int = LIMIT) -> ConnectionLost:
    """What ends a compressed connection on which ``raw`` comes behind ``before``, which is still read."""
    with Line(limit, compressed=True) as line, pytest.raises(ConnectionLost) as caught:
        packer = Packer()
        line.send(b"".join(packed_frames(packer(message)) for message in before) + raw)
        line.turns()
    assert line.messages == list(before)
    return caught.value


@pytest.mark.parametrize(
    "answer",
    [
        "permessage-deflate",
        " permessage-deflate ;server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8; client_max_window_bits=15",
        'permessage-deflate;client_max_window_bits = "10"',
    ],
)
def test_right_answers(answer: str) -> None:
    assert wrong_answer(answer) == ""


WRONG = {
    "permessage-bzip2": "not offered",
    "x-webkit-deflate-frame": "not offered",
    "permessage-deflate, permessage-deflate": "more than one",
    "permessage-deflate, x-other": "more than one",
    "permessage-deflate; server_max_window": "unknown",
    "permessage-deflate; server_no_context_takeover; server_no_context_takeover": "twice",
    "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9": "twice",
    "permessage-deflate; server_no_context_takeover=1": "must not have a value",
    "permessage-deflate; client_no_context_takeover=true": "must not have a value",
    "permessage-deflate; server_max_window_bits": "8 to 15",
    "permessage-deflate; client_max_window_bits": "8 to 15",
    "permessage-deflate; server_max_window_bits=7": "8 to 15",
    "permessage-deflate; server_max_window_bits=16": "8 to 15",
    "permessage-deflate; client_max_window_bits=08": "8 to 15",
    "permessage-deflate; client_max_window_bits=+9": "8 to 15",
    "permessage-deflate;": "cannot be read",
    "permessage-deflate; =9": "cannot be read",
    "permessage-deflate; server_max_window_bits=": "cannot be read",
    'permessage-deflate; server_max_window_bits="9': "cannot be read",
    "permessage-deflate; server_max_window_bits=9 9": "cannot be read",
    "": "not offered",
}


@pytest.mark.parametrize(("answer", "words"), WRONG.items())
def test_wrong_answers_fail_the_dial(dialer: Dialer, answer: str, words: str) -> None:
    def server(peer: Peer) -> None:
        peer.handshake(f"Sec-WebSocket-Extensions: {answer}\r\n".encode())
        peer.wait_closed()

    with RawServer(server) as raw, pytest.raises(ConnectionFailed, match=words) as caught:
        dialer(raw, compression=True)
    assert "compression=False" in str(caught.value)


def test_an_answer_that_echoes_the_key_does_not_show_it(dialer: Dialer) -> None:
    def server(peer: Peer) -> None:
        echo = peer.read_request()["kalshi-access-key"].encode()
        peer.handshake(b"Sec-WebSocket-Extensions: permessage-deflate; " + echo + b"\r\n")
        peer.wait_closed()

    with RawServer(server) as raw, pytest.raises(ConnectionFailed, match="unknown") as caught:
        dialer(raw, compression=True)
    assert KEY_ID not in str(caught.value)


def test_an_answer_in_two_lines_is_one_list(dialer: Dialer) -> None:
    line = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"

    def server(peer: Peer) -> None:
        peer.handshake(line + line)
        peer.wait_closed()

    with RawServer(server) as raw, pytest.raises(ConnectionFailed, match="more than one"):
        dialer(raw, compression=True)


def test_nothing_is_offered_unless_asked_for(dialer: Dialer) -> None:
    offers = []

    def server(peer: Peer) -> None:
        offers.append(peer.read_request().get("sec-websocket-extensions"))
        peer.handshake(b"Sec-WebSocket-Extensions: permessage-deflate\r\n")
        peer.wait_closed()

    with RawServer(server) as raw:
        with pytest.raises(ConnectionFailed, match="did not ask for"):
            dialer(raw)
        dialer(raw, compression=True).abort()
    assert offers == [None, "permessage-deflate; client_max_window_bits"]


def test_a_server_that_declines_is_read_uncompressed(dialer: Dialer) -> None:
    def server(peer: Peer) -> None:
        peer.handshake(behind=frame(TEXT, b"plain") + frame(TEXT, b"x", rsv=4))
        peer.wait_closed()

    with RawServer(server) as raw:
        transport = dialer(raw, compression=True)
        assert not transport.is_compressed
        messages, lost = run_to_end(transport)
    assert messages == [b"plain"]
    assert lost.code == 1002 and "reserved bits" in lost.reason


@contextlib.contextmanager
def websockets_server(heard: list[Any], **parameters: Any) -> Iterator[int]:
    """The port of a server that says MESSAGES, whole and in fragments, and hears two commands."""

    def handler(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            heard.extend(connection.recv(5) for _ in range(2))
            for message in MESSAGES:
                connection.send(message, text=True)
                connection.send([message[:10], message[10:11], message[11:]], text=True)
            connection.recv(5)

    factory = ServerPerMessageDeflateFactory(**parameters)
    server: Server = serve(handler, "127.0.0.1", 0, compression=None, extensions=[factory])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"server_no_context_takeover": True},
        {"client_no_context_takeover": True, "server_max_window_bits": 9, "client_max_window_bits": 9},
    ],
)
def test_a_server_of_another_library(dialer: Dialer, parameters: dict[str, Any]) -> None:
    heard: list[Any] = []
    with websockets_server(heard, **parameters) as port:
        transport = dialer(port, compression=True)
        assert transport.is_compressed
        transport.send_text(b"one")
        transport.send_text(b"two" * 1_000)
        assert collect(transport, 2 * len(MESSAGES)) == [one for one in MESSAGES for _ in range(2)]
        transport.abort()
    assert heard == ["one", "two" * 1_000]


def test_each_connection_begins_afresh(dialer: Dialer) -> None:
    def server(peer: Peer) -> None:
        packer = Packer()
        peer.handshake(
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
            behind=b"".join(packed_frames(packer(message)) for message in MESSAGES),
        )
        peer.wait_closed()

    with RawServer(server) as raw:
        for _ in range(2):
            transport = dialer(raw, compression=True)
            assert collect(transport, len(MESSAGES)) == MESSAGES
            transport.abort()


@pytest.mark.parametrize("takeover", [True, False])
def test_reads_that_end_at_every_byte(takeover: bool) -> None:
    packer = Packer(takeover=takeover)
    first, second, third = MESSAGES[:3]
    payload = packer(second)
    large = bytes(random.Random(1).choices(b"abcdefgh", k=1_000))
    data = (
        frame(TEXT, first)  # not every message has to be compressed
        + packed_frames(payload, (1, 1, len(payload) // 2))
        + frame(PING, b"p")
        + packed_frames(packer(large))
        + packed_frames(packer(b""))
        + packed_frames(packer(third))
    )
    for at in range(len(data) + 1):
        with Line(LIMIT, compressed=True) as line:
            line.send(data[:at])
            line.turns()
            line.send(data[at:])
            assert line.messages == [first, second, large, b"", third]
    with Line(LIMIT, compressed=True) as line:
        for at in range(len(data)):
            line.send(data[at : at + 1])
        assert line.messages == [first, second, large, b"", third]


def test_a_control_frame_between_compressed_fragments() -> None:
    payload = Packer()(MESSAGES[0])
    parts = [frame(TEXT, payload[:5], fin=False, rsv=4), frame(PING, b"p"), frame(CONT, payload[5:])]
    with Line(LIMIT, compressed=True) as line:
        line.send(b"".join(parts))
        assert line.messages == MESSAGES[:1] and line.heard()


def test_a_compressed_binary_message_is_counted_and_leaves_its_context() -> None:
    packer = Packer()
    with Line(LIMIT, compressed=True) as line:
        line.send(packed_frames(packer(MESSAGES[0]), opcode=BINARY) + packed_frames(packer(MESSAGES[1])))
        assert line.messages == [MESSAGES[1]] and line.transport.binary_ignored == 1


def test_deflate_streams_that_end() -> None:
    packer = Packer()
    payloads = [
        packer(MESSAGES[0]),
        packer.final(MESSAGES[1]),
        packer(MESSAGES[2]),
        packer.final(MESSAGES[3])[:-1] + packer(MESSAGES[4]),  # one in the middle of a message
        packer(MESSAGES[5]),
    ]
    with Line(LIMIT, compressed=True) as line:
        line.send(b"".join(map(packed_frames, payloads)))
        assert line.messages == [*MESSAGES[:3], MESSAGES[3] + MESSAGES[4], MESSAGES[5]]
    lost = refused(packed_frames(Packer().final(b"")[:-1] * 100), MESSAGES[:1])
    assert lost.code == 1002 and "deflate streams" in lost.reason


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (frame(PING, b"x", rsv=4), "compressed control"),
        (frame(PONG, rsv=4), "compressed control"),
        (frame(CLOSE, b"\x03\xe8", rsv=4), "compressed control"),
        (frame(TEXT, b"x", fin=False) + frame(CONT, b"y", rsv=4), "continuation frame"),
        (frame(TEXT, b"x", fin=False, rsv=4) + frame(CONT, b"y", rsv=4), "continuation frame"),
        (frame(TEXT, b"x", rsv=2), "reserved bits"),
        (frame(TEXT, b"x", rsv=1), "reserved bits"),
        (frame(TEXT, b"x" * 200, rsv=6), "reserved bits"),
        (frame(3, rsv=4), "reserved opcode"),
        (b"\xc1\x80", "masked"),
        (b"\xc1\x7e\x00\x05hello", "shortest"),
        (packed_frames(b"\xff\xff\xff"), "cannot be inflated"),
        (packed_frames(b"hello" * 50, (7,)), "cannot be inflated"),
        (packed_frames(b"\xff", opcode=BINARY), "cannot be inflated"),
    ],
)
def test_malformed_frames_cost_the_connection(raw: bytes, words: str) -> None:
    lost = refused(raw, MESSAGES[:2])
    assert lost.code == 1002 and words in lost.reason


def test_text_that_is_not_utf8() -> None:
    assert refused(packed_frames(Packer()(b"\xff\xfe"))).code == 1007


@pytest.mark.parametrize("cuts", [(), (10, 1_000)])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_bomb_is_refused_within_its_bound(
    cuts: tuple[int, ...], opcode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = Packer(level=9)(b"x" * (50 << 20))
    assert len(bomb) < LIMIT  # its size on the wire is not what it is refused for
    made: list[int] = []
    inflate = zlib.decompressobj

    class Watched:
        """An inflater that notes how much it made at once."""

        def __init__(self, bits: int) -> None:
            self._inflater = inflate(bits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflater, name)

        def decompress(self, data: bytes, most: int) -> bytes:
            made.append(len(self._inflater.decompress(data, most)))
            return b"x" * made[-1]

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    lost = refused(packed_frames(bomb, cuts, opcode))
    assert lost.code == 1009 and f"max_message_size={LIMIT}" in lost.reason
    assert made == [LIMIT + 1]


@pytest.mark.parametrize("is_ended", [False, True])
def test_the_bound_is_exact(is_ended: bool) -> None:
    def packed(message: bytes) -> bytes:
        packer = Packer()
        payload = packer.final(message[:9])[:-1] + packer(message[9:]) if is_ended else packer(message)
        return packed_frames(payload)

    with Line(LIMIT, compressed=True) as line:
        line.send(packed(b"x" * LIMIT) * (1 if is_ended else 2))
        assert set(line.messages) == {b"x" * LIMIT}
    assert refused(packed(b"x" * (LIMIT + 1))).code == 1009


def test_the_bound_also_holds_on_the_wire() -> None:
    assert refused(frame(TEXT, b"x" * 2_000), MESSAGES[:1], limit=1_024).code == 1009
    noise = random.Random(1).randbytes(2_000)
    assert refused(packed_frames(Packer()(noise)), MESSAGES[:1], limit=1_024).code == 1009


def test_a_read_does_not_become_many_times_the_bound() -> None:
    packer = Packer(level=9, takeover=False)
    message = b"x" * LIMIT
    with Line(LIMIT, compressed=True) as line:
        line.peer.sendall(packed_frames(packer(message)) * 100)
        for _ in range(100):
            assert line.transport.read(0.0) == [message]
        assert not line.transport.read(0.0)


@pytest.mark.parametrize("seed", range(30))
def test_any_messages_in_any_pieces(seed: int) -> None:
    """What zlib has compressed in some way comes out as it was."""
    chance = random.Random(seed)
    packer = Packer(chance.choice([9, 10, 12, 15]), chance.randrange(10), chance.random() < 0.5)
    messages, data = [], bytearray()
    for _ in range(60):
        size = chance.choice([0, 3, 20, 120, 300, 3_000, 60_000])
        letters = chance.choice(["a", "ab€", "".join(map(chr, range(32, 127)))])
        message = (
            "".join(chance.choices(letters, k=size)).encode()[: LIMIT // 2].decode(errors="ignore").encode()
        )
        messages.append(message)
        if chance.random() < 0.1:
            data += frame(TEXT, message)
            continue
        payload = packer.final(message) if chance.random() < 0.1 else packer(message)
        cuts = sorted(chance.randrange(len(payload) + 1) for _ in range(chance.choice([0, 0, 1, 3])))
        data += packed_frames(payload, cuts)
    with Line(LIMIT, compressed=True) as line:
        at = 0
        while at < len(data):
            step = chance.choice([1, 2, 7, 100, 5_000, 60_000])
            line.send(bytes(data[at : at + step]))
            at += step
        line.turns()
        assert line.messages == messages


@pytest.mark.parametrize("seed", range(20))
def test_damage_ends_the_connection_or_stays_in_its_bound(seed: int) -> None:
    chance = random.Random(seed)
    packer = Packer()
    frames = [bytearray(packer(message)) for message in MESSAGES]
    for payload in frames:
        payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
    with Line(1024, compressed=True) as line:
        with contextlib.suppress(ConnectionLost):
            line.send(b"".join(packed_frames(bytes(payload)) for payload in frames))
            line.turns()
        assert all(len(message) <= 1024 for message in line.messages)
