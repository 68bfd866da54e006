"""The bytes of a keyboard as keys, and what they choose."""

from __future__ import annotations

import pytest

from kalshi_feed.cli.keys import Choice, moved, parse, pressed

MARKETS = ("KX-A", "KX-B", "OTHER-B", "KQ-C")


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"/Kx\x7f\b\r\n", ["/", "K", "x", "backspace", "backspace", "enter", "enter"]),
        (b"\t", ["next"]),
        (b"\x1b[Z", ["back"]),
        (b"\x1b[A\x1b[B\x1b[C\x1b[D", ["back", "next", "next", "back"]),
        (b"\x1bOA\x1bOB", ["back", "next"]),
        (b"\x1b[1;5B", ["next"]),
        (
            b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~",
            ["page back", "page", "first", "last", "first", "last"],
        ),
        (b"jk3\x0c", ["j", "k", "3", "redraw"]),
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
        assert (keys, begun) == (["j"], sequence[:cut])
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


def after(*keys: str, choice: Choice | None = None) -> Choice:
    choice = choice or Choice()
    for key in keys:
        choice = pressed(choice, key, MARKETS)
    return choice


def test_letters_choose_and_q_quits() -> None:
    assert [after(*keys).selected for keys in ("j", "jj", "jk", "3", "k")] == [1, 2, 0, 2, 3]
    assert after("q").is_over and after("Q").is_over and not after("x").is_over
    assert after("?").is_helping and not after("?", "?").is_helping and not after("?", "x").is_helping


def test_the_filter_is_typed_kept_and_cleared() -> None:
    assert after("/") == Choice(is_typing=True)
    assert after(*"/-bq", "backspace") == Choice(wanted="-b", is_typing=True)  # q and b are only letters
    kept = after(*"/-b", "next", "enter")  # an arrow still chooses, among KX-B and OTHER-B
    assert kept == Choice(selected=1, ticker="OTHER-B", wanted="-b")
    assert after("j", choice=kept).selected == 0
    assert after(*"/x", choice=kept) == Choice(wanted="-bx", is_typing=True)
    # the market stays the same one where it still matches
    chosen = Choice(selected=2, ticker="OTHER-B")
    assert after("escape", choice=kept) == after("/", "escape", choice=kept) == chosen
    assert after("?", "escape", choice=kept) == kept  # closes the help only
    assert after(*"/nope", "next", "escape") == Choice()
    assert after("/", "\x01", "é") == Choice(is_typing=True)
    assert pressed(Choice(), "/", ("KX-A",)) == Choice()  # of one market there is nothing to filter
