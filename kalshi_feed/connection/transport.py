"""The open connection: messages in, commands out, pings answered, silence and stalls noticed.

Only ``close`` blocks. Everything received before the end is handed out first: a ``read`` that returns
messages never also raises; the next one does.

A message must be complete within FRAME_SECONDS, unless MIN_BYTES_PER_SECOND of it keep arriving, measured
over periods of that length: a large snapshot on a slow line is a sign of life, a frame that drips in byte by
byte is not (N14, N40).

After a jump of the clocks (the machine slept, or the wall clock was set) it is unknown whether the peer is
still there: we send one ping, and the connection counts as lost if no answer comes within ANSWER_SECONDS
(N44, N45).

Owns the liveness rules and the closing handshake, and acts on what an Ending knows. A ConnectionLost with
code 1002, 1007 or 1009 means that we closed with that code because of what the peer sent; any other code came
from the peer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import datetime
from typing import Any, Final

import websocket

from ..clocks import ClockWatch, Jump
from ..errors import ConnectionLost
from .byte_stream import ByteStream, EndOfStream
from .deflate import InflatingReadAhead
from .ending import Ending, EndingStage
from .read_ahead import CLOSE, FIN, FIN_TEXT, PING, PONG, TEXT, FrameError, ReadAhead
from .switch_interval import Hurry
from .wakeup import wait_ready

__all__ = ["Transport"]

FRAME_SECONDS: Final = 10.0
MIN_BYTES_PER_SECOND: Final = 1_000
ANSWER_SECONDS: Final = 3.0  # to answer the ping after a jump of the clocks
NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
INVALID_TEXT: Final = 1007
OUR_PING: Final = b"kalshi_feed"


class Transport:
    """An open connection. Not thread-safe: owned by the dialing thread (checked), except for ``abort``.

    ``now`` is always time.monotonic(). ``server_time`` is the Date of the handshake's answer, or None;
    ``clock_skew`` is our clock minus the server's at that moment, in seconds (the server's has whole seconds
    only), or None.
    """

    # after this many frames that are not plain text, the reader's other duties get their turn (N16)
    _slow_frames_per_read = 256

    def __init__(
        self,
        stream: ByteStream,
        client: Any,
        *,
        data: bytes,
        max_message_size: int,
        compressed: bool = False,
        idle_timeout: float,
        write_timeout: float,
        now: float,
        server_time: datetime | None = None,
        clock_skew: float | None = None,
        via: str = "",
        watch: ClockWatch | None = None,
    ) -> None:
        self._stream = stream
        self.is_compressed = compressed  # whether the peer agreed to permessage-deflate
        self._ahead = (InflatingReadAhead if compressed else ReadAhead)(stream, max_message_size, data)
        self._client = client  # a websocket.WebSocket, which reads from the buffer instead of a socket
        self._client.sock = self._ahead
        self._idle_timeout = idle_timeout  # seconds without a byte until the connection is lost
        self._write_timeout = write_timeout  # seconds without progress until a stalled write is a loss
        self._via = via  # " (through the proxy …)" for the reason of a loss, or ""
        self._owner = threading.get_ident()  # the dialing thread
        self.server_time = server_time
        self.clock_skew = clock_skew
        self.last_received = now  # when a byte last came, or when resume() excused the silence
        self.slept = 0.0  # seconds the machine slept since the owner last reset this to 0
        self.awake_at = 0.0  # Unix time of the last byte before it slept; the answer may be in the same read
        self.bytes_received = len(data)  # after decryption, including frame headers
        self.binary_ignored = 0  # binary messages so far

        self._hurry = Hurry()  # whether reads have had to wait for the GIL
        self._unparsed = bool(data)  # the buffer may hold whole frames that no read has looked at yet
        self._fragments: bytearray | None = None  # the message under way; None between messages
        self._fragments_first = 0  # its first frame's first byte
        self._slow_frames = 0  # taken one by one; counted to see whether the stream makes progress
        self._partial_since: float | None = None  # when the message that is incomplete now started
        self._progress = (0.0, 0)  # of that message: watched since when, and how much of it there was then

        self._outbox: deque[bytes] = deque()  # encoded frames not yet handed to the stream
        self._pong: bytes | None = None  # the newest one the socket was not ready for
        self._unsent_since: float | None = None  # the last progress while something waits to be written
        self._pinged = False  # whether we have sent a ping since the last byte received
        self._watch = watch or ClockWatch()  # looks at the clocks at each read
        self._last_byte = now, time.time()  # when the last byte came, in monotonic and in Unix seconds
        self._jump: Jump | None = None  # the jump whose ping has not been answered yet
        self._jumped_at = 0.0  # when that ping was sent
        # the same before that jump: the first bytes after it may have been sent long before
        self._last_byte_before = self._last_byte
        self._ending = Ending()  # how far the end has come

    # Reading

    def fileno(self) -> int:
        """The socket's descriptor, to wait on; -1 once it is closed."""
        return self._stream.fileno()

    @property
    def arriving_since(self) -> float | None:
        """When the message that is incomplete now started (time.monotonic()); None if there is none."""
        return self._partial_since

    @property
    def has_more(self) -> bool:
        """Whether ``read`` has something to return or raise without waiting for the socket."""
        return self._unparsed or self._ending.has_begun or self._stream.has_failed

    @property
    def last_byte(self) -> tuple[float, float]:
        """When the last byte came that proves the peer is there, as (time.monotonic(), time.time())."""
        return self._last_byte if self._jump is None else self._last_byte_before

    @property
    def is_behind(self) -> bool:
        """Whether the last ``read`` was so large that an expected message may still be unread."""
        return self._stream.is_behind

    def read(self, now: float) -> list[bytes]:
        """Return the complete text messages that have arrived, in order, each valid UTF-8. Never blocks.

        Raises ConnectionLost once everything before it was returned, and the owner has reset ``slept``.
        """
        self._check_owner()
        ending = self._ending
        if ending.loss is not None:
            raise ending.loss
        messages: list[bytes] = []
        slow_frames, binary = self._slow_frames, self.binary_ignored
        if not self._unparsed:
            self._fill(now)
        try:
            self._parse(messages, now)
        except FrameError as error:
            self._fail(error.code, error.reason, now)
        except websocket.WebSocketException as error:  # a close frame with an invalid code
            self._fail(PROTOCOL_ERROR, str(error), now)
        if messages and not b"".join(messages).isascii():
            self._check_text(messages, now)
        if ending.loss is None and not self._unparsed:
            if ending.has_begun:
                ending.conclude(self._ahead.available > 0 or self._fragments is not None, self._via)
            new_message = bool(messages) or self.binary_ignored != binary
            self._watch_partial(now, new_message, new_message or self._slow_frames != slow_frames)
        if ending.loss is not None and not messages and not self.slept:
            raise ending.loss
        return messages

    def _fill(self, now: float) -> None:
        ending = self._ending
        if ending.read_error is not None:
            return
        wall = time.time()
        jump = self._watch.look(now, wall)
        if jump is not None:
            self._take_jump(jump, now)
        try:
            with self._hurry:
                count = self._ahead.fill()
        except (EndOfStream, OSError) as error:
            ending.stop_reading(error)
            return
        if count:
            self.last_received = now
            self._last_byte = now, wall
            # by now, everything that was on its way has come
            if self._jump is not None and now >= self._jumped_at + ANSWER_SECONDS:
                self._jump = None
            self.bytes_received += count
            self._pinged = False
        elif ending.write_error is not None:  # the socket is dead, and there is nothing left to read from it
            ending.stop_reading(ending.write_error)

    def _parse(self, messages: list[bytes], now: float) -> None:
        ahead = self._ahead
        self._unparsed = False
        for _ in range(self._slow_frames_per_read):
            if self._fragments is None and ahead.take_text_frames(messages):
                break
            assembled = 0 if self._fragments is None else len(self._fragments)
            head = ahead.head(self._fragments is not None, assembled)
            if head is None:
                return
            first, start, stop = head
            if first == FIN_TEXT:
                messages.append(ahead.slice(start, stop))
                continue
            self._slow_frames += 1
            if first & CLOSE:
                self._take_control(first & 0x0F, self._client.recv_frame().data, now)
                if self._ending.close_received:
                    return
            else:
                self._take_data(first, ahead.slice(start, stop), messages)
        self._unparsed = True

    def _take_control(self, opcode: int, payload: bytes, now: float) -> None:
        if opcode == PING:
            self._pong = _encode(payload, PONG)
            self._flush(now)
        elif opcode == PONG:
            self._jump = None
        elif opcode == CLOSE:
            self._take_close(payload, now)

    def _take_close(self, payload: bytes, now: float) -> None:
        try:
            self._ending.take_close(payload)
        except UnicodeDecodeError:
            self._fail(PROTOCOL_ERROR, "a close frame whose reason is not UTF-8", now)
        else:
            self._send_close(payload[:2], now)

    def _take_data(self, first: int, payload: bytes, messages: list[bytes]) -> None:
        if self._fragments is None:
            self._fragments, self._fragments_first = bytearray(), first
        self._fragments += payload
        if not first & FIN:
            return
        message = self._ahead.content(self._fragments_first, bytes(self._fragments))
        if self._fragments_first & 0x0F == TEXT:
            messages.append(message)
        else:
            self._take_binary(message)
        self._fragments = None

    def _take_binary(self, payload: bytes) -> None:
        """Only count it: the exchange never sends any. tests/autobahn overrides this, to echo them."""
        self.binary_ignored += 1

    def _check_text(self, messages: list[bytes], now: float) -> None:
        for position, message in enumerate(messages):
            try:
                message.decode()
            except UnicodeDecodeError:
                del messages[position:]
                self._fail(INVALID_TEXT, "a text message that is not UTF-8", now)
                return

    def _watch_partial(self, now: float, new_message: bool, new_frame: bool) -> None:
        """Note since when the first message is incomplete, for the stall rule at the top of this module.

        The time starts again with each complete message. Inside a fragmented message, single frames do not
        count as progress, only bytes do: enough of them in FRAME_SECONDS start a new period.
        """
        fragmented, arrived = self._fragments is not None, self._arrived()
        if not fragmented and not arrived:
            self._partial_since = None
        elif self._partial_since is None or (new_message if fragmented else new_frame):
            self._partial_since = now
            self._progress = now, arrived
        elif (
            now >= self._progress[0] + FRAME_SECONDS
            and arrived >= self._progress[1] + FRAME_SECONDS * MIN_BYTES_PER_SECOND
        ):
            self._progress = now, arrived

    def _fail(self, code: int, reason: str, now: float) -> None:
        """End the connection because the peer broke the protocol, and tell the peer so."""
        self._ending.lose(ConnectionLost(code, reason))
        self._send_close(code.to_bytes(2, "big"), now)

    # Writing

    @property
    def wants_write(self) -> bool:
        """Whether to wait for the socket to become writable, too, and then call ``flush``."""
        if self._ending.write_error is not None:
            return False
        queued = bool(self._outbox) or self._pong is not None
        return self._stream.wants_write or (queued and not self._stream.unsent_bytes)

    def send_text(self, data: bytes) -> None:
        """Queue a text message (valid UTF-8) for ``flush``; silently dropped once the end has begun."""
        self._send(data, TEXT)

    def _send(self, data: bytes, opcode: int) -> None:
        self._check_owner()
        if self._ending.takes_frames:
            self._outbox.append(_encode(data, opcode))

    def flush(self, now: float) -> None:
        """Send what the socket takes. Never raises: ``read`` reports a dead socket, after its messages."""
        self._check_owner()
        self._flush(now)

    def _flush(self, now: float) -> None:
        if self._ending.write_error is not None:
            return
        stream = self._stream
        try:
            progress = stream.flush()
            while not stream.unsent_bytes and (self._pong is not None or self._outbox):
                if self._pong is not None:
                    frame, self._pong = self._pong, None
                else:
                    frame = self._outbox.popleft()
                stream.write(frame)
                progress = 1
        except (OSError, EndOfStream) as error:
            self._ending.stop_writing(error)
            self._outbox.clear()
            self._pong = None
            self._unsent_since = None
            return
        if not stream.unsent_bytes:
            self._unsent_since = None
        elif progress or self._unsent_since is None:
            self._unsent_since = now

    def _send_close(self, payload: bytes, now: float) -> None:
        if self._ending.close_sent:
            return
        self._ending.close_sent = True
        self._pong = None
        self._outbox.clear()
        self._outbox.append(_encode(payload, CLOSE))
        self._flush(now)

    # Time

    def next_deadline(self) -> float:
        """When ``tick`` is due if nothing happens before (time.monotonic())."""
        when = self.last_received + (self._idle_timeout if self._pinged else self._idle_timeout / 2)
        if self._unsent_since is not None:
            when = min(when, self._unsent_since + self._write_timeout)
        if self._partial_since is not None:
            when = min(when, self._progress[0] + FRAME_SECONDS)
        if self._jump is not None:
            when = min(when, max(self._jumped_at, self.last_received) + ANSWER_SECONDS)
        return when

    def tick(self, now: float) -> None:
        """Do what is due: send the ping, or raise ConnectionLost for silence or a stall."""
        self._check_owner()
        if self._ending.loss is not None or now < self.next_deadline():
            return
        reason = self._overdue(now)
        if reason:
            loss = ConnectionLost(None, reason + self._via)
            self._ending.lose(loss)
            raise loss
        self._pinged = True
        self._outbox.append(_encode(OUR_PING, PING))
        self._flush(now)

    def resume(self, now: float) -> None:
        """Note that we paused reading: the peer is not to blame for the silence until ``now``."""
        self.last_received = now
        self._pinged = False
        self._progress = now, self._arrived()

    def _overdue(self, now: float) -> str:
        """Return why to give up the connection; "" if only the ping is due."""
        if now >= self.last_received + self._idle_timeout:
            return f"no byte for {self._idle_timeout:g} s"
        if self._unsent_since is not None and now >= self._unsent_since + self._write_timeout:
            return f"the peer took no byte for {self._write_timeout:g} s"
        if self._partial_since is not None and now >= self._progress[0] + FRAME_SECONDS:
            return f"a message was still incomplete after {now - self._partial_since:.0f} s"
        if self._jump is not None and now >= max(self._jumped_at, self.last_received) + ANSWER_SECONDS:
            return f"{self._jump}, and a ping was not answered within {ANSWER_SECONDS:g} s"
        return ""

    def _take_jump(self, jump: Jump, now: float) -> None:
        """Ask the peer whether it is still there."""
        if jump.slept and not self.slept:
            self.awake_at = self.last_byte[1]
        if self._jump is None:
            self._last_byte_before = self._last_byte
        self._jump, self._jumped_at = jump, now
        self.slept += jump.slept
        self._send(OUR_PING, PING)
        self._flush(now)

    def _arrived(self) -> int:
        """How many bytes there are of the message that is incomplete now."""
        return self._ahead.available + (0 if self._fragments is None else len(self._fragments))

    # Closing

    def close(self, deadline: float, code: int = NORMAL) -> None:
        """Say goodbye, wait for the peer's answer until ``deadline`` at most, and close the descriptor.

        Whatever still arrives is discarded. Idempotent; never raises.
        """
        self._check_owner()
        try:
            self._say_goodbye(deadline, code)
        finally:
            self.abort()

    def _say_goodbye(self, deadline: float, code: int) -> None:
        ending, now = self._ending, time.monotonic()
        if ending.stage not in (EndingStage.LOST, EndingStage.CLOSED):
            self._send_close(code.to_bytes(2, "big"), now)
        while ending.stage is not EndingStage.CLOSED and ending.write_error is None:
            over = ending.loss is not None  # the peer's close, the end of the stream, or our own complaint
            if over and not self._stream.unsent_bytes:
                return
            now = time.monotonic()
            if now >= deadline:
                return
            if not self.has_more:
                wait_ready(
                    self.fileno(), None, read=not over, write=self._stream.wants_write, timeout=deadline - now
                )
            self._flush(now)
            if not over:
                try:
                    self.read(now)
                except ConnectionLost:
                    pass

    def abort(self) -> None:
        """Close the descriptor at once, without a goodbye. Idempotent."""
        if self._ending.stage is not EndingStage.CLOSED:
            self._ending.close()
            self._hurry.end()
            self._client.sock = None
            self._stream.close()

    def _check_owner(self) -> None:
        if threading.get_ident() != self._owner:
            raise RuntimeError("a Transport belongs to the thread that dialed it")


def _encode(payload: bytes, opcode: int) -> bytes:
    frame: bytes = websocket.ABNF.create_frame(payload, opcode).format()
    return frame
