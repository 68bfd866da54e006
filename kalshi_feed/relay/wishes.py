"""What consumers ask of a relay, and what it answers. Owns the form of both.

A consumer always sends all that it wants (``Wishes``), again whenever that changes, and often enough that its
lease does not expire. So no message is needed twice: not if one is lost, not if the relay starts again, and
not if a standby takes over. What a consumer wanted ends with its lease.
Thread-safe: pure functions and constants.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

__all__ = [
    "LEASE",
    "LONGEST_WISHES",
    "FollowWish",
    "OneTimeRequest",
    "SubscribeWish",
    "Wishes",
    "WishesAnswer",
    "decode_answer",
    "decode_wishes",
    "encode_answer",
    "encode_wishes",
]

LEASE: Final = 60.0
"""Seconds for which a consumer's wishes hold after it last sent them."""
LONGEST_WISHES: Final = 1024 * 1024
"""Bytes: a relay ignores a longer message."""

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Words = Annotated[list[_Word], msgspec.Meta(max_length=20_000)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]


class SubscribeWish(msgspec.Struct, omit_defaults=True, frozen=True):
    """A subscription; ``selector`` names what ``keys`` are, None if it is to the whole channel.

    ``number`` identifies it among the consumer's wishes, follow() included.
    """

    number: _Count
    channels: Annotated[list[_Word], msgspec.Meta(min_length=1, max_length=20)]
    selector: _Word | None = None
    keys: _Words = []


class FollowWish(msgspec.Struct, omit_defaults=True, frozen=True):
    """A follow() without its ``where``, which the consumer applies itself. Exactly one of ``series`` and
    ``event`` is given."""

    number: _Count
    channels: Annotated[list[_Word], msgspec.Meta(min_length=1, max_length=20)]
    series: _Word | None = None
    event: _Word | None = None
    lead: _Seconds = 5.0
    linger: _Seconds = 60.0
    limit: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None


class OneTimeRequest(msgspec.Struct, omit_defaults=True, frozen=True):
    """A request that is carried out once: "request_snapshots", "ask", "ask_again" with their words as in
    session.wanted.Change, or "checkpoint"."""

    do: _Word
    words: _Words = []


class Wishes(msgspec.Struct, omit_defaults=True, frozen=True):
    """All that one consumer wants now. ``serial`` grows with each change; a message with the same one only
    renews the lease, and its ``requests`` are not carried out again."""

    consumer: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
    serial: _Count
    subscribe: Annotated[list[SubscribeWish], msgspec.Meta(max_length=10_000)] = []
    follow: Annotated[list[FollowWish], msgspec.Meta(max_length=1_000)] = []
    requests: Annotated[list[OneTimeRequest], msgspec.Meta(max_length=1_000)] = []


class WishesAnswer(msgspec.Struct, omit_defaults=True, frozen=True):
    """The relay has taken in a consumer's wishes with this serial; the entries before the answer show it.
    ``refused`` says which of them it does not carry out and why, by number."""

    consumer: str
    serial: int
    refused: dict[int, str] = {}


_encode: Final = msgspec.json.Encoder().encode
_wishes: Final = msgspec.json.Decoder(Wishes)
_answer: Final = msgspec.json.Decoder(WishesAnswer)


def encode_wishes(wishes: Wishes) -> bytes:
    """Return the wishes as the field ``p`` of an entry of the stream of wishes."""
    return _encode(wishes)


def decode_wishes(payload: bytes) -> Wishes:
    """Read wishes. Raises ValueError for anything that a consumer does not send."""
    if len(payload) > LONGEST_WISHES:
        raise ValueError(f"wishes of {len(payload)} bytes, which is more than {LONGEST_WISHES}")
    wishes: Wishes = _decoded(_wishes, payload)
    return wishes


def encode_answer(answer: WishesAnswer) -> bytes:
    """Return the answer as the payload of an entry."""
    return _encode(answer)


def decode_answer(payload: bytes) -> WishesAnswer:
    """Read an answer. Raises ValueError."""
    answer: WishesAnswer = _decoded(_answer, payload)
    return answer


def _decoded(decoder: msgspec.json.Decoder[Any], payload: bytes) -> Any:
    try:
        return decoder.decode(payload)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
