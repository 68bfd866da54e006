"""permessage-deflate (RFC 7692): what we offer, the check of the answer, and the read buffer that inflates.

We offer what browsers offer, and never compress what we send: commands are few and small, and the RFC leaves
that open to either side whatever was agreed. So the parameters about the client need nothing of us. Those
about the server need nothing either: the inflater keeps the largest window and its context all the time,
which reads a smaller window, and messages that do not refer to earlier ones, just as well.

Owns all that is particular to a compressed connection. Without the extension nothing of this is used, but
for the check that it was not turned on unasked.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

from .byte_stream import ByteStream
from .read_ahead import CLOSE, CONT, FIN_TEXT, MESSAGE_TOO_BIG, PROTOCOL_ERROR, FrameError, ReadAhead

__all__ = ["COMPRESSED", "HEADER", "OFFER", "InflatingReadAhead", "wrong_answer"]

HEADER: Final = "sec-websocket-extensions"
OFFER: Final = "permessage-deflate; client_max_window_bits"
COMPRESSED: Final = 0x40  # RSV1 in a message's first frame

_TOKEN: Final = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'[ \t]*({_TOKEN})[ \t]*(?:=[ \t]*(?:({_TOKEN})|"({_TOKEN})")[ \t]*)?')
_TAKES_BITS: Final = {
    "server_no_context_takeover": False,
    "client_no_context_takeover": False,
    "server_max_window_bits": True,
    "client_max_window_bits": True,
}  # the parameters that an answer may have, and whether they have a value
_WINDOW_BITS: Final = re.compile("[89]|1[0-5]")

_FLUSHED: Final = b"\x00\x00\xff\xff"  # the sender leaves out this end of every message (RFC 7692 7.2.1)
_MOST_STREAMS: Final = 64  # complete deflate streams in one message; a sender needs one at most


def wrong_answer(value: str) -> str:
    """Say what is wrong with the server's answer to OFFER, the value of its HEADER; "" if all of it is right.

    Several header lines count as one with commas between.
    """
    if "," in value:
        return "it lists more than one extension"
    name, *parameters = value.split(";")
    if name.strip(" \t") != "permessage-deflate":
        return "that was not offered"
    seen = set()
    for parameter in parameters:
        found = _PARAMETER.fullmatch(parameter)
        if found is None:
            return "it cannot be read"
        key, bits = found[1], found[2] or found[3]
        if key not in _TAKES_BITS:
            return "one of its parameters is unknown"  # not which: it may be anything, even what we sent
        if key in seen:
            return f"its parameter {key} is there twice"
        seen.add(key)
        if not _TAKES_BITS[key] and bits is not None:
            return f"its parameter {key} must not have a value"
        if _TAKES_BITS[key] and (bits is None or not _WINDOW_BITS.fullmatch(bits)):
            return f"its parameter {key} must be a number from 8 to 15"
    return ""


class InflatingReadAhead(ReadAhead):
    """The read buffer of a compressed connection. Not thread-safe; owned by the reader thread."""

    def __init__(self, stream: ByteStream, max_message_size: int, data: bytes = b"") -> None:
        super().__init__(stream, max_message_size, data)
        # raw deflate with the largest window; its context is that of the messages so far
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def take_text_frames(self, out: list[bytes]) -> bool:
        """Append the messages in whole text frames, compressed or not, to ``out``; stop at anything else.

        Returns True if it stopped because max_message_size was reached by all of them together: a read of a
        few kilobytes must not become gigabytes. Raises FrameError, after the messages before it.
        """
        buffer, at, end = self._buffer, self._position, len(self._buffer)
        room = most = self._max_message_size
        while room > 0 and end - at >= 2 and buffer[at] & ~COMPRESSED == FIN_TEXT:
            length, start = buffer[at + 1], at + 2
            if length == 126 and end - at >= 4:
                length, start = buffer[at + 2] << 8 | buffer[at + 3], at + 4
                if length < 126:
                    break
            elif length >= 126:
                break
            stop = start + length
            if stop > end or length > most:
                break
            message = buffer[start:stop]
            if buffer[at] & COMPRESSED:
                message = self.inflate(message)
            out.append(message)
            room -= len(message)
            self._position = at = stop
        return room <= 0

    def content(self, first: int, payload: bytes) -> bytes:
        """What a message says. Raises FrameError."""
        return self.inflate(payload) if first & COMPRESSED else payload

    def inflate(self, payload: bytes) -> bytes:
        """A compressed message's content; never makes more than max_message_size of it. Raises FrameError."""
        most = self._max_message_size
        try:
            message = self._inflater.decompress(payload + _FLUSHED, most + 1)
            if self._inflater.eof:
                message += self._begin_again(most + 1 - len(message))
        except zlib.error as error:
            raise FrameError(PROTOCOL_ERROR, f"compressed data that cannot be inflated ({error})") from None
        if len(message) > most:
            raise FrameError(
                MESSAGE_TOO_BIG,
                f"a compressed message of more than max_message_size={most} bytes",
            )
        return message

    def _begin_again(self, room: int) -> bytes:
        """The rest of a message in which a deflate stream ended (BFINAL, RFC 7692 7.2.3.4): another begins.

        A sender that ends its stream has forgotten what it sent before, so the new one begins empty. If it
        has not, what refers to that cannot be inflated.
        """
        message = b""
        for _ in range(_MOST_STREAMS):
            rest = self._inflater.unused_data
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            if not rest or room <= len(message):
                return message
            message += self._inflater.decompress(rest, room - len(message))
            if not self._inflater.eof:
                return message
        raise FrameError(PROTOCOL_ERROR, f"more than {_MOST_STREAMS} deflate streams in a message")

    def _check_bits(self, first: int, second: int, opcode: int, in_fragments: bool) -> None:
        if first & COMPRESSED:
            if opcode & CLOSE:
                raise FrameError(PROTOCOL_ERROR, "compressed control frame")
            if opcode == CONT:
                raise FrameError(PROTOCOL_ERROR, "continuation frame with the bit for compression")
        super()._check_bits(first & ~COMPRESSED, second, opcode, in_fragments)
