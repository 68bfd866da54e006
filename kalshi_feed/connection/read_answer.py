"""Reading an HTTP answer: the head of the final answer, and then, if it is a refusal, as much of its body as
is worth a wait.

Owns the rules that hold for a proxy's answer to CONNECT as well as for a server's answer to the upgrade, and
the caps on what the peer can make us hold. How the answer is cut into segments makes no difference: the
status counts, whatever the body does.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from .byte_stream import ByteStream, EndOfStream
from .dial_deadline import DialDeadline
from .http import Answer, NotHttp, parse_answer

__all__ = ["read_body", "read_head"]

HEAD_BYTES: Final = 65_536  # of all heads together: interim answers count, too
BODY_BYTES: Final = 4_096  # of a refusal: enough for its reason
BODY_SECONDS: Final = 0.5  # the status is known by then; its reason is worth a short wait
_SWITCHING_PROTOCOLS: Final = 101


def read_head(stream: ByteStream, deadline: DialDeadline, received: bytearray) -> tuple[bytes, Answer]:
    """The head of the final answer, as bytes and parsed; ``received`` then holds what came behind it.

    Interim answers (100 Continue, 103 Early Hints) are skipped, as RFC 9110 (15.2) asks of every client.
    Raises what the stream raises, TimeoutError, DialCancelled, and NotHttp when it is not HTTP or longer than
    HEAD_BYTES.
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
    """Read until ``received`` begins with a whole head; gives the head's length."""
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
    """``answer`` with the beginning of its body, of which ``received`` is what has come so far. Raises
    DialCancelled."""
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
        is_whole = not known  # without a length it is the end that says so
    except OSError:  # TimeoutError among them
        is_whole = False
    body = bytes(received[:wanted])
    if not is_whole:  # half a word may be half a secret, which no redaction finds
        body = body[: max(body.rfind(b" "), body.rfind(b"\n"), body.rfind(b">")) + 1]
    return replace(answer, body=body)
