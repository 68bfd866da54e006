"""A terminal with a shell in it, typed into and looked at: tmux, with a server of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import wait_until

from .support import environment

needs_tmux = pytest.mark.skipif(
    shutil.which("tmux") is None, reason="tmux is not installed: apt-get install -y tmux"
)


class Screen:
    """One shell in one window of a tmux server. Not thread-safe."""

    def __init__(self, socket: Path, width: int, height: int, environ: dict[str, str]) -> None:
        self._tmux = ("tmux", "-S", str(socket), "-f", "/dev/null")
        # dash, not bash: it leaves COLUMNS as it was exported, which must not count
        shell = "env PS1='ready> ' sh -i"
        self._run("new-session", "-d", "-x", str(width), "-y", str(height), shell, environ=environ)
        self.wait_for("ready>")

    def _run(self, *words: str, environ: dict[str, str] | None = None) -> str:
        done = subprocess.run([*self._tmux, *words], env=environ, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def close(self) -> None:
        with contextlib.suppress(AssertionError):  # gone already
            self._run("kill-server")

    def type(self, *keys: str) -> None:
        """Keys by tmux's names (Tab, Up, C-c …), or text."""
        self._run("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._run("resize-window", "-x", str(width), "-y", str(height))

    def lines(self, *options: str) -> list[str]:
        """Return what the screen shows; with "-e" the colors too."""
        return self._run("capture-pane", "-p", *options).split("\n")[:-1]

    def flags(self) -> tuple[str, ...]:
        """(on the alternate screen, cursor shown, lines wrap), each "0" or "1"."""
        return tuple(
            self._run("display-message", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}").split()
        )

    def wait_until(self, condition: Callable[[list[str]], bool], timeout: float = 20.0) -> list[str]:
        """The lines once the condition holds."""
        seen: list[str] = []

        def holds() -> bool:
            seen[:] = self.lines()
            return condition(seen)

        try:
            wait_until(holds, timeout=timeout)
        except AssertionError:
            raise AssertionError("last seen:\n" + "\n".join(seen)) from None
        return seen

    def wait_for(self, text: str) -> list[str]:
        return self.wait_until(lambda lines: any(text in line for line in lines))


@contextlib.contextmanager
def screen(folder: Path, width: int = 80, height: int = 24, **environ: str) -> Iterator[Screen]:
    """A terminal of that size."""
    opened = Screen(folder / "tmux", width, height, environment(**environ))
    try:
        yield opened
    finally:
        opened.close()
