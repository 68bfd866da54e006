"""The read buffer: data frames are sliced out of it; websocket-client reads control frames from it.

Nearly every frame of a market data feed is a whole, unmasked, unfragmented text frame of 126 to 65,535 bytes,
and such a frame costs one ``unpack_from`` and one slice. Every header is checked here against RFC 6455 and
the size limit before we wait for a single byte of its payload.

Owns the bytes between the stream and the frames.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from .byte_stream import ByteStream

__all__ = ["FrameError", "ReadAhead"]

CONT: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
FIN: Final = 0x80
FIN_TEXT: Final = FIN | TEXT

PROTOCOL_ERROR: Final = 1002
MESSAGE_TOO_BIG: Final = 1009
GROW_BYTES: Final = 65_536  # a larger frame is collected in place, so that its cost stays linear

_TWO_SHORTS = Struct(">HH").unpack_from
_SHORT = Struct(">H").unpack_from
_LONG = Struct(">Q").unpack_from


class FrameError(Exception):
    """The peer broke the protocol or our limit; ``code`` is the close code that says so."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class ReadAhead:
    """Stands in for the socket of a websocket.WebSocket: reads large, serves small.

    ``data`` is what arrived after the handshake. Not thread-safe; owned by the reader thread.
    """

    def __init__(self, stream: ByteStream, max_message_size: int, data: bytes = b"") -> None:
        self._stream = stream
        self._max_message_size = max_message_size
        self._buffer = data  # what was received; replaced, never changed in place
        self._position = 0  # how much of it was taken
        # the first frame while it is large and incomplete; _buffer is empty then
        self._growing: bytearray | None = None
        self._needed = 0  # the whole length of that frame

    @property
    def available(self) -> int:
        """The number of bytes received and not taken yet."""
        growing = 0 if self._growing is None else len(self._growing)
        return len(self._buffer) - self._position + growing

    def fill(self) -> int:
        """Read what has arrived; return the number of bytes. Raises what ``ByteStream.receive`` raises."""
        data = self._stream.receive()
        if not data:
            return 0
        if self._growing is not None:
            self._growing += data
            if len(self._growing) >= self._needed:
                self._buffer, self._position = bytes(self._growing), 0
                self._growing = None
        elif self._position < len(self._buffer):
            self._buffer, self._position = self._buffer[self._position :] + data, 0
        else:
            self._buffer, self._position = data, 0
        return len(data)

    def take_text_frames(self, out: list[bytes]) -> bool:
        """Append the payloads of whole text frames with a 16-bit length to ``out``; stop at anything else.

        This is the hot path. Everything that it leaves, including other text frames, is left to ``head``.
        Returns whether the rest has to wait for another read: never here, see ``InflatingReadAhead``.
        """
        if self._max_message_size < 65_535:  # then every length must be compared with it
            return False
        buffer, at, end = self._buffer, self._position, len(self._buffer)
        append, unpack = out.append, _TWO_SHORTS
        last = end - 4
        while at <= last:
            head, length = unpack(buffer, at)
            if head != 0x817E or length < 126:
                break
            at += 4
            stop = at + length
            if stop > end:
                at -= 4
                break
            append(buffer[at:stop])
            at = stop
        self._position = at
        return False

    def head(self, in_fragments: bool, assembled: int) -> tuple[int, int, int] | None:
        """Return the next frame as (first byte, payload's start, its end), or None while it is incomplete.

        The header is checked as soon as it is there. ``in_fragments`` says whether a fragmented message is
        under way, and ``assembled`` how many bytes of it there are. Raises FrameError.
        """
        buffer, at = self._buffer, self._position
        have = len(buffer) - at
        if have < 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        opcode = first & 0x0F
        self._check_bits(first, second, opcode, in_fragments)
        length, start = second, at + 2
        if length == 126:
            if have < 4:
                return None
            length, start = _SHORT(buffer, at + 2)[0], at + 4
            if length < 126:
                raise FrameError(PROTOCOL_ERROR, "frame length not in its shortest form")
        elif length == 127:
            if have < 10:
                return None
            length, start = _LONG(buffer, at + 2)[0], at + 10
            if length >> 63:
                raise FrameError(PROTOCOL_ERROR, "frame length with its highest bit set")
            if length < 65_536:
                raise FrameError(PROTOCOL_ERROR, "frame length not in its shortest form")
        if opcode < CLOSE and assembled + length > self._max_message_size:
            raise FrameError(
                MESSAGE_TOO_BIG,
                f"a message of {assembled + length} bytes, more than "
                f"max_message_size={self._max_message_size}",
            )
        stop = start + length
        if stop > len(buffer):
            if stop - at > GROW_BYTES:
                self._growing, self._needed = bytearray(memoryview(buffer)[at:]), stop - at
                self._buffer, self._position = b"", 0
            return None
        return first, start, stop

    def _check_bits(self, first: int, second: int, opcode: int, in_fragments: bool) -> None:
        if first & 0x70:
            raise FrameError(PROTOCOL_ERROR, "reserved bits set in a frame that were not agreed on")
        if second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "masked frame from the server")
        if opcode in (CLOSE, PING, PONG):
            if not first & FIN:
                raise FrameError(PROTOCOL_ERROR, "fragmented control frame")
            if second > 125:
                raise FrameError(PROTOCOL_ERROR, "control frame with more than 125 bytes")
        elif opcode == CONT:
            if not in_fragments:
                raise FrameError(PROTOCOL_ERROR, "continuation of a message that has not begun")
        elif opcode in (TEXT, BINARY):
            if in_fragments:
                raise FrameError(PROTOCOL_ERROR, "new message inside a fragmented one")
        else:
            raise FrameError(PROTOCOL_ERROR, f"reserved opcode {opcode:#x}")

    def slice(self, start: int, stop: int) -> bytes:
        """Take the payload that ``head`` announced."""
        self._position = stop
        return self._buffer[start:stop]

    def content(self, first: int, payload: bytes) -> bytes:
        """What a message says whose first frame began with the byte ``first``: here its payload."""
        return payload

    # What websocket-client needs from a socket:

    def recv(self, size: int) -> bytes:
        """Serve from the buffer; only called for a frame that is complete."""
        at = self._position
        data = self._buffer[at : at + size]
        self._position = at + len(data)
        return data

    def gettimeout(self) -> float:
        """Return 0: websocket-client then calls ``recv`` directly and never waits by itself."""
        return 0.0

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        self._stream.close()
