"""How an open connection ends: by a close frame from either side, by a failing socket, or because we give up.

Reading and writing end separately: a socket that takes no more bytes may still hold messages, and these are
handed out before the loss is raised. Owns Ending, which only remembers; the Transport acts.
"""

from __future__ import annotations

import enum

from ..errors import ConnectionLost
from .byte_stream import EndOfStream
from .failures import lost_reason, peer_words
from .redaction import detach

__all__ = ["Ending", "EndingStage"]


class EndingStage(enum.Enum):
    """How far the end of a connection has come; the last stage that applies."""

    OPEN = "open"  # both sides read and write
    # our close frame is queued or sent, and nothing after it; what arrives is still handed out
    CLOSING = "closing"
    # the socket failed in at least one direction; what had arrived before is still handed out
    BROKEN = "broken"
    LOST = "lost"  # read() raises the loss once it has handed out everything before it
    CLOSED = "closed"  # the descriptor is closed


class Ending:
    """What is known about the end of one connection. Not thread-safe; owned by its Transport."""

    __slots__ = (
        "close_received",
        "close_sent",
        "has_begun",
        "is_closed",
        "loss",
        "read_error",
        "write_error",
    )

    def __init__(self) -> None:
        # whether read() has something to raise, now or after one more look at the socket
        self.has_begun = False
        self.loss: ConnectionLost | None = None  # LOST: what read() raises, again and again
        # BROKEN: why nothing more can be read; EndOfStream if the peer closed
        self.read_error: Exception | None = None
        # BROKEN: why nothing more can be written; read() finds the loss
        self.write_error: Exception | None = None
        # CLOSING: our close frame was queued, as the first one or as the answer; never a second one
        self.close_sent = False
        self.close_received = False  # the peer's close frame has come: frames after it are ignored
        self.is_closed = False  # CLOSED

    @property
    def stage(self) -> EndingStage:
        """The last stage that applies."""
        if self.is_closed:
            return EndingStage.CLOSED
        if self.loss is not None:
            return EndingStage.LOST
        if self.read_error is not None or self.write_error is not None:
            return EndingStage.BROKEN
        return EndingStage.CLOSING if self.close_sent else EndingStage.OPEN

    @property
    def takes_frames(self) -> bool:
        """Whether frames may still be queued for the peer."""
        return not self.close_sent and self.write_error is None

    def lose(self, loss: ConnectionLost) -> None:
        """Become LOST, no matter which side ended it."""
        self.loss = loss
        self.has_begun = True

    def stop_reading(self, error: Exception) -> None:
        """Become BROKEN: nothing more will come from the socket, but what came before may still be unread."""
        self.read_error = error
        self.has_begun = True

    def stop_writing(self, error: Exception) -> None:
        """Become BROKEN: the socket takes no more bytes."""
        self.write_error = error
        self.has_begun = True

    def take_close(self, payload: bytes) -> None:
        """Become LOST by the peer's close frame. Raises UnicodeDecodeError if its reason is not UTF-8."""
        self.close_received = True
        code = int.from_bytes(payload[:2], "big") if payload else None
        reason = peer_words(payload[2:].decode())
        self.lose(ConnectionLost(code, reason or ("" if code else "closed by the peer without a code")))

    def conclude(self, in_frame: bool, via: str) -> None:
        """Become LOST if nothing more can be read; everything that had arrived was handed out.

        ``in_frame``: part of a message is left over. ``via`` names the proxy, if there is one.
        """
        error = self.read_error
        if error is None:
            return
        if isinstance(error, EndOfStream) and isinstance(self.write_error, ConnectionResetError):
            # a reset is reported only once: if a write got it, the read sees an ordinary end
            error = self.write_error
        loss = ConnectionLost(None, lost_reason(error, in_frame) + via)
        loss.__cause__ = detach(error)
        self.lose(loss)

    def close(self) -> None:
        """Become CLOSED; a loss that is already known stays."""
        self.is_closed = True
        if self.loss is None:
            self.lose(ConnectionLost(None, "closed by this side"))
