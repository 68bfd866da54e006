"""The terminal while the view is shown: the alternate screen, drawing of changed lines, keys.

Owns every change to the terminal, and undoes it on every way out. Main thread only.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any, Final

from rich.console import Console
from rich.control import Control
from rich.text import Text

from ..engine.signals import CLOSING_SIGNALS
from . import keys

try:
    import termios
    import tty
except ImportError:  # Windows: the view is shown, keys are not read
    HAS_KEYS = False
else:
    HAS_KEYS = True

__all__ = ["Terminal"]

# Alternate screen, no cursor, no wrapping (a line drawn while the terminal shrinks must not push others down)
_TAKE: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_GIVE_BACK: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_REPAINT: Final = (
    5.0  # seconds after which unchanged lines are drawn again: something else may have written there
)
_ASCII: Final = str.maketrans("█▌▐─│┬┴▸…×↑↓←→▲▼", "#||-|++>.x^v<>^v")


_ENDING: Final = (signal.SIGINT, *CLOSING_SIGNALS)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM, SIGHUP and SIGBREAK: a second one must not leave the terminal half restored."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class Terminal:
    """The terminal, taken over for the length of a ``with`` block. Main thread only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._keyboard = _Keyboard()
        self._shown: list[Text] = []
        self._size = (0, 0)
        self._painted = 0.0
        self._stop_asked = False
        self._stop_handler: Any = None
        self._plain = not console.encoding.lower().startswith("utf")

    def __enter__(self) -> Terminal:
        with _undisturbed():
            try:
                self._take()
            except BaseException:
                self._give_back()
                raise
            if hasattr(signal, "SIGTSTP") and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
                self._stop_handler = signal.signal(signal.SIGTSTP, self._ask_to_stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _undisturbed():
            if self._stop_handler is not None:
                signal.signal(signal.SIGTSTP, self._stop_handler)
            self._give_back()

    @property
    def has_keys(self) -> bool:
        """Whether keys are read, that is, standard input is a terminal."""
        return self._keyboard.is_open

    @property
    def size(self) -> tuple[int, int]:
        """(columns, lines) now."""
        with contextlib.suppress(OSError, ValueError, AttributeError):  # not a real file
            width, height = os.get_terminal_size(self._console.file.fileno())
            if width and height:  # a terminal may not know its size
                return width, height
        return self._console.width, self._console.height

    def draw(self, lines: Sequence[Text]) -> None:
        """Show the lines, from the top; writes only those that changed, in one write."""
        now, size = time.monotonic(), self.size
        # a terminal moves its lines when its height changes
        if self._size != size or now - self._painted > _REPAINT:
            self._size, self._shown, self._painted = size, [], now
        with self._console:  # one write
            for place, line in enumerate(lines):
                if place >= len(self._shown) or self._shown[place] != line:
                    self._console.control(Control.move_to(0, place))
                    self._console.print(self._encodable(line), end="", soft_wrap=True, highlight=False)
        self._shown = list(lines)

    def redraw(self) -> None:
        """Draw everything the next time."""
        self._size = (0, 0)

    def keys(self, timeout: float) -> list[str]:
        """The keys pressed, as soon as there are any; an empty list after ``timeout`` seconds."""
        pressed = self._keyboard.read(timeout)
        if self._stop_asked:
            self._stop()
        return pressed

    def _encodable(self, line: Text) -> Text:
        if not self._plain:
            return line
        line = line.copy()
        line.plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode("ascii")
        return line

    def _take(self) -> None:
        self._keyboard.open()
        self._write(_TAKE)
        self.redraw()

    def _give_back(self) -> None:
        try:
            with contextlib.suppress(OSError):  # the terminal is gone
                self._write(_GIVE_BACK)
        finally:
            self._keyboard.close()

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True  # not here: a line may be half drawn

    def _stop(self) -> None:
        """Ctrl-Z: give the terminal to the shell, and take it again on ``fg``."""
        self._stop_asked = False
        self._give_back()
        handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, handler)
        self._take()


class _Keyboard:
    """Standard input, key by key, if it is a terminal. Main thread only."""

    def __init__(self) -> None:
        self._fd = -1
        self._saved: list[Any] = []
        self._begun = b""

    @property
    def is_open(self) -> bool:
        return self._fd >= 0

    def open(self) -> None:
        """Get keys at once and without echo. Ctrl-C and Ctrl-Z work as usual; Ctrl-\\ is off, because
        it would leave the terminal like this."""
        if not HAS_KEYS or sys.stdin is None:
            return
        with contextlib.suppress(OSError, ValueError, termios.error):
            fd = sys.stdin.fileno()
            self._saved = termios.tcgetattr(fd)
            tty.setcbreak(fd, termios.TCSANOW)
            changed = termios.tcgetattr(fd)
            changed[6][termios.VQUIT] = b"\0"
            termios.tcsetattr(fd, termios.TCSANOW, changed)
            self._fd = fd

    def close(self) -> None:
        """Restore the terminal's settings."""
        if self._saved:
            with contextlib.suppress(OSError, ValueError, termios.error):
                fd = sys.stdin.fileno()
                termios.tcsetattr(fd, termios.TCSANOW, self._saved)
                termios.tcflush(fd, termios.TCIFLUSH)  # the shell must not get half a sequence
        self._fd, self._saved = -1, []

    def read(self, timeout: float) -> list[str]:
        """See Terminal.keys()."""
        if self._fd < 0:
            time.sleep(timeout)
            return []
        if not select.select([self._fd], [], [], timeout)[0]:
            alone, self._begun = self._begun == b"\x1b", b""
            return [keys.ESCAPE] if alone else []
        try:
            data = os.read(self._fd, 1024)
        except OSError:
            data = b""
        if not data:  # input is gone; the screen may still be visible
            self._fd = -1
            return []
        pressed, self._begun = keys.parse(self._begun + data)
        return pressed
