"""Running ``kalshi-feed`` as its users do: a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from kalshi_feed.simulator import Exchange

TOP = Path(__file__).parents[2]
# another one has the package installed, see tests/samples/__main__.py
PYTHON = os.environ.get("KALSHI_TESTS_PYTHON", sys.executable)
WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from kalshi_feed.cli import main
sys.exit(main())
"""  # a program that runs the command as if the package it is given first were not installed
COMMAND = (PYTHON, "-W", "error", "-m", "kalshi_feed")


def environment(**more: str) -> dict[str, str]:
    """This process's environment without anyone's key, and with what is given."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KALSHI_")}
    path = (
        os.pathsep.join(filter(None, (str(TOP), os.environ.get("PYTHONPATH"))))
        if PYTHON == sys.executable
        else ""
    )
    return environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "110"} | more


def kalshi_feed(*arguments: str, timeout: float = 30, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, which must come within ``timeout`` seconds."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=TOP,
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )


def start(*arguments: str, **environ: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """The command, started, with its output on pipes."""
    return started(*COMMAND[1:], *arguments, **environ)


@contextmanager
def started(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A Python with its children in a group of their own, which is killed at the end, should it still be
    there."""
    # as under nohup; children would ignore Ctrl-C as well
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [PYTHON, *arguments],
        cwd=TOP if PYTHON == sys.executable else Path(PYTHON).parent,
        env=environment(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


class Access:
    """An exchange of the tests, and how the command reaches it."""

    def __init__(self, exchange: Exchange, folder: Path) -> None:
        self.exchange = exchange
        self.key_file, self.ca_file = exchange.write_credentials(folder)

    @property
    def environ(self) -> dict[str, str]:
        return {
            "KALSHI_API_KEY_ID": self.exchange.api_key_id,
            "KALSHI_PRIVATE_KEY_PATH": str(self.key_file),
            "KALSHI_REST_URL": self.exchange.rest_url,
        }

    @property
    def options(self) -> tuple[str, ...]:
        return "--url", self.exchange.url, "--ca-file", str(self.ca_file)
