"""Reading an HTTP answer: its head and, if it is a refusal, as much of its body as is worth waiting for.

Owns the rules for a proxy's answer to CONNECT and a server's answer to the upgrade, and the limits on what
the peer can make us hold. How the answer is split into segments makes no difference, and the status counts
whatever the body is.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from .byte_stream import ByteStream, EndOfStream
from .dial_deadline import DialDeadline
from .http import Answer, NotHttp, parse_answer

__all__ = ["read_body", "read_head"]

HEAD_BYTES: Final = 65_536  # for all heads together, including interim answers
BODY_BYTES: Final = 4_096  # of a refusal's body: enough for its reason
BODY_SECONDS: Final = 0.5  # the status is known by then; the reason is worth a short wait
_SWITCHING_PROTOCOLS: Final = 101


def read_head(stream: ByteStream, deadline: DialDeadline, received: bytearray) -> tuple[bytes, Answer]:
    """Return the head of the final answer, as bytes and parsed; ``received`` then holds the bytes after it.

    Interim answers (100 Continue, 103 Early Hints) are skipped, as RFC 9110 (15.2) requires of every client.
    Raises what the stream raises, TimeoutError, DialCancelled, and NotHttp if it is not HTTP or too long.
    """
    budget = HEAD_BYTES
    while True:
        length = _head_length(stream, deadline, received, budget)
        head = bytes(received[:length])
        del received[:length]
        answer = parse_answer(head)
        if answer is None:
            raise NotHttp("the answer's status line is not HTTP/1.1")
        if answer.status >= 200 or answer.status == _SWITCHING_PROTOCOLS:
            return head, answer
        budget -= length


def _head_length(stream: ByteStream, deadline: DialDeadline, received: bytearray, budget: int) -> int:
    """Read until ``received`` starts with a whole head; return the head's length."""
    searched = 0
    while True:
        end = received.find(b"\r\n\r\n", max(searched - 3, 0))
        searched = len(received)
        if not received.startswith(b"HTTP/1."[:searched]):
            raise NotHttp("the answer is not HTTP")
        if (end if end >= 0 else searched) > budget:
            raise NotHttp(f"the answer's headers are longer than {HEAD_BYTES} bytes")
        if end >= 0:
            return end + 4
        data = stream.receive()
        received += data
        if not data:
            deadline.wait(stream.fileno(), write=stream.wants_write)
            stream.flush()


def read_body(stream: ByteStream, deadline: DialDeadline, answer: Answer, received: bytearray) -> Answer:
    """Return ``answer`` with the start of its body; it begins in ``received``. Raises DialCancelled."""
    length = answer.headers.get("content-length", "")
    known = length.isascii() and length.isdigit() and len(length) < 6
    wanted = min(int(length), BODY_BYTES) if known else BODY_BYTES
    is_whole = known and int(length) <= BODY_BYTES
    until = time.monotonic() + BODY_SECONDS
    try:
        while len(received) < wanted:
            data = stream.receive()
            received += data
            if not data:
                deadline.wait(stream.fileno(), until=until)
    except EndOfStream:
        is_whole = not known  # without a length, the end of the stream ends the body
    except OSError:  # TimeoutError among them
        is_whole = False
    body = bytes(received[:wanted])
    if not is_whole:  # half a word may be half a secret, which redaction would not find
        body = body[: max(body.rfind(b" "), body.rfind(b"\n"), body.rfind(b">")) + 1]
    return replace(answer, body=body)
