"""The view in a real terminal: its sizes and keys, and that the terminal is as before on every way out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from kalshi_feed.simulator import Exchange

from .screens import Screen, needs_tmux, screen
from .support import COMMAND, TOP, Access, environment, kalshi_feed

pytestmark = pytest.mark.slow

MARKETS = ("KX-A", "KX-B", "KX-C")
TAKEN, BEFORE = ("1", "0", "0"), ("0", "1", "1")


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Access]:
    """An exchange of this test only, whose books do not move."""
    with Exchange(markets=MARKETS, seed=1) as exchange:
        yield Access(exchange, tmp_path)


def watch(access: Access, *more: str) -> str:
    """The command line."""
    return shlex.join([*COMMAND, "watch", *MARKETS, *access.options, *more])


def head(lines: list[str]) -> str:
    """What names the market; it goes down a line once something is known about markets."""
    return "".join(lines[3:5])


def is_whole(lines: list[str], width: int, height: int) -> bool:
    """Every line of the view is where it belongs."""
    whole = len(lines) == height and max(map(len, lines)) <= width
    return whole and "CONNECTED  0:" in lines[0] and "msg/s" in lines[1] and lines[-1].startswith(" q quit")


def shown(terminal: Screen, access: Access, *more: str) -> None:
    """The view, begun after a line of the shell's."""
    terminal.type(
        "clear; stty -g; echo was here before; " + watch(access, *more) + '; echo "left with $?"; stty -g',
        "Enter",
    )
    terminal.wait_until(
        lambda lines: any("LIVE" in line for line in lines) and lines[-1].startswith(" q quit")
    )
    assert terminal.flags() == TAKEN


def assert_restored(terminal: Screen, status: int) -> list[str]:
    """The shell's own screen is back, with its settings."""
    lines = terminal.wait_until(lambda lines: [line for line in lines if line][-1:] == ["ready>"])
    assert f"left with {status}" in lines and "was here before" in lines, lines
    settings = [line for line in lines if re.fullmatch(r"[0-9a-f]+(:[0-9a-f]+)+", line)]
    assert len(settings) == 2 and settings[0] == settings[1], lines
    assert terminal.flags() == BEFORE
    assert not any("Traceback" in line for line in lines), lines
    return lines


def terminate(url: str) -> None:
    """The process that was given this url."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            if url.encode() in place.read_bytes().split(b"\0"):
                os.kill(int(place.parent.name), signal.SIGTERM)


@needs_tmux
def test_every_size_is_filled_also_after_a_resize(quiet: Access, tmp_path: Path) -> None:
    with screen(tmp_path, **quiet.environ) as terminal:
        shown(terminal, quiet)
        for width, height in (
            (80, 24),
            (80, 18),
            (80, 30),
            (40, 24),
            (120, 40),
            (200, 60),
            (46, 12),
            (80, 24),
        ):
            terminal.resize(width, height)
            lines = terminal.wait_until(lambda lines, w=width, h=height: is_whole(lines, w, h))  # type: ignore[misc]
            text = "\n".join(lines)
            assert text.count("mid 0.") == 1 and text.count("CONNECTED  0:") == 1 and "was here" not in text
            assert len(lines[-1].rstrip()) <= width and "market 1 of 3" in lines[-1]


@needs_tmux
def test_keys_choose_the_market(quiet: Access, tmp_path: Path) -> None:
    with screen(tmp_path, **quiet.environ) as terminal:
        shown(terminal, quiet)
        for key, number in (
            ("Tab", 2),
            ("Down", 3),
            ("Right", 1),
            ("BTab", 3),
            ("Up", 2),
            ("1", 1),
            ("3", 3),
            ("9", 3),
            ("Home", 1),
            ("End", 3),
        ):
            terminal.type(key)
            terminal.wait_until(
                lambda lines, n=number: (
                    f"market {n} of 3" in lines[-1] and f" {MARKETS[n - 1]}  LIVE" in head(lines)
                )
            )  # type: ignore[misc]
        terminal.type("?")
        terminal.wait_until(lambda lines: "next market" in "\n".join(lines) and "LIVE" not in head(lines))
        terminal.type("2")
        lines = terminal.wait_until(lambda lines: f" {MARKETS[1]}  LIVE" in head(lines))
        assert "next market" not in "\n".join(lines)
        terminal.type("q")
        left = [line for line in assert_restored(terminal, 0) if line.startswith("watched 3 markets for 0:0")]
        assert len(left) == 1 and left[0].endswith("0 gaps, 0 reconnects")


def filtered(terminal: Screen) -> None:
    """Types filters and clears them, with the three markets in view."""
    terminal.type("/kx-bq")
    terminal.wait_until(lambda lines: lines[-1].startswith(" /kx-bq  ") and "no market" in lines[-1])
    terminal.type("BSpace")
    lines = terminal.wait_until(lambda lines: " KX-B  LIVE" in head(lines) and "market 1 of 1" in lines[-1])
    assert not any("KX-A" in line or "KX-C" in line for line in lines) and " /kx-b  " in lines[-1]
    terminal.type("Enter")
    terminal.wait_until(lambda lines: lines[-1].startswith(" q quit") and "/kx-b: market 1 of 1" in lines[-1])
    terminal.type("Escape")
    lines = terminal.wait_until(lambda lines: "market 2 of 3" in lines[-1] and " KX-B  LIVE" in head(lines))
    assert any("KX-A" in line for line in lines) and "/kx-b" not in lines[-1]


@needs_tmux
def test_a_filter_is_typed_into_the_last_line(quiet: Access, tmp_path: Path) -> None:
    with screen(tmp_path, **quiet.environ) as terminal:
        shown(terminal, quiet)
        filtered(terminal)
        terminal.type("?")
        terminal.wait_until(lambda lines: any("filter by a part of the ticker" in line for line in lines))
        terminal.type("/c", "Enter")  # in one go
        terminal.wait_until(lambda lines: " KX-C  LIVE" in head(lines) and "/c: market 1 of 1" in lines[-1])
        terminal.type("/", "Escape")
        terminal.wait_until(lambda lines: "market 3 of 3" in lines[-1] and lines[-1].startswith(" q quit"))
        terminal.type("q")
        assert_restored(terminal, 0)


@needs_tmux
def test_messages_have_the_screen_if_nothing_else_is_subscribed(quiet: Access, tmp_path: Path) -> None:
    exchange, channels = quiet.exchange, ("--channel", "fill", "--channel", "market_lifecycle_v2")
    with screen(tmp_path, **quiet.environ) as terminal:
        terminal.type(watch(quiet, *channels), "Enter")
        terminal.wait_until(lambda lines: is_whole(lines, 80, 24) and len(exchange.subscriptions) == 2)
        for _ in range(8):  # more than the notes below a ladder
            exchange.deactivate("KX-A")
            exchange.activate("KX-A")
        lines = terminal.wait_until(lambda lines: sum(" KX-A market_lif" in line for line in lines) == 16)
        assert lines[2].startswith(" messages  (no book: add --channel orderbook_delta)")
        assert "trade" not in "\n".join(lines[1:]) and "none yet" not in "\n".join(lines)
        assert lines[-1].rstrip() == " q quit  ? help"  # no market to choose


@needs_tmux
@pytest.mark.parametrize("way", ["q", "ctrl-c", "SIGTERM", "failure", "time"])
def test_the_terminal_is_as_before(quiet: Access, tmp_path: Path, way: str) -> None:
    with screen(tmp_path, **quiet.environ) as terminal:
        shown(terminal, quiet, *(("--seconds", "3") if way == "time" else ()))
        if way == "q":
            terminal.type("q")
        elif way == "ctrl-c":
            terminal.type("C-\\")  # does nothing: it would leave the terminal as it is
            terminal.type("C-c")
        elif way == "SIGTERM":
            terminate(quiet.exchange.url)
        elif way == "failure":
            quiet.exchange.reject_next(1, 403)
            quiet.exchange.reset()
        lines = assert_restored(terminal, 1 if way == "failure" else 0)
        assert any("403" in line for line in lines) == (way == "failure")


@needs_tmux
def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_again(quiet: Access, tmp_path: Path) -> None:
    with screen(tmp_path, **quiet.environ) as terminal:
        terminal.type(watch(quiet), "Enter")
        terminal.wait_until(lambda lines: is_whole(lines, 80, 24))
        terminal.type("C-z")
        terminal.wait_until(lambda lines: any("Stopped" in line for line in lines))
        assert terminal.flags() == BEFORE
        terminal.type("fg", "Enter")
        terminal.wait_until(lambda lines: is_whole(lines, 80, 24))
        assert terminal.flags() == TAKEN
        terminal.type("Tab")
        terminal.wait_until(lambda lines: "market 2 of 3" in lines[-1])
        terminal.type("q")
        terminal.wait_until(lambda lines: [line for line in lines if line][-1:] == ["ready>"])
        assert terminal.flags() == BEFORE


@needs_tmux
def test_a_cut_feed_shows_stale_and_recovers(quiet: Access, tmp_path: Path) -> None:
    with screen(tmp_path, **quiet.environ) as terminal:
        shown(terminal, quiet)
        quiet.exchange.reject_next(2, 503)
        quiet.exchange.reset()
        terminal.wait_until(
            lambda lines: (
                "RECONNECTING" in lines[0]
                and "KX-A  STALE" in head(lines)
                and any("RECONNECTING: " in line for line in lines[-4:])
            )
        )
        lines = terminal.wait_until(lambda lines: is_whole(lines, 80, 24) and "KX-A  LIVE" in head(lines))
        assert "reconnects 1" in lines[1]


@needs_tmux
@pytest.mark.parametrize(
    "environ", [{"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}, {}], ids=["no color", "ascii", "color"]
)
def test_without_color_and_without_unicode(quiet: Access, tmp_path: Path, environ: dict[str, str]) -> None:
    with screen(tmp_path, **quiet.environ, **environ) as terminal:
        shown(terminal, quiet)
        text = "\n".join(terminal.lines("-e"))
        assert bool(re.search(r"\x1b\[(\d+;)*3[0-8]", text)) == ("NO_COLOR" not in environ)
        plain = "\n".join(terminal.lines())
        assert plain.isascii() == ("PYTHONIOENCODING" in environ)
        assert "spread 0." in plain and (">1 KX-A" in plain or "▸1 KX-A" in plain)


@needs_tmux
def test_a_recording_is_played_in_the_view(tmp_path: Path) -> None:
    """At its own speed, from a moment in it; left at its end or by q, with a summary on the shell's own
    screen."""
    with Exchange(markets=MARKETS, rate=300, seed=1) as exchange:
        access = Access(exchange, tmp_path / "access")
        file = tmp_path / "game.ndjson.gz"
        recorded = kalshi_feed(
            "record", *MARKETS, "-o", str(file), "--seconds", "8", *access.options, **access.environ
        )
        assert recorded.returncode == 0, recorded.stderr
    with screen(tmp_path) as terminal:
        for way, begin in (("q", "+1"), ("to its end", "+5")):
            command = shlex.join([*COMMAND, "replay", str(file), "--speed", "1", "--at", begin])
            terminal.type(
                "clear; stty -g; echo was here before; " + command + '; echo "left with $?"; stty -g', "Enter"
            )
            lines = terminal.wait_until(lambda lines: is_whole(lines, 80, 24) and "KX-A  LIVE" in head(lines))
            assert lines[0].startswith(" replay of game.ndjson.gz"), lines
            if way == "q":
                filtered(terminal)
                terminal.type("q")
            lines = assert_restored(terminal, 0)
            assert any(line.startswith("messages: ") for line in lines) and any(
                "KX-C LIVE yes 0." in line for line in lines
            ), lines


# --- without tmux: what is written


@contextlib.contextmanager
def on_a_terminal(
    *arguments: str, keys: bool, **environ: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command with a terminal of 80×24 as its output; (process, our end of it)."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    stdin = theirs if keys else subprocess.DEVNULL
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=TOP,
        env=environment(**{"TERM": "xterm-256color"} | environ),
        stdin=stdin,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    with process:
        try:
            yield process, ours
        finally:
            process.kill()
            os.close(ours)


def read(ours: int, until: bytes | None = None) -> bytes:
    """What was written up to ``until``, or to the end."""
    written = b""
    while until is None or until not in written:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            assert until is None, written
            break
        written += piece
    return written


def test_only_what_changes_is_written(quiet: Access) -> None:
    """Nothing is cleared, and a line that stays is written once: so nothing flickers."""
    with on_a_terminal("watch", *MARKETS, "--seconds", "2", *quiet.options, keys=False, **quiet.environ) as (
        process,
        ours,
    ):
        written = read(ours)
        assert process.wait(20) == 0
    for once in (
        b"\x1b[?1049h",
        b"\x1b[?1049l",
        b"\x1b[?25l",
        b"\x1b[?25h",
        b"\x1b[?7l",
        b"\x1b[?7h",
        b"Ctrl-C quits",
    ):
        assert written.count(once) == 1, (once, written)
    assert (written.count(b"\x1b[2J"), written.count(b"spread")) == (0, 1)
    assert 2 <= written.count(b"CONNECTED") < 15  # with the seconds passed
    assert b"\n" not in written.partition(b"\x1b[?1049l")[0]  # nothing scrolls


def test_standard_input_may_be_something_else(quiet: Access) -> None:
    with on_a_terminal("watch", *MARKETS, *quiet.options, keys=False, **quiet.environ) as (process, ours):
        read(ours, b"LIVE")
        process.send_signal(signal.SIGINT)
        written = read(ours)
        assert process.wait(20) == 0
    left = written.rpartition(b"\x1b[?1049l")[2]
    assert left.startswith(b"watched 3 markets") and left.count(b"\r\n") == 1, written


def test_a_dumb_terminal_gets_lines(quiet: Access) -> None:
    arguments = ("watch", "KX-A", "--seconds", "1.2", *quiet.options)
    with on_a_terminal(*arguments, keys=True, TERM="dumb", **quiet.environ) as (process, ours):
        written = read(ours)
        assert process.wait(20) == 0
    assert b"\x1b" not in written
    assert written.count(b"\r\n") == 2 and b"KX-A LIVE yes 0." in written
