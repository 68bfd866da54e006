"""Run the samples as their readers do: each in its own process."""

from __future__ import annotations

import socket
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

from tests.cli.support import PYTHON, TOP, Access, environment, started

__all__ = [
    "SAMPLES",
    "answers",
    "free_port",
    "gunicorn",
    "installed",
    "needs_tickers_and_a_key",
    "sample",
    "started",
    "with_access",
]

SAMPLES = TOP / "samples"


def with_access(access: Access) -> dict[str, str]:
    """The environment that points a sample at the test's exchange."""
    return access.environ | {"KALSHI_URL": access.exchange.url, "KALSHI_CA_FILE": str(access.ca_file)}


@cache
def gunicorn() -> tuple[str, ...]:
    """Gunicorn on the samples, without the control socket (since 25) that a user's instances share."""
    knows = subprocess.run(
        [PYTHON, "-m", "gunicorn", "--help"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    without = ("--no-control-socket",) if "--no-control-socket" in knows else ()
    return ("-m", "gunicorn", "--chdir", str(SAMPLES), *without)


@cache
def installed(module: str) -> bool:
    """Whether the Python that runs the samples has the module."""
    if PYTHON == sys.executable:
        return find_spec(module) is not None  # every worker asks before its first test
    return not subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, timeout=30).returncode


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int) -> bool:
    """Whether there is a server on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def sample(name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a sample to its end, in the current folder."""
    return subprocess.run(
        [PYTHON, "-W", "error", str(SAMPLES / name), *arguments],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )


def needs_tickers_and_a_key(name: str, access: Access) -> None:
    """Without tickers, and without a key, the sample says so in one line and ends."""
    no_tickers = sample(name, **with_access(access))
    assert no_tickers.returncode == 1 and "name at least one TICKER" in no_tickers.stderr
    no_key = sample(name, "KX-A")
    assert no_key.returncode == 1 and no_key.stderr.count("\n") == 1
    assert no_key.stderr.startswith("CredentialsError: not set in the environment: KALSHI_API_KEY_ID")
