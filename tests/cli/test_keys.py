"""The bytes of a keyboard as keys, and what they choose."""

from __future__ import annotations

import pytest

from kalshi_feed.cli.keys import moved, parse


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"Q", ["q"]),
        (b"\t", ["next"]),
        (b"\x1b[Z", ["back"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["back", "next", "next", "back"]),
        (b"\x1bOA\x1bOB", ["back", "next"]),
        (b"\x1b[1;5B", ["next"]),
        (
            b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~",
            ["page back", "page", "first", "last", "first", "last"],
        ),
        (b"jk3\x0c", ["next", "back", "3", "redraw"]),
        (b"\x1b[2~\x1b[15~\x1bx", []),  # Insert, F5, Alt-x mean nothing
    ],
)
def test_keys(data: bytes, keys: list[str]) -> None:
    assert parse(data) == (keys, b"")


@pytest.mark.parametrize("sequence", [b"\x1b[A", b"\x1bOA", b"\x1b[1;5A", b"\x1b[Z"])
def test_a_sequence_may_come_in_pieces(sequence: bytes) -> None:
    """A slow line brings them so."""
    for cut in range(1, len(sequence)):
        keys, begun = parse(b"j" + sequence[:cut])
        assert (keys, begun) == (["next"], sequence[:cut])
        assert parse(begun + sequence[cut:] + b"q") == (["back", "q"], b"")


def test_choosing() -> None:
    assert [moved(1, key, 5) for key in ("next", "back", "first", "last", "4", "9", "x", "q")] == [
        2,
        0,
        0,
        4,
        3,
        1,
        1,
        1,
    ]
    assert (moved(4, "next", 5), moved(0, "back", 5)) == (0, 4)
    assert (moved(3, "page", 50), moved(3, "page back", 50), moved(45, "page", 50)) == (13, 0, 49)
    assert moved(0, "next", 0) == moved(0, "1", 0) == 0
